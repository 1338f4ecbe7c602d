"""From a start to a fixed point, in the coordinates that suit each stage."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch

from gmmdyn import OrderParameters
from gmmdyn_ode.chart import chart_of
from gmmdyn_ode.coordinates import Coordinates, Weights
from gmmdyn_ode.integration import accepted_steps
from gmmdyn_ode.solver import RightHandSide, StoppedError
from gmmdyn_ode.state import State, embedded, unit_sizes, units_of
from gmmdyn_ode.state_evolution.residual import Equations, Field, residual
from gmmdyn_ode.state_evolution.roots import newton
from gmmdyn_ode.state_evolution.stability import stability_of
from gmmdyn_ode.state_evolution.symmetric import Exchangeable, groups_of

# The flow has come near a root where the residual is below; it is followed with these tolerances,
# to a time at which nothing can be slower.
_NEAR, _FLOW_RTOL, _FLOW_ATOL, _END = 1e-5, 1e-5, 1e-8, 1e12
# Saddles that are left one after the other: each costs another flow.
_MOST_SADDLES = 10
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
        why: a clause on why the search ended, if it did not converge, and the word for it.
        left_saddles: how many saddles were left on the way.
    """

    state: OrderParameters
    residual: float
    converged: bool
    asymmetry: float
    gone: np.ndarray
    group: np.ndarray
    moved: float = 0.0
    why: tuple[str, str] = ("its residual is no longer falling; start nearer", "residual")
    left_saddles: int = 0


def flowing(equations: Equations, start: OrderParameters, tolerance: float) -> Found:
    """Follow the flow from a start to where it comes to rest, past any saddle on its way.

    A flow that starts with a symmetry keeps it, and may come to rest where a state without the
    symmetry would not. Any fluctuation leaves such a saddle along its unstable direction, and so
    does the search.

    Args:
        equations: F.
        start: the state to start from.
        tolerance: for the residual.

    Returns:
        Where it ended.
    """
    small = min(_GONE, _SHRUNK * float(unit_sizes(start).max()))
    found, saddles = _to_rest(equations, start, tolerance, small), 0
    while found.converged and saddles < _MOST_SADDLES:
        verdict = stability_of(equations, found)
        if verdict.name != "saddle" or verdict.left is None:
            break
        if equations.left <= 0:
            why = "it took all that are allowed to come to a saddle; raise `max_evaluations`"
            found = found._replace(converged=False, why=(why, "evaluations"))
            break
        saddles += 1
        # The way from a saddle begins slowly: that it is slow is no sign of rest.
        near = min(_NEAR, 0.1 * verdict.leaving)
        saddle, found = found, _to_rest(equations, verdict.left, tolerance, small, near)
        if found.converged and _same(saddle.state, found.state):
            # What is stable lies too near for the search to tell: it is said to be a saddle.
            break
    return found._replace(left_saddles=saddles)


def _same(one: OrderParameters, two: OrderParameters) -> bool:
    """Say whether two fixed points are one."""
    return all(
        bool(torch.allclose(a, b, rtol=0, atol=1e-6))
        for a, b in ((one.Q, two.Q), (one.R, two.R), (one.v, two.v))
    )


