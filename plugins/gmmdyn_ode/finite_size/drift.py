r"""What one update of SGD does to the coordinates on average, to all orders in 1/D.

D times the mean change of one update is F + F1/D and nothing more. F is the drift of the limit. F1
is 0 for M, v and b, and with N = eta² Σ_a p_a n_a as a function of the distribution of the fields,

    F1_Q = (eta kappa)² Q - eta kappa E[d_k l_l + d_l l_k] + Σ_a T_aa N_a + 2 sigma² dN/ds

where d_k = eta gamma_k, l_k is the field without its bias, E[d_k l_l + d_l l_k] =
F_Q + 2 eta kappa Q - sigma² N, and s scales the overlaps R to (1 + s) R and the covariance of the
fields to (1 + s) sigma² Q: this is the correlation of |x|² with the fields, by Stein's identity.
"""

from __future__ import annotations

from typing import final

import torch
from torch import Tensor

from gmmdyn.interfaces import Integrator
from gmmdyn_ode.dynamics import Dynamics
from gmmdyn_ode.finite_size.coordinates import Coordinates
from gmmdyn_ode.problem import Problem
from gmmdyn_ode.signal import ErrorSignal
from gmmdyn_ode.state import State

# Rows evaluated at once: more would hold the points of all of them in memory.
_ROWS = 128
# Steps of differences: in s, of first derivatives, and of curvatures, relative to `scales`.
_STRETCH, _SLOPE, _BEND = 1e-3, 1e-5, 3e-3
# Directions whose variance is a smaller share of the largest have no part in the curvature.
_NOTHING = 1e-6


@final
class Drift:
    """F, F1 and the derivatives of F, of many states at once.

    Args:
        problem: with isotropic noise and samples one by one.
        integrator: prepared, smooth in the state.
        coordinates: of the problem.
    """

    def __init__(self, problem: Problem, integrator: Integrator, coordinates: Coordinates) -> None:
        self._problem = problem._replace(inverse_dim=torch.zeros_like(problem.inverse_dim))
        self._dynamics = Dynamics(self._problem, integrator)
        self._signal = ErrorSignal(
            problem.labels, problem.priors, problem.label_noise, problem.batch_size, integrator
        )
        self._coordinates = coordinates
        self._lengths = problem.overlaps.squeeze(-3).diagonal()
        self._variance = problem.variances.squeeze()
        self._steady = len(problem.knots) == 1

    def rates(self, times: Tensor, x: Tensor) -> Tensor:
        """Return F at times `(N,)` and coordinates `(N, n)`, shape `(N, n)`."""
        found = []
        for when, where in zip(*(torch.split(part, _ROWS) for part in (times, x)), strict=True):
            state = self._coordinates.state(where)
            found.append(self._coordinates.flat(self._dynamics.derivative(when, state)))
        return torch.cat(found)

    def exact(self, times: Tensor, x: Tensor) -> Tensor:
        """Return F1 at times `(N,)` and coordinates `(N, n)`, shape `(N, n)`."""
        parts = (torch.split(part, _ROWS) for part in (times, x))
        return torch.cat([self._exact(*part) for part in zip(*parts, strict=True)])

    def _exact(self, times: Tensor, x: Tensor) -> Tensor:
        state = self._coordinates.state(x)
        q = state.q.squeeze(-3)
        eta = self._problem.rate(times).expand(len(x))[:, None, None]
        decay = eta * self._problem.weight_decay

        def noise(stretch: float) -> Tensor:  # p n by cluster
            fields = self._dynamics.fields(
                state._replace(q=(1 + stretch) * state.q, r=(1 + stretch) * state.r)
            )
            return eta.unsqueeze(-1) ** 2 * self._signal(fields).noise

        flow = self._dynamics.derivative(times, state).q.squeeze(-3)
        stirred = noise(0.0)
        slope = (noise(_STRETCH) - noise(-_STRETCH)).sum(-3) / (2 * _STRETCH)
        crossed = flow + 2 * decay * q - self._variance * stirred.sum(-3)
        change = (
            decay**2 * q
            - decay * crossed
            + (self._lengths[:, None, None] * stirred).sum(-3)
            + 2 * self._variance * slope
        )
        nothing = [None if part is None else torch.zeros_like(part) for part in state[1:]]
        return self._coordinates.flat(State(change.unsqueeze(-3), *nothing))  # type: ignore[arg-type]

    def slopes(self, times: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return F, shape `(N, n)`, and J with J_ij = dF_i/dx_j, shape `(N, n, n)`."""
        count, size = x.shape
        steps = _SLOPE * self._coordinates.scales(x)
        ahead = torch.cat([x.unsqueeze(1), x.unsqueeze(1) + torch.diag_embed(steps)], 1)
        when = times.repeat_interleave(size + 1)
        rates = self.rates(when, ahead.flatten(0, 1)).reshape(count, size + 1, size)
        changes = (rates[:, 1:] - rates[:, :1]) / steps.unsqueeze(-1)
        return rates[:, 0], changes.mT

    def curvature(self, times: Tensor, x: Tensor, flow: Tensor, covariance: Tensor) -> Tensor:
        """Return ½ Σ_ij C_ij d²F/dx_i dx_j, by differences along the eigenvectors of C.

        Args:
            times: shape `(N,)`.
            x: shape `(N, n)`.
            flow: F there, shape `(N, n)`.
            covariance: C, shape `(N, n, n)`.

        Returns:
            Shape `(N, n)`.
        """
        scales = self._coordinates.scales(x)
        alike = covariance / (scales.unsqueeze(-1) * scales.unsqueeze(-2))
        values, vectors = torch.linalg.eigh(alike)
        which, mode = torch.nonzero(values > _NOTHING * values[:, -1:], as_tuple=True)
        total = torch.zeros_like(x)
        if not len(which):
            return total
        along = vectors.mT[which, mode]
        size = _BEND / along.abs().amax(-1, keepdim=True)
        step = size * along * scales[which]
        both = torch.cat([x[which] + step, x[which] - step])
        ahead, behind = self.rates(times[which].repeat(2), both).chunk(2)
        bends = (ahead + behind - 2 * flow[which]) / size**2
        return total.index_add(0, which, 0.5 * values[which, mode].unsqueeze(-1) * bends)

    def passing(self, times: Tensor, x: Tensor, step: Tensor) -> Tensor:
        """Return dF/dt at fixed coordinates, which a schedule alone makes, by differences.

        Args:
            times: shape `(N,)`.
            x: shape `(N, n)`.
            step: of the differences, shape `(N,)`.

        Returns:
            Shape `(N, n)`.
        """
        if self._steady:
            return torch.zeros_like(x)
        change = self.rates(times + step, x) - self.rates(times - step, x)
        return change / (2 * step).unsqueeze(-1)
