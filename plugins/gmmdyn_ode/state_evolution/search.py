"""From a start to the fixed point that the flow reaches."""

from __future__ import annotations

from functools import partial

import numpy as np
import torch

from gmmdyn import OrderParameters
from gmmdyn_ode.chart import MakeChart, chart_of
from gmmdyn_ode.integration import accepted_steps
from gmmdyn_ode.problem import Problem
from gmmdyn_ode.solver import RightHandSide, StoppedError
from gmmdyn_ode.state import State, unit_sizes
from gmmdyn_ode.state_evolution.polish import Found, plain, polished
from gmmdyn_ode.state_evolution.residual import Equations, residual
from gmmdyn_ode.state_evolution.split import SplitChart
from gmmdyn_ode.state_evolution.stability import stability_of

# The flow has come near a root where the residual is below; it is followed to a time at which
# nothing can be slower.
_NEAR, _END = 1e-5, 1e12
# Its tolerances: on the way, and where Newton's method has failed several times beside a root.
# There an integrator's own roughness, not the flow, limits steps at the first ones.
_ATOL, _RTOL, _LOOSE_RTOL, _PATIENCE = 1e-8, 1e-5, 1e-3, 3
# Newton's method is tried when the residual has fallen by so much, or after so many times the
# evaluations that the last try took.
_FALL, _SHARE = 3.0, 10
# The residual below which it is tried at the start, where fewer points have led there.
_LED = 1e-2
# Saddles that are left one after the other: each costs another flow.
_MOST_SADDLES = 10
# A unit is gone once its weights are below this, and below this share of the largest at the start.
_GONE, _SHRUNK = 1e-5, 1e-3


def flowing(equations: Equations, start: OrderParameters, tolerance: float) -> Found:
    """Follow the flow from a start to where it comes to rest, past any saddle on its way.

    A flow that starts with a symmetry keeps it, and may come to rest where a state without the
    symmetry would not. Any fluctuation leaves such a saddle along its unstable direction, and so
    does the search. An average over many points is led by one over few.

    Args:
        equations: F.
        start: the state to start from.
        tolerance: for the residual.

    Returns:
        Where it ended.
    """
    small = min(_GONE, _SHRUNK * float(unit_sizes(start).max()))
    coarse = equations.coarser()
    if coarse is None:
        return _past_saddles(equations, start, tolerance, small)
    led = _past_saddles(coarse, start, tolerance, small)
    equations.count += coarse.count
    begun = led.state if np.isfinite(led.residual) else start
    found = _past_saddles(equations, begun, tolerance, small, _LED)
    return found._replace(left_saddles=found.left_saddles + led.left_saddles)


def _past_saddles(
    equations: Equations,
    start: OrderParameters,
    tolerance: float,
    small: float,
    at_once: float = 0.0,
) -> Found:
    found = _to_rest(equations, start, tolerance, small, at_once=at_once)
    saddles, last = 0, None
    apart = np.zeros(len(start.v), dtype=bool)
    while found.converged and saddles < _MOST_SADDLES:
        verdict = stability_of(equations, found)
        found = found._replace(verdict=verdict)
        if verdict.name != "saddle" or verdict.left is None or verdict.parts is None:
            break
        if equations.left <= 0:
            why = "it took all that are allowed to come to a saddle; raise `max_evaluations`"
            found = found._replace(converged=False, why=(why, "evaluations"))
            break
        if last is None or not _same(last, found.state):
            saddles += 1
        elif (verdict.parts & ~apart).any():
            # What is stable lies near, where units that are taken as one have parted a little.
            apart |= verdict.parts
        else:
            # What is stable lies too near for the search to tell: it is said to be a saddle.
            break
        # The way from a saddle begins slowly: that it is slow is no sign of rest.
        near = min(_NEAR, 0.1 * verdict.leaving)
        last = found.state
        found = _to_rest(equations, verdict.left, tolerance, small, near, apart=apart)
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
    at_once: float = 0.0,
    apart: np.ndarray | None = None,
) -> Found:
    """Follow the flow with an implicit method, and polish where it moves more slowly than `near`.

    Units that vanish on the way are left out at the end: for an activation that is 0 at 0 a unit
    without weights stays so, and with a kink there the right-hand side has no derivative at it.
    """
    state, size = start, np.inf
    if at_once > 0:
        size = residual(start, equations(start))
        if size < at_once:
            found = _settled(equations, start, tolerance, small, apart)
            if found is not None:
                return found
    why = ("it came to rest without converging; raise `tolerance`", "residual")
    flat = State(start.Q.unsqueeze(-3), start.R.unsqueeze(-3), start.v, start.b).pack()
    field = RightHandSide(equations.flat, max(equations.left, 0))
    make_chart = _chart_of(equations.problem)
    tries, again, time = 0, np.inf, 0.0
    rtol = _LOOSE_RTOL if equations.sampled else _RTOL
    try:
        while time < _END:
            steps = accepted_steps(field, "BDF", time, flat, _END, rtol, _ATOL, make_chart)
            for step in steps:
                time, flat = step.time, step.state()
                inner = equations.problem.initial.unpack(flat)
                state = OrderParameters(Q=inner.q[0], R=inner.r[0], v=inner.v, b=inner.b)
                size = residual(state, equations(state))
                if size > near and equations.count < again:
                    continue
                before = equations.count
                found = _settled(equations, state, tolerance, small, apart)
                if found is not None:
                    return found
                if size <= tolerance:
                    return plain(state, size, True)
                # A slow place on the way, say: go on and look again further down, at last at where
                # the flow alone has come to rest.
                near = max(min(near, size) / _FALL, tolerance)
                again = equations.count + _SHARE * (equations.count - before)
                tries += 1
                if tries == _PATIENCE and rtol < _LOOSE_RTOL:
                    rtol = _LOOSE_RTOL
                    break
    except StoppedError as stopped:
        why = stopped.reason, stopped.status
    return plain(state, size, size <= tolerance)._replace(why=why)


def _settled(
    equations: Equations,
    state: OrderParameters,
    tolerance: float,
    small: float,
    apart: np.ndarray | None,
) -> Found | None:
    """Return the fixed point in which the flow from a state ends, or None if it is not near."""
    found = polished(equations, state, tolerance, small, quick=True, apart=apart)
    if not (found.converged and found.near):
        return None
    # Units that vanish or merge only at the fixed point itself are seen there.
    again = polished(equations, found.state, tolerance, small, apart=apart)
    return again if again.converged else found


def _chart_of(problem: Problem) -> MakeChart | None:
    """Return the coordinates in which the flow is smooth."""
    return partial(SplitChart, problem) if problem.activation.smooth else chart_of(problem)