def _to_rest(
    equations: Equations,
    start: OrderParameters,
    tolerance: float,
    small: float,
    near: float = _NEAR,
) -> Found:
    """Follow the flow with an implicit method, and polish where it moves more slowly than `near`.

    Units that vanish on the way are left out at the end: for an activation that is 0 at 0 a unit
    without weights stays so, and with a kink there the right-hand side has no derivative at it.
    Units that merge are treated as in `symmetric.py`.
    """
    flat = State(start.Q.unsqueeze(-3), start.R.unsqueeze(-3), start.v, start.b).pack()
    field = RightHandSide(equations.flat, max(equations.left, 0))
    how = _END, _FLOW_RTOL, _FLOW_ATOL, chart_of(equations.problem)
    state, size = start, np.inf
    why = ("it came to rest without converging; raise `tolerance`", "residual")
    try:
        for step in accepted_steps(field, "BDF", 0.0, flat, *how):
            inner = equations.problem.initial.unpack(step.state())
            state = OrderParameters(Q=inner.q[0], R=inner.r[0], v=inner.v, b=inner.b)
            size = residual(state, equations(state))
            if size > near:
                continue
            found = polished(equations, state, tolerance, small, _NEARBY)
            if found.converged and found.moved < _NEARBY:
                # Units that vanish or merge only at the fixed point itself are seen there.
                again = polished(equations, found.state, tolerance, small)
                return again if again.converged else found
            if size <= tolerance:
                return plain(state, size, True)
            # A slow place on the way, say: go on and look again much further down, at last at where
            # the flow alone has come to rest.
            near = max(size / 10, tolerance)
    except StoppedError as stopped:
        why = stopped.reason, stopped.status
    return plain(state, size, size <= tolerance)._replace(why=why)


def plain(state: OrderParameters, size: float, converged: bool) -> Found:
    """Return what was found where no unit vanished or merged."""
    hidden = state.v.shape[-1]
    return Found(state, size, converged, size, np.zeros(hidden, dtype=bool), np.arange(hidden))


def polished(
    equations: Equations,
    state: OrderParameters,
    tolerance: float,
    small: float = 0.0,
    nearby: float = np.inf,
) -> Found:
    """Look for a fixed point near a state with Newton's method.

    Args:
        equations: F.
        state: near a fixed point.
        tolerance: for the residual.
        small: units whose weights are below, and shrink, are left out; those without weights are
            in any case.
        nearby: how far a root may be, as a share of the largest coordinate where that exceeds 1.

    Returns:
        Where it ended.
    """
    gone = _vanishing(equations, state, small)
    index = torch.from_numpy(np.flatnonzero(~gone))
    left = units_of(state, index)
    group = groups_of(left)
    groups = np.full(len(gone), -1)
    groups[~gone] = group
    found = []
    if len(set(group)) < len(group):
        shares = Exchangeable(group, left)
        found.append(_newton(equations, shares, shares.shared(left), index, tolerance, nearby))
    # An integrator that tells units apart may leave nothing of the line of fixed points on which
    # merged units share a readout: there one share alone is at rest.
    if not (found and found[0].converged and found[0].moved < nearby):
        weights = Weights(equations.mean_overlaps, left)
        found.append(_newton(equations, weights, left, index, tolerance, nearby))
    best = min(found, key=lambda each: (not each.converged, each.residual))
    return best._replace(gone=gone, group=groups)


def _newton(
    equations: Equations,
    coordinates: Coordinates,
    state: OrderParameters,
    kept: torch.Tensor,
    tolerance: float,
    nearby: float,
) -> Found:
    """Look for a fixed point near a state of the units that have not vanished."""
    hidden = equations.problem.initial.v.shape[-1]
    x, moved = coordinates.flat(state), 0.0
    if x.size:
        size = max(1.0, float(np.abs(x).max()))
        root = newton(Field(equations, coordinates, kept), x, tolerance, nearby * size)
        moved = float(np.abs(root.x - x).max()) / size
        state = coordinates.state(root.x)
    full = embedded(state, kept, hidden)
    rates = equations(full)
    asymmetry = residual(full, rates)
    size = residual(state, coordinates.averaged(units_of(rates, kept)))
    found = plain(full, size, size <= tolerance)
    return found._replace(asymmetry=asymmetry, moved=moved)


def _vanishing(equations: Equations, state: OrderParameters, small: float) -> np.ndarray:
    size = unit_sizes(state)
    gone = size < small
    if bool(gone.any()):
        rates = equations(state)
        gone &= rates.Q.diagonal() + 2 * state.v * rates.v < 0
    return np.array((gone | (size == 0)).numpy())
