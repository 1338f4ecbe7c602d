"""Coordinates in which an implicit method works, for flat states."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Protocol, final

import torch
from torch import Tensor

from gmmdyn import OrderParameters
from gmmdyn_ode.coordinates import Weights
from gmmdyn_ode.problem import Problem
from gmmdyn_ode.state import State, embedded, unit_sizes, units_of

# The size of a unit, the root of Q_kk + v_k², below which it is gone if it shrinks.
_GONE = 1e-8


class Chart(Protocol):
    """A map between flat states `(..., n)` and other vectors `(..., m)`."""

    def enter(self, flat: Tensor) -> Tensor:
        """Return the coordinates of one state."""
        ...

    def leave(self, x: Tensor) -> Tensor:
        """Return the states of coordinates."""
        ...

    def rates(self, x: Tensor, flat: Tensor) -> Tensor:
        """Return dx/dt, given the time derivatives of the states of x."""
        ...

    def scale(self, x: Tensor) -> Tensor:
        """Return how large a change of each coordinate is that matters, shape `(m,)`."""
        ...

    def worn(self, x: Tensor) -> bool:
        """Say whether another chart, made for the state of x, would serve better."""
        ...


# Makes the chart for a flat state and those near it, given the time derivatives there.
MakeChart = Callable[[Tensor, Tensor], Chart]


@final
class Identity:
    """The state itself."""

    def enter(self, flat: Tensor) -> Tensor:
        """Return the state."""
        return flat

    def leave(self, x: Tensor) -> Tensor:
        """Return the state."""
        return x

    def rates(self, x: Tensor, flat: Tensor) -> Tensor:
        """Return the rates."""
        return flat

    def scale(self, x: Tensor) -> Tensor:
        """Return 1."""
        return torch.ones_like(x)

    def worn(self, x: Tensor) -> bool:
        """Never."""
        return False


@final
class WeightChart:
    """The fewest weights that have the overlaps, for a problem with a single mode of the noise.

    Units that shrink and are smaller than what a solver resolves are taken as gone: their weights
    are 0 from then on, as those of a unit that is 0 stay.

    Args:
        problem: without batch shape.
        flat: the state that it is made for.
        rates: the time derivatives there.
    """

    def __init__(self, problem: Problem, flat: Tensor, rates: Tensor) -> None:
        self._start = problem.initial
        state, moving = self._order(flat), self._order(rates)
        size = unit_sizes(state)
        # Half of d(size²)/dt; a unit whose rates are no smaller than itself does not just fade.
        change = moving.Q.diagonal() / 2 + state.v * moving.v
        if state.b is not None and moving.b is not None:
            change = change + state.b * moving.b
        fades = (change <= 0) & (moving.v.abs() <= size)
        self._present = torch.nonzero(~((size < _GONE) & fades))[:, 0]
        self._watched = (size >= _GONE)[self._present]
        left = units_of(state, self._present)
        self._weights = Weights(problem.overlaps.squeeze(-3), left)

    def enter(self, flat: Tensor) -> Tensor:
        """Return the weights of one state."""
        return self._weights.encoded(units_of(self._order(flat), self._present))

    def leave(self, x: Tensor) -> Tensor:
        """Return the states of weights."""
        order = embedded(self._weights.decoded(x), self._present, self._start.v.shape[-1])
        return State.isotropic(order).pack()

    def rates(self, x: Tensor, flat: Tensor) -> Tensor:
        """Return the rates of weights."""
        return self._weights.moved(x, units_of(self._order(flat), self._present))

    def scale(self, x: Tensor) -> Tensor:
        """Return the size of the unit that each weight belongs to."""
        return self._weights.spread(unit_sizes(self._weights.decoded(x)))

    def worn(self, x: Tensor) -> bool:
        """Whether the order of units has become a bad one, or one has vanished."""
        size = unit_sizes(self._weights.decoded(x))
        vanished = bool(((size < _GONE) & self._watched).any())
        return vanished or self._weights.disordered(x)

    def _order(self, flat: Tensor) -> OrderParameters:
        return self._start.unpack(flat).order_parameters()


def chart_of(problem: Problem) -> MakeChart | None:
    """Return the coordinates in which a problem is smooth.

    Args:
        problem: without batch shape.

    Returns:
        Makes the weights, if the noise is isotropic and there is one output; None where the state
        itself has to serve.
    """
    plain = problem.share.shape[-1] == 1 and problem.labels.ndim == 1
    return partial(WeightChart, problem) if plain else None
