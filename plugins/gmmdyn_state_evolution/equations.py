"""The right-hand side of the order parameters, counted, and how far it is from zero."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from gmmdyn import OnlineSGD, OrderParameters
from gmmdyn.errors import NotPositiveError
from gmmdyn.interfaces import DataModel, Network, Theory
from gmmdyn_state_evolution.coordinates import Coordinates

# States of which the derivatives are computed in one call: enough to spare overhead, few enough for
# the cache.
_TOGETHER = 16


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
        dynamics: the theory whose `derivative` is F.
        data_model: the data model.
        network: the network; only its activation matters.
        algorithm: the learning algorithm.
        limit: how many evaluations are allowed.
    """

    def __init__(
        self,
        dynamics: Theory,
        data_model: DataModel,
        network: Network,
        algorithm: OnlineSGD,
        limit: int,
    ) -> None:
        self._dynamics = dynamics
        self._parts = (data_model, network, algorithm)
        self._limit = limit
        self.count = 0

    @property
    def left(self) -> int:
        """How many evaluations are left."""
        return self._limit - self.count

    def __call__(self, state: OrderParameters) -> OrderParameters:
        """Return the time derivatives of a state."""
        self.count += 1
        return self._dynamics.derivative(*self._parts, state)

    def many(self, states: list[OrderParameters]) -> list[OrderParameters]:
        """Return the time derivatives of several states, computed together."""
        self.count += len(states)
        found: list[OrderParameters] = []
        for first in range(0, len(states), _TOGETHER):
            some = states[first : first + _TOGETHER]
            rates = self._dynamics.derivative(*self._parts, _stacked(some))
            found += [
                OrderParameters(
                    Q=rates.Q[i],
                    R=rates.R[i],
                    v=rates.v[i],
                    b=None if rates.b is None else rates.b[i],
                )
                for i in range(len(some))
            ]
        return found


def _stacked(states: list[OrderParameters]) -> OrderParameters:
    b = [state.b for state in states if state.b is not None]
    return OrderParameters(
        Q=torch.stack([state.Q for state in states]),
        R=torch.stack([state.R for state in states]),
        v=torch.stack([state.v for state in states]),
        b=torch.stack(b) if b else None,
    )


class Field:
    """F in some coordinates.

    Args:
        equations: F as a function of the state.
        coordinates: the coordinates.
    """

    def __init__(self, equations: Equations, coordinates: Coordinates) -> None:
        self.equations = equations
        self.coordinates = coordinates

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
                rates = self.coordinates.averaged(self.equations(state))
            except NotPositiveError:  # a trial that went too far
                return nowhere
            size = residual(state, rates)
            value = self.coordinates.rates(x, rates)
        return Slope(value, size) if np.isfinite(value).all() else nowhere

    def many(self, points: np.ndarray) -> np.ndarray:
        """Return F at several points, shape `(N, n)`; infinite if one of them is no state."""
        try:
            rates = self.equations.many([self.coordinates.state(x) for x in points])
        except NotPositiveError:
            return np.full_like(points, np.inf)
        average = self.coordinates.averaged
        pairs = zip(points, rates, strict=True)
        return np.stack([self.coordinates.rates(x, average(rate)) for x, rate in pairs])
