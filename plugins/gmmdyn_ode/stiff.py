"""Implicit methods of SciPy, and a method that turns to them where a problem is stiff.

An explicit method takes steps no longer than about 3 over the largest rate of decay, however smooth
the solution is. When |mu|² ~ D² that rate is of order D, while learning takes a time of one over
the square root of D. An implicit method takes the steps that accuracy asks for, at the price of the
Jacobian matrix, which is found by differences, many columns in one evaluation.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from gmmdyn.errors import IncompatibleError
from gmmdyn_ode.chart import MakeChart, identity
from gmmdyn_ode.explicit import integrate_explicitly
from gmmdyn_ode.implicit import IMPLICIT, ChartedField, Function, Step, implicit_steps
from gmmdyn_ode.rest import RESTS_BELOW, at_rest, jacobian
from gmmdyn_ode.solver import (
    Options,
    Rest,
    Solution,
    StoppedError,
    integrate,
)

# What `auto` starts with, and what it turns to.
_EXPLICIT, _STIFF = "dopri5", "BDF"
# Numbers in a state beyond which its Jacobian is not formed.
_LARGEST = 600
# Accepted steps between two looks whether the flow has come to rest.
_REST_PERIOD = 5
# Accepted steps between two looks at the Jacobian, and the evaluations left that one is worth.
_PERIOD, _WORTH = 25, 500
# Step times rate of decay above which stability, not accuracy, limits dopri5 (its limit is 3.3).
_LIMITED = 2.0


class StiffError(StoppedError):
    """An explicit method is to be given up; users never see it.

    Attributes:
        state: where it was, shape `(n,)`.
    """

    def __init__(self, time: float, state: Tensor) -> None:
        super().__init__(
            time, "the problem is stiff; take an implicit method (`method='BDF'`)", "stiff"
        )
        self.state = state


def follow(
    function: Function,
    initial: Tensor,
    times: Tensor,
    options: Options,
    kinks: Tensor,
    sizes: list[int],
    smooth: bool,
    make_chart: MakeChart = identity,
) -> Solution:
    """Solve y' = function(t, y) with any method.

    Args:
        function: the right-hand side; for an implicit method it takes states `(m, n)` too.
        initial: the state at `times[0]`, shape `(n,)`.
        times: strictly increasing, shape `(T,)`, float64.
        options: how to integrate.
        kinks: as of `integrate`.
        sizes: as of `integrate`.
        smooth: whether the right-hand side has derivatives that differences can find.
        make_chart: makes coordinates in which an implicit method works for a flat state; by default
            the state itself.

    Returns:
        The solution.

    Raises:
        IncompatibleError: if an implicit method is asked for where there is no Jacobian.
    """
    count = make_chart(initial, torch.zeros_like(initial)).enter(initial).numel()
    known = smooth and len(sizes) == 1 and count <= _LARGEST
    if options.method in IMPLICIT:
        if not known:
            raise IncompatibleError(
                f"the method `{options.method}` needs the Jacobian matrix of a smooth right-hand "
                f"side of at most {_LARGEST} numbers, and here it jumps, or there are "
                f"{count} or matrices among them; take `dopri5`."
            )
        return _implicitly(function, initial, times, options, kinks, make_chart)
    explicit = options._replace(method=_EXPLICIT) if options.method == "auto" else options
    if explicit.method != _EXPLICIT or len(sizes) > 1:
        return integrate(function, initial, times, explicit, kinks, sizes)
    watch = _Watch(function, float(times[-1])) if known and options.method == "auto" else None
    first = integrate_explicitly(function, initial, times, explicit, kinks, watch)
    stiff = first.stopped
    if not isinstance(stiff, StiffError):
        return first
    done = len(first.states)
    left = torch.cat([torch.tensor([stiff.time], dtype=times.dtype), times[done:]])
    budget = max(options.max_evaluations - first.evaluations, 0)
    implicit = options._replace(method=_STIFF, max_evaluations=budget)
    rest = _implicitly(function, stiff.state, left, implicit, kinks, make_chart)
    return rest._replace(
        states=first.states + rest.states[1:],
        evaluations=first.evaluations + rest.evaluations,
        stiff_from=stiff.time,
    )


class _Watch:
    """Looks at accepted explicit steps, and raises `StiffError` when stability limits them."""

    def __init__(self, function: Function, until: float) -> None:
        self._function = function
        self._until = until
        self._steps: list[float] = []

    def __call__(self, time: float, state: Tensor, step: float) -> None:
        self._steps.append(step)
        if len(self._steps) < _PERIOD:
            return
        # Steps that end at a kink are shorter than they could be.
        longest = max(self._steps)
        self._steps.clear()
        if 6 * (self._until - time) < _WORTH * longest:
            return
        rates = np.linalg.eigvals(jacobian(self._function, time, state).numpy())
        if longest * float(-rates.real.min()) > _LIMITED:
            raise StiffError(time, state)


def _implicitly(
    function: Function,
    initial: Tensor,
    times: Tensor,
    options: Options,
    kinks: Tensor,
    make_chart: MakeChart,
) -> Solution:
    """Solve with a method of SciPy, starting anew at each kink, until the flow comes to rest."""
    field = ChartedField(function, options.max_evaluations)
    states = [initial]
    inside = kinks[(kinks > times[0]) & (kinks < times[-1])]
    ends = sorted({*inside.tolist(), *times[-1:].tolist()})
    start, state = float(times[0]), initial
    how = options.method, options.rtol, options.atol
    try:
        for end in ends:
            steps = implicit_steps(field, make_chart, start, state, end, *how)
            for count, step in enumerate(steps, 1):
                for time in times[len(states) :].tolist():
                    if time > step.time:
                        break
                    states.append(field.state(step.between(time)))
                if end == ends[-1] and count % _REST_PERIOD == 0:
                    residual = resting(step, options)
                    if residual is not None:
                        states += [field.state(step.x)] * (len(times) - len(states))
                        rest = Rest(step.time, residual, RESTS_BELOW)
                        return Solution(states, field.evaluations, None, rest=rest)
            start, state = end, field.state(step.x)
    except StoppedError as stopped:
        return Solution(states, field.evaluations, stopped)
    return Solution(states, field.evaluations, None)


def resting(step: Step, options: Options) -> float | None:
    """Return the size of dx/dt if the flow has come to rest at the end of a step, or None."""
    rate = step.field(step.time, step.x)
    residual = float(np.abs(rate).max())
    if not residual < RESTS_BELOW:
        return None
    slopes = step.field.jacobian(step.time, step.x, central=True)
    tolerance = options.atol + options.rtol * np.abs(step.x)
    return residual if at_rest(rate, slopes, tolerance) else None
