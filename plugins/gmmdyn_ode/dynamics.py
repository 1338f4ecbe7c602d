r"""The closed equations of the overlaps along each mode of the noise, of v and of b.

Legend: eta, kappa the rates; p (C,) priors; B the batch size; e, n, s the moments of the learning
signal and f of the head's slope in each cluster (`Moments`), all that is known of the network; rho,
t, q, r as in `noise.py`. With E = p e and S(τ) = Σ_a p_a rho_a(τ) s_a,

    dr_bk(τ) = eta [ Σ_a E_ak t_ab(τ) + Σ_i S_ki(τ) r_bi(τ) ] - eta kappa r_bk(τ)
    A_kl(τ)  = eta [ Σ_a E_ak r_al(τ) + Σ_i S_ki(τ) q_il(τ) ]
    N_kl(τ)  = Σ_a p_a n_akl (rho_a(τ) + t_aa(τ)/D)/B + (1 - 1/B) Σ_ab E_ak E_bl t_ab(τ)/D
    dq(τ)    = A + Aᵀ + eta² N_kl(τ) - 2 eta kappa q
    dv       = eta Σ_a p_a f_a - eta kappa v,    db = eta Σ_a E_a - eta kappa b

The readout v, (K,) or (K, O), stands in its own equation only.

The terms t/D are the means' share of |x|²/D and of the squared mean gradient; they vanish as D
grows when |mu|² ~ D and are of order one when |mu|² ~ D² (high and mixed SNR). A cluster whose
labels are flipped with probability u is two clusters, with labels y and -y and priors p(1 - u) and
p u; only the training sees them, errors are those on the true labels.
"""

from __future__ import annotations

import math
from typing import final

from torch import Tensor

from gmmdyn import OrderParameters
from gmmdyn.gaussian import covariance_factor
from gmmdyn.interfaces import Errors, Fields, Integrator
from gmmdyn_ode.problem import Problem
from gmmdyn_ode.signal import ErrorSignal
from gmmdyn_ode.state import State

# Variance of the noise that stands for none, as a share of |mu|²/D.
_VANISHING = 1e-10


