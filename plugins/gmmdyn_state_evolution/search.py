"""From a start to a fixed point, in the coordinates that suit each stage."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch

from gmmdyn import OrderParameters
from gmmdyn_state_evolution.coordinates import Coordinates, Weights
from gmmdyn_state_evolution.equations import Equations, Field, residual
from gmmdyn_state_evolution.solvers import Root, along_the_flow, newton
from gmmdyn_state_evolution.symmetric import Exchangeable, groups_of

# A unit is gone once its weights are below this, and below this share of the largest at the start.
_GONE, _SHRUNK = 1e-5, 1e-3
# How far Newton's method may go and still be said to polish.
_NEARBY = 0.05


class Found(NamedTuple):
    """Where a search ended.

    Attributes:
        state: the order parameters.
        residual: the scaled residual, averaged over exchanges of units that act as one.
        converged: whether it is within the tolerance.
        asymmetry: the scaled residual without that average; the same where no units merge.
        gone: units that vanished, shape `(K,)`.
        group: the group of units that act as one of each unit, shape `(K,)`; -1 for those gone.
        moved: how far Newton's method went, as a share of the largest coordinate.
    """

    state: OrderParameters
    residual: float
    converged: bool
    asymmetry: float
    gone: np.ndarray
    group: np.ndarray
    moved: float = 0.0


def flowing(
    equations: Equations, mean_overlaps: torch.Tensor, start: OrderParameters, tolerance: float
) -> Found:
    """Follow the flow from a start to where it comes to rest.

    Units that vanish on the way are left out at the end: for an activation that is 0 at 0 a unit
    without weights stays so, and with a kink there the right-hand side has no derivative at it.
    Units that merge are treated as in `symmetric.py`.

    Args:
        equations: F.
        mean_overlaps: T, shape `(C, C)`.
        start: the state to start from.
        tolerance: for the residual.

    Returns:
        Where it ended.
    """
    coordinates = Weights(mean_overlaps, start)
    field = Field(equations, coordinates)
    small = min(_GONE, _SHRUNK * float(_size(start).max()))
    results: list[Found] = []

    def polish(x: np.ndarray) -> Root | None:
        found = polished(equations, mean_overlaps, coordinates.state(x), tolerance, small)
        if not (found.converged and found.moved < _NEARBY):
            return None
        if bool((_size(found.state) < small).any()):  # it converged to a unit that vanishes
            found = polished(equations, mean_overlaps, found.state, tolerance, small)
        results.append(found)
        return Root(x, found.residual, found.converged)

    root = along_the_flow(field, coordinates.flat(start), tolerance, polish)
    if results:
        return results[-1]
    return plain(coordinates.state(root.x), root.residual, root.converged)


def plain(state: OrderParameters, size: float, converged: bool) -> Found:
    """Return what was found where no unit vanished or merged."""
    hidden = state.v.shape[-1]
    return Found(state, size, converged, size, np.zeros(hidden, dtype=bool), np.arange(hidden))


def polished(
    equations: Equations,
    mean_overlaps: torch.Tensor,
    state: OrderParameters,
    tolerance: float,
    small: float = 0.0,
) -> Found:
    """Look for a fixed point near a state with Newton's method.

    Args:
        equations: F.
        mean_overlaps: T, shape `(C, C)`.
        state: near a fixed point.
        tolerance: for the residual.
        small: units whose weights are below, and shrink, are left out; those without weights are
            in any case.

    Returns:
        Where it ended.
    """
    gone = _vanishing(equations, state, small)
    left = restricted(state, ~gone)
    group = groups_of(left)
    moved, end = 0.0, left
    if len(group):
        coordinates: Coordinates = Weights(mean_overlaps, left)
        x = coordinates.flat(left)
        if len(set(group)) < len(group):
            coordinates = shares = Exchangeable(group, left)
            x = coordinates.flat(shares.shared(left))
        root = newton(Field(equations, coordinates), x, tolerance)
        moved = float(np.abs(root.x - x).max()) / max(1.0, float(np.abs(x).max()))
        end = coordinates.state(root.x)
    full = _embedded(end, ~gone)
    rates = equations(full)
    size = asymmetry = residual(full, rates)
    if len(group):
        kept = restricted(rates, ~gone)
        size = residual(end, Exchangeable(group, end).averaged(kept))
    groups = np.full(len(gone), -1)
    groups[~gone] = group
    return Found(full, size, size <= tolerance, asymmetry, gone, groups, moved)


def _size(state: OrderParameters) -> torch.Tensor:
    """Return the length of the weights of each unit, shape `(K,)`."""
    square = state.Q.diagonal() + state.v**2
    return (square if state.b is None else square + state.b**2).sqrt()


def _vanishing(equations: Equations, state: OrderParameters, small: float) -> np.ndarray:
    size = _size(state)
    gone = size < small
    if bool(gone.any()):
        rates = equations(state)
        gone &= rates.Q.diagonal() + 2 * state.v * rates.v < 0
    return np.array((gone | (size == 0)).numpy())


def restricted(state: OrderParameters, kept: np.ndarray) -> OrderParameters:
    """Return the order parameters of some units.

    Args:
        state: without batch shape.
        kept: which units, shape `(K,)`, bool.

    Returns:
        A state of those units alone.
    """
    index = torch.from_numpy(np.flatnonzero(kept))
    return OrderParameters(
        Q=state.Q[index][:, index],
        R=state.R[:, index],
        v=state.v[index],
        b=None if state.b is None else state.b[index],
    )


def _embedded(state: OrderParameters, kept: np.ndarray) -> OrderParameters:
    index = torch.from_numpy(np.flatnonzero(kept))
    hidden = len(kept)
    q = torch.zeros(hidden, hidden, dtype=torch.float64)
    q[index[:, None], index] = state.Q
    r = torch.zeros(state.R.shape[0], hidden, dtype=torch.float64)
    r[:, index] = state.R
    v = torch.zeros(hidden, dtype=torch.float64)
    v[index] = state.v
    b = None
    if state.b is not None:
        b = torch.zeros(hidden, dtype=torch.float64)
        b[index] = state.b
    return OrderParameters(Q=q, R=r, v=v, b=b)
