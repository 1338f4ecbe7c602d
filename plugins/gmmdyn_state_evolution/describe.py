"""A fixed point as a trajectory of one time, with what is known of it."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from gmmdyn import OrderParameters, Trajectory
from gmmdyn_state_evolution.coordinates import Weights
from gmmdyn_state_evolution.equations import Equations, Field
from gmmdyn_state_evolution.search import Found, restricted
from gmmdyn_state_evolution.solvers import jacobian

# Eigenvalues of the line of fixed points of units that merge are 0 to about 1e-10.
_NEUTRAL = 1e-8


def stability(
    equations: Equations, mean_overlaps: torch.Tensor, found: Found
) -> tuple[str, list[float]]:
    """Return what the Jacobian at a fixed point says.

    Args:
        equations: F.
        mean_overlaps: T, shape `(C, C)`.
        found: the fixed point.

    Returns:
        "stable", "saddle" or "unknown", and the real parts of the eigenvalues, largest first: of
        the Jacobian in `Weights` of the units that have not vanished. Those that have are where
        the right-hand side may have no derivative; that they shrink was seen on the way.
    """
    state = restricted(found.state, ~found.gone)
    if not state.v.numel():
        return "stable", []
    coordinates = Weights(mean_overlaps, state)
    slopes = jacobian(Field(equations, coordinates), coordinates.flat(state))
    if not np.isfinite(slopes).all():
        return "unknown", []
    rates = np.sort(np.linalg.eigvals(slopes).real)[::-1]
    return "stable" if rates[0] < _NEUTRAL else "saddle", rates.tolist()


def merged_units(found: Found) -> list[list[int]]:
    """Return the groups of more than one unit that act as one."""
    groups = [np.flatnonzero(found.group == g).tolist() for g in range(found.group.max() + 1)]
    return [group for group in groups if len(group) > 1]


def trajectory(at: Trajectory, about: dict[str, Any]) -> Trajectory:
    """Return the errors at a state as those of t = ∞.

    Args:
        at: the state at some one time.
        about: the metadata.

    Returns:
        The same at t = ∞.
    """
    return Trajectory(np.array([np.inf]), at.curves, "theory", at.errors, about)


def finite(state: OrderParameters) -> bool:
    """Return whether a state has only finite numbers."""
    return all(bool(torch.isfinite(part).all()) for part in (state.Q, state.R, state.v))
