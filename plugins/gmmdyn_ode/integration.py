"""Integrate in time with the methods of SciPy, and turn to an implicit one where that pays.

An explicit method takes steps no longer than about 3 over the largest rate of decay, however smooth
the solution is. When |mu|² ~ D² that rate is of order D, while learning takes a time of one over
the square root of D. An implicit method takes the steps that accuracy asks for, at the price of the
Jacobian matrix, which is found by differences, many columns in one evaluation.

An implicit method works in coordinates in which the dynamics is smooth. They are chosen for a state
and chosen anew when they no longer suit it; the method then starts again from there, as every
method does at a time at which the right-hand side is not smooth in t. Other steps do not end on
recorded times: the states there are those of the method's own interpolant.

References:
    Dormand, Prince, Journal of Computational and Applied Mathematics 6, 19 (1980); Shampine,
    Mathematics of Computation 46, 135 (1986), for the interpolant.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
import torch
from scipy.integrate import BDF, LSODA, RK45, Radau
from torch import Tensor

from gmmdyn_ode.chart import Identity, MakeChart
from gmmdyn_ode.solver import (
    BLOW_UP,
    IMPLICIT,
    Function,
    Rest,
    RightHandSide,
    Settings,
    Solution,
    StoppedError,
    bound_of,
    jacobian,
    why_stuck,
)

_METHODS: dict[str, Any] = {"dopri5": RK45, "BDF": BDF, "Radau": Radau, "LSODA": LSODA}
# What `auto` starts with, and what it turns to.
_EXPLICIT, _STIFF = "dopri5", "BDF"
METHODS = ("auto", *_METHODS)
# A flow is looked at once no entry moves faster than this, in units of 1/t, every few steps.
_RESTS_BELOW, _REST_PERIOD = 1e-9, 5
# Eigenvalues of a Jacobian by central differences are wrong by about this; in directions that are
# flat to it, such as the readout that merged units share, a flow drifts by the integration error.
_FLAT = 1e-8
# Accepted steps between two looks at the Jacobian, and the evaluations left that one is worth.
_PERIOD, _WORTH = 25, 500
# Step times rate of decay above which stability, not accuracy, limits dopri5 (its limit is 3.3).
_LIMITED = 2.0


class Step(NamedTuple):
    """An accepted step.

    Attributes:
        time: its end.
        x: the coordinates there, shape `(m,)`.
        right_hand_side: in these coordinates.
        length: in time.
        proposed: length of the next one, if the method says.
        interpolant: returns coordinates as a function of a time within the step.
    """

    time: float
    x: np.ndarray
    right_hand_side: RightHandSide
    length: float
    proposed: float | None
    interpolant: Callable[[], Callable[[float], np.ndarray]]

    def state(self) -> Tensor:
        """Return the flat state at its end."""
        return self.right_hand_side.state(self.x)

    def states(self, times: list[float]) -> list[Tensor]:
        """Return the flat states at times within it."""
        between = self.interpolant() if times else None
        return [self.right_hand_side.state(between(time)) for time in times if between]


def accepted_steps(
    right_hand_side: RightHandSide,
    method: str,
    start: float,
    state: Tensor,
    end: float,
    rtol: float,
    atol: float,
    make_chart: MakeChart | None = None,
    first: float | None = None,
    bound: float | None = None,
) -> Iterator[Step]:
    """Integrate with a method of SciPy, one accepted step after the other.

    Args:
        right_hand_side: its chart is replaced as the state moves.
        method: `"dopri5"`, or one of `IMPLICIT`.
        start: the time of the first state.
        state: flat, shape `(n,)`.
        end: the last time.
        rtol: relative tolerance of a step.
        atol: absolute tolerance of a step.
        make_chart: makes the coordinates for a flat state; None is the state itself.
        first: length of the first step; None leaves it to the method.
        bound: what no entry may exceed in size; None is that of the first state of each chart.

    Yields:
        The steps, to the end.

    Raises:
        StoppedError: if the solver gives up.
    """
    time = start
    options = {"jac": right_hand_side.jacobian} if method in IMPLICIT else {}
    while time < end:
        right_hand_side.chart = Identity()
        if make_chart is not None:
            rates = right_hand_side.rates(torch.tensor(time, dtype=torch.float64), state)
            right_hand_side.chart = make_chart(state, rates)
        x = np.array(right_hand_side.chart.enter(state).numpy())
        if not x.size:  # nothing is left that could move
            yield Step(end, x, right_hand_side, end - time, None, lambda: lambda time: np.zeros(0))
            return
        largest = float(bound_of(torch.from_numpy(x))) if bound is None else bound
        first = None if first is None else min(first, end - time) or None
        with np.errstate(all="ignore"):
            solver = _METHODS[method](
                right_hand_side, time, x, end, first_step=first, rtol=rtol, atol=atol, **options
            )
        while solver.status == "running":
            with np.errstate(all="ignore"):
                solver.step()
            time, x = float(solver.t), solver.y
            if solver.status == "failed" or not np.isfinite(x).all():
                raise _failed(right_hand_side.trouble, time, x, largest)
            if np.abs(x).max() > largest:
                raise StoppedError(time, *BLOW_UP)
            right_hand_side.trouble = None
            length, proposed = float(solver.step_size), getattr(solver, "h_abs", None)
            yield Step(time, x, right_hand_side, length, proposed, solver.dense_output)
            if right_hand_side.chart.worn(torch.from_numpy(x)):
                break
        state, first = right_hand_side.state(x), float(solver.step_size) / 10


def _failed(trouble: StoppedError | None, time: float, x: np.ndarray, bound: float) -> StoppedError:
    if trouble is not None:
        return StoppedError(time, trouble.reason, trouble.status)
    return StoppedError(time, *why_stuck(torch.from_numpy(x), bound))


def integrate(
    function: Function,
    initial: Tensor,
    times: Tensor,
    settings: Settings,
    kinks: Tensor,
    make_chart: MakeChart | None = None,
    smooth: bool = True,
) -> Solution:
    """Solve y' = function(t, y) without gradients.

    Args:
        function: the right-hand side; for an implicit method it takes states `(m, n)` too.
        initial: the state at `times[0]`, shape `(n,)`.
        times: strictly increasing, shape `(T,)`, float64.
        settings: how to integrate; the method is one of `METHODS`.
        kinks: times at which the right-hand side is not smooth in t, any shape; a step ends on
            each.
        make_chart: makes coordinates in which an implicit method works for a flat state; None is
            the state itself.
        smooth: whether there is a Jacobian, which an implicit method needs.

    Returns:
        The states at all times, or up to where the solver was stopped; none if there is no rate at
        the first.
    """
    right_hand_side = RightHandSide(function, settings.max_evaluations)
    recorded, states = times.tolist(), [initial]
    last = recorded[-1]
    ends = [*(t for t in sorted(set(kinks.flatten().tolist())) if t < last), last]
    method = _EXPLICIT if settings.method == "auto" else settings.method
    watch = _Stiffness(function, last) if smooth and settings.method == "auto" else None
    time, state, bound = recorded[0], initial, float(bound_of(initial))
    first, stiff_from = None, None

    def solution(stopped: StoppedError | None = None, rest: Rest | None = None) -> Solution:
        return Solution(states, right_hand_side.evaluations, stopped, stiff_from, rest)

    try:
        while time < last:
            end = next(t for t in ends if t > time)
            implicit = method in IMPLICIT
            how = (make_chart, None, None) if implicit else (None, first, bound)
            steps = accepted_steps(
                right_hand_side, method, time, state, end, settings.rtol, settings.atol, *how
            )
            for count, step in enumerate(steps, 1):
                states += step.states(recorded[len(states) : bisect_right(recorded, step.time)])
                if watch is not None and watch.limits(step):
                    method, watch, stiff_from = _STIFF, None, step.time
                    break
                if implicit and end == last and count % _REST_PERIOD == 0:
                    rest = _at_rest(step, settings)
                    if rest is not None:
                        states += [step.state()] * (len(times) - len(states))
                        return solution(rest=rest)
            # A step planned before a kink is a good guess after it.
            time, state, first = step.time, step.state(), step.proposed
    except StoppedError as stopped:
        if right_hand_side.evaluations <= 1:
            states.clear()
        return solution(stopped)
    return solution()


class _Stiffness:
    """Looks at accepted explicit steps, and says when stability, not accuracy, limits them."""

    def __init__(self, function: Function, until: float) -> None:
        self._function = function
        self._until = until
        self._lengths: list[float] = []

    def limits(self, step: Step) -> bool:
        """Say whether it limits the steps up to this one."""
        self._lengths.append(step.length)
        if len(self._lengths) < _PERIOD:
            return False
        # Steps that end at a kink are shorter than they could be.
        longest = max(self._lengths)
        self._lengths.clear()
        if 6 * (self._until - step.time) < _WORTH * longest:
            return False
        slopes = jacobian(self._function, step.time, torch.from_numpy(step.x))
        return longest * float(-np.linalg.eigvals(slopes.numpy()).real.min()) > _LIMITED


def _at_rest(step: Step, settings: Settings) -> Rest | None:
    """Return where the flow x' = F(x) has come to rest, if it has at the end of a step.

    It has if no direction is unstable, and the linear equations around x would move it by less
    than the tolerance for ever; flat directions are left out.
    """
    rate = step.right_hand_side(step.time, step.x)
    residual = float(np.abs(rate).max())
    if not residual < _RESTS_BELOW:
        return None
    slopes = step.right_hand_side.jacobian(step.time, step.x, central=True)
    values, vectors = np.linalg.eig(slopes)
    if values.real.max() > _FLAT:
        return None
    shares = np.linalg.lstsq(vectors, rate.astype(complex), rcond=None)[0]
    moving = np.abs(values) > _FLAT
    shift = vectors[:, moving] @ (shares[moving] / values[moving])
    tolerance = settings.atol + settings.rtol * np.abs(step.x)
    rests = bool((np.abs(shift) < tolerance).all())
    return Rest(step.time, residual, _RESTS_BELOW) if rests else None
