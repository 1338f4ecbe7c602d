"""Implicit methods of SciPy, and a method that turns to them where a problem is stiff.

An explicit method takes steps no longer than about 3 over the largest rate of decay, however smooth
the solution is. When |mu|² ~ D² that rate is of order D, while learning takes a time of one over
the square root of D. An implicit method takes the steps that accuracy asks for, at the price of the
Jacobian matrix, which is found by differences, many columns in one evaluation.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from scipy.integrate import BDF, LSODA, Radau
from torch import Tensor

from gmmdyn.errors import IncompatibleError, NotPositiveError
from gmmdyn_ode.explicit import integrate_explicitly
from gmmdyn_ode.solver import (
    BLOW_UP,
    STUCK,
    Options,
    Solution,
    StoppedError,
    bound_of,
    integrate,
    not_a_state,
)

Function = Callable[[Tensor, Tensor], Tensor]

_METHODS: dict[str, Any] = {"BDF": BDF, "Radau": Radau, "LSODA": LSODA}
IMPLICIT = tuple(_METHODS)
# What `auto` starts with, and what it turns to.
_EXPLICIT, _STIFF = "dopri5", "BDF"
# Numbers in a state beyond which its Jacobian is not formed.
_LARGEST = 600
# Columns of the Jacobian in one evaluation: more would hold all points of all of them in memory.
_COLUMNS = 16
# Relative to an entry, or to this where the entry is smaller: about the root of rounding.
_DIFFERENCE, _SMALL = 1e-7, 1e-2
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
        super().__init__(time, "the problem is stiff; take an implicit method (`method='BDF'`)")
        self.state = state


def follow(
    function: Function,
    initial: Tensor,
    times: Tensor,
    options: Options,
    kinks: Tensor,
    sizes: list[int],
    smooth: bool,
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

    Returns:
        The solution.

    Raises:
        IncompatibleError: if an implicit method is asked for where there is no Jacobian.
    """
    known = smooth and len(sizes) == 1 and initial.numel() <= _LARGEST
    if options.method in IMPLICIT:
        if not known:
            raise IncompatibleError(
                f"the method `{options.method}` needs the Jacobian matrix of a smooth right-hand "
                f"side of at most {_LARGEST} numbers, and here it jumps, or there are "
                f"{initial.numel()} or matrices among them; take `dopri5`."
            )
        return _implicitly(function, initial, times, options, kinks)
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
    rest = _implicitly(function, stiff.state, left, implicit, kinks)
    evaluations = first.evaluations + rest.evaluations
    states = first.states + rest.states[1:]
    return Solution(states, evaluations, rest.stopped, stiff.time)


def jacobian(function: Function, time: float, state: Tensor) -> Tensor:
    """Differentiate a right-hand side by one-sided differences.

    Args:
        function: the right-hand side; it takes states of shape `(m, n)` too.
        time: t.
        state: shape `(n,)`.

    Returns:
        The derivative of rate i by entry j, shape `(n, n)`.
    """
    now = torch.tensor(time, dtype=state.dtype)
    size = _DIFFERENCE * state.abs().clamp_min(_SMALL)
    shifted = torch.cat([state.unsqueeze(0), state + torch.diag(size)])
    parts = torch.tensor_split(shifted, -(-len(shifted) // _COLUMNS))
    rates = torch.cat([function(now, part) for part in parts])
    return ((rates[1:] - rates[0]) / size.unsqueeze(1)).T


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
    function: Function, initial: Tensor, times: Tensor, options: Options, kinks: Tensor
) -> Solution:
    """Solve with a method of SciPy, starting anew at each kink."""
    states = [initial]
    counted = _Counted(function, options.max_evaluations)
    inside = kinks[(kinks > times[0]) & (kinks < times[-1])]
    start, state, bound = float(times[0]), initial.numpy().copy(), float(bound_of(initial))
    try:
        for end in sorted({*inside.tolist(), *times[-1:].tolist()}):
            # A state that is none makes the rate NaN, and the method shortens its step.
            with np.errstate(all="ignore"):
                solver = _METHODS[options.method](
                    counted.rate,
                    start,
                    state,
                    end,
                    rtol=options.rtol,
                    atol=options.atol,
                    jac=counted.jacobian,
                )
                while solver.status == "running":
                    solver.step()
                    if solver.status == "failed" or not np.isfinite(solver.y).all():
                        raise StoppedError(float(solver.t), counted.trouble)
                    if np.abs(solver.y).max() > bound:
                        raise StoppedError(float(solver.t), BLOW_UP)
                    between = solver.dense_output()
                    for time in times[len(states) :].tolist():
                        if time > solver.t:
                            break
                        states.append(torch.from_numpy(np.array(between(time))))
            start, state = end, solver.y
    except StoppedError as stopped:
        return Solution(states, counted.evaluations, stopped)
    return Solution(states, counted.evaluations, None)


class _Counted:
    """A right-hand side and its Jacobian as SciPy calls them, with a limit."""

    def __init__(self, function: Function, limit: int) -> None:
        self._function = function
        self._limit = limit
        self.evaluations = 0
        self.trouble = STUCK

    def rate(self, time: float, state: np.ndarray) -> np.ndarray:
        """Return the right-hand side, NaN at a state that is none."""
        self._count(time, 1)
        try:
            now = torch.tensor(time, dtype=torch.float64)
            rate = self._function(now, torch.from_numpy(np.array(state))).numpy()
        except NotPositiveError as error:
            self.trouble = not_a_state(error)
            return np.full_like(state, np.nan)
        if not np.isfinite(rate).all():
            self.trouble = BLOW_UP
        return np.asarray(rate)

    def jacobian(self, time: float, state: np.ndarray) -> np.ndarray:
        """Return the Jacobian."""
        self._count(time, len(state) + 1)
        try:
            slope = jacobian(self._function, time, torch.from_numpy(np.array(state)))
        except NotPositiveError as error:
            raise StoppedError(time, not_a_state(error)) from None
        if not bool(torch.isfinite(slope).all()):
            raise StoppedError(time, self.trouble)
        return np.asarray(slope.numpy())

    def _count(self, time: float, evaluations: int) -> None:
        self.evaluations += evaluations
        if self.evaluations > self._limit:
            raise StoppedError(
                time,
                f"it took the {self._limit} evaluations allowed; loosen `rtol` and `atol`, or "
                "raise `max_evaluations`",
            )
