r"""The closed equations of the overlaps along each mode of the noise, of v and of b.

Legend: eta, kappa the rates; p (C,) priors; e, n, s, f the moments of the error signal in each
cluster (`Moments`); rho, t, q, r as in `modes.py`. With E = p e and S(τ) = Σ_a p_a rho_a(τ) s_a,

    dr_bk(τ) = eta v_k [ Σ_a E_ak t_ab(τ) + Σ_i S_ki(τ) r_bi(τ) ] - eta kappa r_bk(τ)
    A_kl(τ)  = eta v_k [ Σ_a E_ak r_al(τ) + Σ_i S_ki(τ) q_il(τ) ]
    dq(τ)    = A + Aᵀ + eta² v_k v_l Σ_a p_a n_akl (rho_a(τ) + t_aa(τ)/D) - 2 eta kappa q
    dv       = eta Σ_a p_a f_a - eta kappa v,    db = eta v E - eta kappa b

The term t_aa/D is the mean's share of |x|²/D; it vanishes as D grows when |mu|² ~ D and is of order
one when |mu|² ~ D² (high and mixed SNR).
"""

from __future__ import annotations

from typing import NamedTuple, final

import torch
from torch import Tensor

from gmmdyn import OnlineSGD, OrderParameters
from gmmdyn.interfaces import Activation, Errors, Fields, GaussianMixture, Integrator
from gmmdyn_ode.modes import Modes


class State(NamedTuple):
    """Where the dynamics stands; a leading `...` is any batch shape.

    Attributes:
        q: shape `(..., M, K, K)`.
        r: shape `(..., M, C, K)`.
        v: shape `(..., K)`.
        b: shape `(..., K)`, or None for a network without bias.
    """

    q: Tensor
    r: Tensor
    v: Tensor
    b: Tensor | None

    def pack(self) -> Tensor:
        """Return one flat vector; for a state without batch shape."""
        parts = [part.reshape(-1) for part in self if part is not None]
        return torch.cat(parts)

    def unpack(self, flat: Tensor) -> State:
        """Undo `pack` for vectors of shape `(..., n)`; q is symmetrised once, here."""
        shapes = [part.shape for part in self if part is not None]
        parts = torch.split(flat, [shape.numel() for shape in shapes], dim=-1)
        q, r, v, *b = (
            part.reshape(*flat.shape[:-1], *shape)
            for part, shape in zip(parts, shapes, strict=True)
        )
        return State((q + q.mT) / 2, r, v, b[0] if b else None)


@final
class Dynamics:
    """The right-hand side and the errors, as functions of the state.

    Args:
        mixture: the mixture.
        modes: of the mixture.
        activation: of the hidden units.
        algorithm: the rates.
        integrator: prepared for the number of hidden units.
    """

    def __init__(
        self,
        mixture: GaussianMixture,
        modes: Modes,
        activation: Activation,
        algorithm: OnlineSGD,
        integrator: Integrator,
    ) -> None:
        self._modes = modes
        self._activation = activation
        self._algorithm = algorithm
        self._integrator = integrator
        self._labels = mixture.labels.double().cpu()
        self._priors = mixture.priors.double().cpu()
        # |x|² of each cluster along each mode
        own = modes.overlaps.diagonal(dim1=1, dim2=2).T
        self._lengths = modes.variances + own / mixture.dim  # (C, M)

    def fields(self, state: State) -> Fields:
        """Return the distribution of the local fields at a state."""
        share, variances = self._modes.share, self._modes.variances
        mean = torch.einsum("m,...mck->...ck", share, state.r)
        if state.b is not None:
            mean = mean + state.b.unsqueeze(-2)
        covariance = torch.einsum("am,...mkl->...akl", share * variances, state.q)
        return Fields(mean, covariance, state.v, self._labels, self._activation)

    def derivative(self, state: State) -> State:
        """Return the time derivatives of a state."""
        eta, kappa = float(self._algorithm.rate(0.0)), self._algorithm.weight_decay
        p, v = self._priors, state.v
        moments = self._integrator.moments(self.fields(state))
        drive = (p[:, None] * moments.drive).unsqueeze(-3)  # (..., 1, C, K)
        variances = self._modes.variances.expand(len(p), -1)
        stein = torch.einsum("a,am,...aki->...mki", p, variances, moments.stein)
        noise = torch.einsum("a,am,...akl->...mkl", p, self._lengths, moments.noise)
        row, column = v[..., None, None, :], v[..., None, :, None]
        dr = eta * row * (self._modes.overlaps.mT @ drive + state.r @ stein.mT)
        growth = eta * column * (drive.mT @ state.r + stein @ state.q)
        dq = growth + growth.mT + eta**2 * column * row * noise
        dv = torch.zeros_like(v)
        if self._algorithm.train_readout:
            dv = eta * torch.einsum("a,...ak->...k", p, moments.readout) - eta * kappa * v
        db = None
        if state.b is not None:
            db = eta * v * drive.sum((-3, -2)) - eta * kappa * state.b
        return State(dq - 2 * eta * kappa * state.q, dr - eta * kappa * state.r, dv, db)

    def errors(self, state: State) -> Errors:
        """Return the errors at a state, averaged over clusters.

        The integration errors of clusters are added, not combined in squares: clusters share their
        points.
        """
        by_cluster = self._integrator.errors(self.fields(state))
        return Errors(*(None if value is None else value @ self._priors for value in by_cluster))  # type: ignore[arg-type]

    def overlaps(self, state: State) -> OrderParameters:
        """Return Q, R, v (and b) of a state."""
        share = self._modes.share
        return OrderParameters(
            Q=torch.einsum("m,...mkl->...kl", share, state.q),
            R=torch.einsum("m,...mck->...ck", share, state.r),
            v=state.v,
            b=state.b,
        )
