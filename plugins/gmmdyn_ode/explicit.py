"""Dormand and Prince's method for one problem, with SciPy: little to do beside the evaluations.

Steps do not end on recorded times: the states there are those of the method's own interpolant, of
fourth order, whose error is that of the embedded method that chooses the steps.

References:
    Dormand, Prince, Journal of Computational and Applied Mathematics 6, 19 (1980); Shampine,
    Mathematics of Computation 46, 135 (1986), for the interpolant.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from scipy.integrate import RK45
from torch import Tensor

from gmmdyn.errors import NotPositiveError
from gmmdyn_ode.solver import (
    BLOW_UP,
    Options,
    Solution,
    StoppedError,
    bound_of,
    exhausted,
    not_a_state,
    why_stuck,
)

# Sees the end of each accepted step, the state there and the length; may raise `StoppedError`.
Watch = Callable[[float, Tensor, float], None]


def integrate_explicitly(
    function: Callable[[Tensor, Tensor], Tensor],
    initial: Tensor,
    times: Tensor,
    options: Options,
    kinks: Tensor,
    watch: Watch | None = None,
) -> Solution:
    """Solve y' = function(t, y) without gradients.

    Args:
        function: the right-hand side at a time and a flat state.
        initial: the state at `times[0]`, shape `(n,)`.
        times: strictly increasing, shape `(T,)`, float64.
        options: tolerances and the limit of evaluations; the method is Dormand and Prince's.
        kinks: times at which the right-hand side is not smooth in t, any shape; a step ends on
            each.
        watch: sees every accepted step.

    Returns:
        The states at all times, or up to where the solver was stopped; none if there is no rate at
        the first.
    """
    if times.numel() == 1:
        return Solution([initial], 0, None)
    rate = _Rate(function, options.max_evaluations)
    recorded = times.tolist()
    ends = [t for t in sorted(set(kinks.flatten().tolist())) if recorded[0] < t < recorded[-1]]
    start, state, bound = recorded[0], initial.numpy().copy(), float(bound_of(initial))
    states: list[Tensor] = []
    planned: float | None = None
    try:
        for end in [*ends, recorded[-1]]:
            # A step planned before a kink is a good guess after it.
            first = None if planned is None else min(planned, end - start)
            solver = RK45(
                rate, start, state, end, rtol=options.rtol, atol=options.atol, first_step=first
            )
            states = states or [initial]
            while solver.status == "running":
                solver.step()
                where = float(solver.t)
                reached = torch.from_numpy(solver.y)
                if solver.status == "failed":
                    why = rate.trouble or why_stuck(reached, torch.tensor(bound))
                    raise StoppedError(where, *why)
                if np.abs(solver.y).max() > bound:
                    raise StoppedError(where, *BLOW_UP)
                if recorded[len(states)] <= where:
                    between = solver.dense_output()
                    while len(states) < len(recorded) and recorded[len(states)] <= where:
                        states.append(torch.from_numpy(between(recorded[len(states)])))
                if watch is not None:
                    watch(where, reached, float(solver.step_size))
            start, state, planned = end, solver.y, float(solver.h_abs)
    except StoppedError as stopped:
        return Solution(states, rate.evaluations, stopped)
    return Solution(states, rate.evaluations, None)


class _Rate:
    """A right-hand side as SciPy calls it, that counts and looks for blow-up."""

    def __init__(self, function: Callable[[Tensor, Tensor], Tensor], limit: int) -> None:
        self._function = function
        self._limit = limit
        self.evaluations = 0
        self.trouble: tuple[str, str] | None = None

    def __call__(self, time: float, state: np.ndarray) -> np.ndarray:
        if self.evaluations >= self._limit:
            raise exhausted(time, self._limit)
        self.evaluations += 1
        now = torch.tensor(time, dtype=torch.float64)
        try:
            rate = self._function(now, torch.from_numpy(state)).numpy()
        except NotPositiveError as error:
            self.trouble = not_a_state(error)
            if self.evaluations == 1:
                raise StoppedError(time, *self.trouble) from None
            # A trial that is no state: the step is taken back and shortened.
            return np.full_like(state, np.nan)
        if not np.isfinite(rate).all():
            raise StoppedError(time, *BLOW_UP)
        return np.asarray(rate)