@final
class Dynamics:
    """The right-hand side and the errors, as functions of time and state.

    Args:
        problem: what the equations depend on; its tensors may have a batch shape.
        integrator: prepared for the number of hidden units.
        limit: whether clusters without noise are the limit of vanishing noise, which a flow in time
            needs; otherwise their fields are where they are, on a kink too.
    """

    def __init__(self, problem: Problem, integrator: Integrator, limit: bool = True) -> None:
        self._problem = problem
        self._signal = ErrorSignal(
            problem.labels, problem.priors, problem.label_noise, problem.batch_size, integrator
        )
        own = problem.overlaps.diagonal(dim1=-2, dim2=-1).mT  # (..., C, M)
        variances = problem.variances.expand(*problem.variances.shape[:-2], *own.shape[-2:])
        # Transposed: (..., M, C)
        self._variances = variances.mT
        self._lengths = (variances + own * problem.inverse_dim[..., None, None]).mT
        self._covariance_weights = problem.share.unsqueeze(-2) * problem.variances
        kinked = limit and not problem.activation.smooth
        self._vanishing = _vanishing(problem) if kinked else None
        # The squared mean gradient, which a batch of one sample does not show.
        self._squared = bool((problem.batch_size > 1).any())
        self._mean_share = (1 - 1 / problem.batch_size) * problem.inverse_dim

    def fields(self, state: State) -> Fields:
        """Return the distribution of the local fields at a state, with the true labels."""
        problem = self._problem
        mean = _weighted(problem.share.unsqueeze(-2), state.r).squeeze(-3)
        if state.b is not None:
            mean = mean + state.b.unsqueeze(-2)
        covariance = _weighted(self._covariance_weights, state.q)
        return Fields(mean, covariance, state.v, problem.labels, problem.activation, problem.loss)

    def derivative(self, time: Tensor | float, state: State) -> State:
        """Return the time derivatives of a state.

        Args:
            time: t, shape `()` or that of the batch.
            state: of the batch shape of the problem.

        Returns:
            The derivatives, of the shapes of the state.
        """
        problem = self._problem
        fields = self.fields(state)
        if self._vanishing is not None:
            # A solver's trial may lie a little outside of the possible ones.
            root = covariance_factor(_weighted(self._vanishing, state.q), slack=math.inf)
            fields = fields._replace(covariance=fields.covariance + root @ root)
        signal = self._signal(fields)
        drive = signal.drive.unsqueeze(-3)  # (..., 1, C, K)
        stein = _weighted(self._variances, signal.stein)
        noise = _weighted(self._lengths, signal.noise)
        pull = problem.overlaps.mT @ drive  # (..., M, C, K)
        if self._squared:
            noise = noise + self._mean_share[..., None, None, None] * (drive.mT @ pull)
        eta = problem.rate(time).unsqueeze(-1)  # (..., 1)
        fade = eta * problem.weight_decay.unsqueeze(-1)
        cube = (..., None, None)
        rate = eta[cube]
        dr = rate * (pull + state.r @ stein.mT) - fade[cube] * state.r
        growth = rate * (drive.mT @ state.r + stein @ state.q)
        dq = growth + growth.mT + rate**2 * noise - 2 * fade[cube] * state.q
        learns = problem.readout_learns.unsqueeze(-1)
        if problem.labels.ndim == 1:
            dv = learns * (eta * signal.readout - fade * state.v)
        else:
            eta_v, fade_v, learns = (part.unsqueeze(-1) for part in (eta, fade, learns))
            dv = learns * (eta_v * signal.readout - fade_v * state.v)
        db = None
        if state.b is not None:
            db = eta * drive.sum((-3, -2)) - fade * state.b
        return State(dq, dr, dv, db)

    def errors(self, state: State) -> Errors:
        """Return the errors at a state, averaged over clusters."""
        return self._signal.errors(self.fields(state))

    def overlap_rates(self, time: Tensor | float, state: State) -> OrderParameters:
        """Return the time derivatives of Q, R, v (and b) at a state."""
        return self.overlaps(self.derivative(time, state))

    def overlaps(self, state: State) -> OrderParameters:
        """Return Q, R, v (and b) of a state."""
        share = self._problem.share[..., None, None]
        return OrderParameters(
            Q=(share * state.q).sum(-3), R=(share * state.r).sum(-3), v=state.v, b=state.b
        )


def _vanishing(problem: Problem) -> Tensor | None:
    r"""Return weights of a vanishing noise for clusters without any, or None if there are none.

    Without noise the right-hand side jumps where a unit meets a kink, and units may stay there: the
    limit of vanishing noise, in which a share of the inputs is on either side of the kink. It is
    approached as $\sigma$, so to 1e-5 here; away from kinks the noise has no effect at all. Inputs
    that are exactly 0, of a cluster at the origin, stay so unless a bias moves their fields.
    """
    still = (problem.variances == 0).all(-1, keepdim=True)
    if not bool(still.any()):
        return None
    own = problem.overlaps.diagonal(dim1=-2, dim2=-1)  # (..., M, C)
    size = (problem.share.unsqueeze(-1) * own).sum(-2).unsqueeze(-1)  # (..., C, 1)
    if problem.initial.b is not None:
        size = size.amax(-2, keepdim=True).expand_as(size)
    return still * (_VANISHING * size * problem.share.unsqueeze(-2))


def _weighted(weights: Tensor, matrices: Tensor) -> Tensor:
    """Return Σ_a w_ma M_a: weights `(..., m, a)` and matrices `(..., a, k, l)`."""
    total = weights @ matrices.flatten(-2)
    return total.reshape(*total.shape[:-1], *matrices.shape[-2:])
