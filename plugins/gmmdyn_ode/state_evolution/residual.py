"""The right-hand side of the order parameters, counted, and how far it is from zero."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from gmmdyn import OrderParameters
from gmmdyn import integrator as build_integrator
from gmmdyn.errors import NotPositiveError
from gmmdyn_ode.coordinates import Coordinates
from gmmdyn_ode.dynamics import Dynamics
from gmmdyn_ode.integrators import Integrators
from gmmdyn_ode.problem import Problem
from gmmdyn_ode.state import State, embedded, units_of

# An integrator with a smaller error than this is as good as a closed form.
_EXACT = 1e-8
# The binary logarithm of the number of points with which a search begins.
_COARSE = 10


class Slope(NamedTuple):
    """F at a point.

    Attributes:
        value: dx/dt, shape `(n,)`.
        residual: as of `residual`.
    """

    value: np.ndarray
    residual: float


def residual(state: OrderParameters, rates: OrderParameters) -> float:
    """Return the scaled residual.

    Args:
        state: where.
        rates: the time derivatives there.

    Returns:
        The largest of max |dQ/dt|, max |dR/dt|, max |dv/dt| (and max |db/dt|), each divided by
        the largest entry of Q, R, v or b where that exceeds 1; in units of 1/t.
    """

    def largest(value: Tensor) -> float:
        return float(value.abs().max()) if value.numel() else 0.0

    return max(
        largest(rate) / max(1.0, largest(value))
        for value, rate in zip(_parts(state), _parts(rates), strict=True)
    )


def _parts(state: OrderParameters) -> list[Tensor]:
    return [part for part in (state.Q, state.R, state.v, state.b) if part is not None]


class Equations:
    """F as a function of the state, up to a number of evaluations.

    Args:
        problem: with isotropic noise and one learning rate; its initial state is where a search
            starts.
        integrators: which one is taken.
        limit: how many evaluations are allowed.
    """

    def __init__(self, problem: Problem, integrators: Integrators, limit: int) -> None:
        self.problem = problem
        hidden = problem.initial.v.shape[-1]
        self._integrator, _ = integrators.prepared(problem.activation, problem.loss, hidden)
        self._dynamics = Dynamics(problem, self._integrator, limit=False)
        self._limit = limit
        self.count = 0

    @property
    def sampled(self) -> bool:
        """Whether F is an average over points, and smooth to their error only."""
        return self._integrator.relative_error > _EXACT

    def coarser(self) -> Equations | None:
        """Return the same equations with fewer points, or None if there are few enough."""
        spec = self._integrator.spec
        if spec is None or spec.name != "sobol":
            return None
        points = build_integrator(spec.name, **{**spec.options, "log2_samples": _COARSE})
        if points.relative_error <= self._integrator.relative_error:
            return None
        return Equations(self.problem, Integrators(points, torch.device("cpu")), self.left)

    @property
    def mean_overlaps(self) -> Tensor:
        """T, shape `(C, C)`."""
        return self.problem.overlaps.squeeze(-3)

    @property
    def decay_rate(self) -> float:
        """The rate 2 eta kappa at which weight decay alone shrinks Q, in units of 1/t."""
        return 2 * float(self.problem.rate(0.0) * self.problem.weight_decay)

    @property
    def left(self) -> int:
        """How many evaluations are left."""
        return self._limit - self.count

    def __call__(self, state: OrderParameters) -> OrderParameters:
        """Return the time derivatives of a state, or of several."""
        inner = State(state.Q.unsqueeze(-3), state.R.unsqueeze(-3), state.v, state.b)
        rates = self._rates(inner)
        return OrderParameters(Q=rates.q.squeeze(-3), R=rates.r.squeeze(-3), v=rates.v, b=rates.b)

    def flat(self, time: Tensor, states: Tensor) -> Tensor:
        """Return the time derivatives of packed states, shape `(..., n)`."""
        return self._rates(self.problem.initial.unpack(states)).pack()

    def _rates(self, state: State) -> State:
        self.count += state.v[..., 0].numel()
        with torch.no_grad():
            return self._dynamics.derivative(0.0, state)


class Field:
    """F in some coordinates, of some of the units while the others have no weights.

    The integrator is that of all units: its points for fewer are others, and what moves at rates
    below the integration error would come to rest elsewhere.

    Args:
        equations: F as a function of the state.
        coordinates: the coordinates.
        kept: the numbers of the units that the coordinates describe; None is all.
    """

    def __init__(
        self, equations: Equations, coordinates: Coordinates, kept: Tensor | None = None
    ) -> None:
        self.equations = equations
        self.coordinates = coordinates
        self._hidden = equations.problem.initial.v.shape[-1]
        self._kept = torch.arange(self._hidden) if kept is None else kept

    @property
    def left(self) -> int:
        """How many evaluations are left."""
        return self.equations.left

    @property
    def count(self) -> int:
        """How many evaluations there were."""
        return self.equations.count

    def __call__(self, x: np.ndarray) -> Slope:
        """Return F at a point; infinite where there is no state."""
        with np.errstate(over="ignore", invalid="ignore"):
            nowhere = Slope(np.full_like(x, np.inf), float("inf"))
            if not np.isfinite(x).all():
                return nowhere
            state = self.coordinates.state(x)
            try:
                rates = self.coordinates.averaged(self._rates(state))
            except NotPositiveError:  # a trial that went too far
                return nowhere
            size = residual(state, rates)
            value = self.coordinates.rates(x, rates)
        return Slope(value, size) if np.isfinite(value).all() else nowhere

    def many(self, points: np.ndarray) -> np.ndarray:
        """Return F at several points, shape `(N, n)`; infinite if one of them is no state."""
        states = [self.coordinates.state(x) for x in points]
        try:
            rates = self._rates(_stacked(states))
        except NotPositiveError:
            return np.full_like(points, np.inf)
        average = self.coordinates.averaged
        each = (self.coordinates.rates(x, average(rates.of(i))) for i, x in enumerate(points))
        return np.stack(list(each))

    def _rates(self, state: OrderParameters) -> OrderParameters:
        whole = embedded(state, self._kept, self._hidden)
        return units_of(self.equations(whole), self._kept)


def _stacked(states: list[OrderParameters]) -> OrderParameters:
    b = [state.b for state in states if state.b is not None]
    return OrderParameters(
        Q=torch.stack([state.Q for state in states]),
        R=torch.stack([state.R for state in states]),
        v=torch.stack([state.v for state in states]),
        b=torch.stack(b) if b else None,
    )
