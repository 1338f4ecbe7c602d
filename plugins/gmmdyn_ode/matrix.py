r"""The closed equations for covariances that differ between clusters and do not commute.

Given the moments of the learning signal the weights obey a linear equation with noise, so their law
stays Gaussian, with mean w̄ and covariance S_kl = <w_k w_lᵀ> - w̄_k w̄_lᵀ, a D by D matrix for each
pair of units. The fields need no more of it than

    m_ak = mu_a·w̄_k / D + b_k,      (Q_a)_kl = [ w̄_kᵀ Omega_a w̄_l + tr(Omega_a S_kl) ] / D,

so that w̄, S, v (and b) are a closed state. With e, n, s the moments in each cluster, p the
priors, B_aki = eta p_a s_aki, and A the KD by KD matrix with blocks A_ki = Σ_a B_aki Omega_a,

    dw̄_k = eta Σ_a p_a e_ak mu_a + Σ_i A_ki w̄_i - eta kappa w̄_k
    dS   = A S + (A S)ᵀ + N - 2 eta kappa S,
    N_kl = eta² Σ_a p_a n_akl (Omega_a + mu_a mu_aᵀ / D).

S is 0 at given weights; no power of D stands before N, as dt = 1/D is one sample. Everything holds
block by block (`noise.py`): for blocks of size d a right-hand side costs K³ d³ multiplications.
A mini-batch of B samples divides N by B and adds the squared mean gradient, as in `dynamics.py`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from gmmdyn import OnlineSGD, OrderParameters
from gmmdyn.errors import IncompatibleError
from gmmdyn.interfaces import Errors, Fields, GaussianMixture, Integrator, TwoLayerNetwork
from gmmdyn_ode.noise import Blocks
from gmmdyn_ode.parameters import Parameters, parameters_of
from gmmdyn_ode.signal import ErrorSignal
from gmmdyn_ode.state import MatrixState

# Hidden units times the size of a block: S has this many rows, and 2,000 of them take minutes.
_LARGEST = 2000


@dataclass(frozen=True, eq=False, kw_only=True)
class MatrixProblem(Parameters):
    """All that the equations depend on, without batch shape.

    Attributes:
        blocks: of the mixture, each size with the covariances of all clusters.
        dim: D.
        initial: where the dynamics starts.
    """

    blocks: tuple[Blocks, ...]
    dim: int
    initial: MatrixState

    @classmethod
    def of(
        cls,
        mixture: GaussianMixture,
        blocks: tuple[Blocks, ...],
        network: TwoLayerNetwork,
        algorithm: OnlineSGD,
    ) -> MatrixProblem:
        """Return the problem of an experiment, starting from the weights of the network.

        Args:
            mixture: with any covariances.
            blocks: of its noise.
            network: the network.
            algorithm: the learning algorithm.

        Returns:
            The problem, on the CPU.

        Raises:
            IncompatibleError: if the matrices would be too large.
        """
        check_size(blocks, network)
        weights = network.first_layer.detach().double().cpu()
        clusters = len(mixture.labels)
        blocks = tuple(
            group._replace(covariances=group.covariances.expand(clusters, -1, -1, -1))
            for group in blocks
        )
        mean = tuple(torch.einsum("kD,nDd->nkd", weights, group.basis) for group in blocks)
        sizes = [(len(w), w[0].numel()) for w in mean]
        initial = MatrixState(
            mean,
            tuple(torch.zeros(count, size, size, dtype=torch.float64) for count, size in sizes),
            network.readout.detach().double().cpu(),
            None if network.bias is None else network.bias.detach().double().cpu(),
        )
        parameters = parameters_of(mixture, network, algorithm)
        return cls(blocks=blocks, dim=mixture.dim, initial=initial, **parameters)


def check_size(blocks: tuple[Blocks, ...], network: TwoLayerNetwork) -> None:
    """Refuse what would take too long.

    Args:
        blocks: of the noise of a mixture.
        network: the network.

    Raises:
        IncompatibleError: if the matrices would be too large.
    """
    size = blocks[-1].size
    if network.hidden * size > _LARGEST:
        raise IncompatibleError(
            "the theory `ode` follows covariances that do not commute in matrices with K D rows, "
            f"up to {_LARGEST} of them, and here K = {network.hidden} and D = {size} (without "
            "directions that the covariances share); take fewer units, a smaller `dim` or one "
            "covariance for all clusters, or simulate it instead."
        )


@final
class MatrixDynamics:
    """The right-hand side and the errors, as functions of time and state.

    Args:
        problem: what the equations depend on.
        integrator: prepared for the number of hidden units.
    """

    def __init__(self, problem: MatrixProblem, integrator: Integrator) -> None:
        self._problem = problem
        self._signal = ErrorSignal(
            problem.labels, problem.priors, problem.label_noise, problem.batch_size, integrator
        )
        # E[x xᵀ] of each cluster within each block
        self._inputs = [
            group.covariances + problem.inverse_dim * _outer(group.means)
            for group in problem.blocks
        ]
        # The squared mean gradient, which a batch of one sample does not show.
        self._mean_share = float((1 - 1 / problem.batch_size) * problem.inverse_dim)

    def fields(self, state: MatrixState) -> Fields:
        """Return the distribution of the local fields at a state, with the true labels."""
        problem = self._problem
        hidden = len(state.v)
        covariance = torch.zeros(len(problem.labels), hidden, hidden, dtype=torch.float64)
        for group, w, s in zip(problem.blocks, state.mean, state.spread, strict=True):
            covariance += torch.einsum("nkd,cnde,nle->ckl", w, group.covariances, w)
            covariance += _traces(group.covariances, s)
        covariance = (covariance + covariance.mT) / (2 * problem.dim)
        mean = self._projected(state.mean)
        if state.b is not None:
            mean = mean + state.b
        return Fields(mean, covariance, state.v, problem.labels, problem.activation, problem.loss)

    def derivative(self, time: Tensor | float, state: MatrixState) -> MatrixState:
        """Return the time derivatives of a state.

        Args:
            time: t.
            state: without batch shape.

        Returns:
            The derivatives, of the shapes of the state.
        """
        problem = self._problem
        signal = self._signal(self.fields(state))
        eta = problem.rate(time)
        fade = eta * problem.weight_decay
        drive = eta * signal.drive  # (C, K)
        stein = eta * signal.stein  # (C, K, K)
        noise = eta**2 * signal.noise
        mean, spread = [], []
        parts = zip(problem.blocks, self._inputs, state.mean, state.spread, strict=True)
        for group, inputs, w, s in parts:
            growth = _blockwise(stein, group.covariances)
            pull = torch.einsum("ck,cnd->nkd", drive, group.means)
            linear = (growth @ w.flatten(1).unsqueeze(2)).reshape_as(w)
            mean.append(pull + linear - fade * w)
            moved = growth @ s
            change = moved + moved.mT + _blockwise(noise, inputs) - 2 * fade * s
            if self._mean_share:
                change += self._mean_share * _outer(pull.flatten(1))
            spread.append(change)
        dv = problem.readout_learns * (eta * signal.readout - fade * state.v)
        db = None if state.b is None else drive.sum(0) - fade * state.b
        return MatrixState(tuple(mean), tuple(spread), dv, db)

    def errors(self, state: MatrixState) -> Errors:
        """Return the errors at a state, averaged over clusters."""
        return self._signal.errors(self.fields(state))

    def overlaps(self, state: MatrixState) -> OrderParameters:
        """Return Q, R, v (and b) of a state."""
        order = torch.zeros(2 * state.v.shape[:1], dtype=torch.float64)
        for w, s in zip(state.mean, state.spread, strict=True):
            order += torch.einsum("nkd,nld->kl", w, w) + _trace(s, w.shape[-1])
        order /= self._problem.dim
        return OrderParameters(order, self._projected(state.mean), state.v, state.b)

    def overlap_rates(self, time: Tensor | float, state: MatrixState) -> OrderParameters:
        """Return the time derivatives of Q, R, v (and b) at a state."""
        rates = self.derivative(time, state)
        order = torch.zeros(2 * state.v.shape[:1], dtype=torch.float64)
        for w, dw, ds in zip(state.mean, rates.mean, rates.spread, strict=True):
            cross = torch.einsum("nkd,nld->kl", w, dw)
            order += cross + cross.mT + _trace(ds, w.shape[-1])
        order /= self._problem.dim
        return OrderParameters(order, self._projected(rates.mean), rates.v, rates.b)

    def _projected(self, vectors: tuple[Tensor, ...]) -> Tensor:
        """Overlaps (C, K) of the means with vectors given block by block."""
        parts = zip(self._problem.blocks, vectors, strict=True)
        overlaps = sum(torch.einsum("cnd,nkd->ck", group.means, w) for group, w in parts)
        return torch.as_tensor(overlaps) / self._problem.dim


def _blockwise(coefficients: Tensor, matrices: Tensor) -> Tensor:
    """Return Σ_a c_akl M_a as matrices (N, K d, K d); c is (C, K, K), M is (C, N, d, d)."""
    clusters, count, size, _ = matrices.shape
    hidden = coefficients.shape[-1]
    flat = coefficients.reshape(clusters, -1).T @ matrices.reshape(clusters, -1)
    split = flat.reshape(hidden, hidden, count, size, size)
    return split.permute(2, 0, 3, 1, 4).reshape(count, hidden * size, hidden * size)


def _traces(matrices: Tensor, spread: Tensor) -> Tensor:
    """Return tr(M_a S_kl), summed over blocks, shape (C, K, K); M_a is symmetric."""
    clusters, count, size, _ = matrices.shape
    hidden = spread.shape[-1] // size
    split = spread.reshape(count, hidden, size, hidden, size).permute(0, 2, 4, 1, 3)
    flat = matrices.reshape(clusters, -1) @ split.reshape(count * size**2, hidden**2)
    return flat.reshape(clusters, hidden, hidden)


def _trace(spread: Tensor, size: int) -> Tensor:
    """Return tr(S_kl), summed over blocks, shape (K, K)."""
    hidden = spread.shape[-1] // size
    split = spread.reshape(-1, hidden, size, hidden, size)
    return split.diagonal(dim1=2, dim2=4).sum((0, -1))


def _outer(vectors: Tensor) -> Tensor:
    return vectors.unsqueeze(-1) * vectors.unsqueeze(-2)
