"""Implicit methods of SciPy, in coordinates in which the dynamics is smooth.

The coordinates are chosen for a state and chosen anew when they no longer suit it; the method then
starts again from there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, final

import numpy as np
import torch
from scipy.integrate import BDF, LSODA, Radau
from torch import Tensor

from gmmdyn.errors import NotPositiveError
from gmmdyn_ode.chart import Chart, Identity, MakeChart
from gmmdyn_ode.rest import jacobian
from gmmdyn_ode.solver import BLOW_UP, STUCK, StoppedError, bound_of, not_a_state

Function = Callable[[Tensor, Tensor], Tensor]

_METHODS: dict[str, Any] = {"BDF": BDF, "Radau": Radau, "LSODA": LSODA}
IMPLICIT = tuple(_METHODS)


class Step(NamedTuple):
    """An accepted step.

    Attributes:
        time: its end.
        x: the coordinates there, shape `(m,)`.
        field: the right-hand side in these coordinates.
        between: coordinates at a time within the step.
    """

    time: float
    x: np.ndarray
    field: ChartedField
    between: Callable[[float], np.ndarray]


@final
class ChartedField:
    """A right-hand side in the coordinates of a chart, which counts its evaluations.

    Args:
        function: the right-hand side of flat states `(..., n)` at a time.
        limit: how many evaluations are allowed.
    """

    def __init__(self, function: Function, limit: int) -> None:
        self._function = function
        self._limit = limit
        self.chart: Chart = Identity()
        self.evaluations = 0
        self.trouble = STUCK

    def __call__(self, time: float, x: np.ndarray) -> np.ndarray:
        """Return dx/dt, NaN at a state that is none."""
        self._count(time, 1)
        try:
            rate = self._charted(_number(time), torch.from_numpy(np.array(x))).numpy()
        except NotPositiveError as error:
            self.trouble = not_a_state(error)
            return np.full_like(x, np.nan)
        if not np.isfinite(rate).all():
            self.trouble = BLOW_UP
        return np.asarray(rate)

    def jacobian(self, time: float, x: np.ndarray, central: bool = False) -> np.ndarray:
        """Return the derivative of dx/dt by x; see `gmmdyn_ode.rest.jacobian`."""
        self._count(time, (1 + central) * len(x) + 1)
        try:
            now = torch.from_numpy(np.array(x))
            slopes = jacobian(self._charted, time, now, central, self.chart.scale(now))
        except NotPositiveError as error:
            raise StoppedError(time, *not_a_state(error)) from None
        if not bool(torch.isfinite(slopes).all()):
            raise StoppedError(time, *self.trouble)
        return np.asarray(slopes.numpy())

    def rates(self, time: float, state: Tensor) -> Tensor:
        """Return the time derivatives of a flat state."""
        self._count(time, 1)
        try:
            return self._function(_number(time), state)
        except NotPositiveError as error:
            raise StoppedError(time, *not_a_state(error)) from None

    def state(self, x: np.ndarray) -> Tensor:
        """Return the flat state of coordinates."""
        return self.chart.leave(torch.from_numpy(np.array(x)))

    def _charted(self, time: Tensor, x: Tensor) -> Tensor:
        return self.chart.rates(x, self._function(time, self.chart.leave(x)))

    def _count(self, time: float, evaluations: int) -> None:
        self.evaluations += evaluations
        if self.evaluations > self._limit:
            raise StoppedError(
                time,
                f"it took the {self._limit} evaluations allowed; loosen `rtol` and `atol`, or "
                "raise `max_evaluations`",
                "evaluations",
            )


def implicit_steps(
    field: ChartedField,
    make_chart: MakeChart,
    start: float,
    state: Tensor,
    end: float,
    method: str,
    rtol: float,
    atol: float,
) -> Iterator[Step]:
    """Integrate with an implicit method, one accepted step after the other.

    Args:
        field: the right-hand side; its chart is replaced as the state moves.
        make_chart: makes the coordinates for a flat state.
        start: the time of the first state.
        state: flat, shape `(n,)`.
        end: the last time.
        method: one of `IMPLICIT`.
        rtol: relative tolerance of a step.
        atol: absolute tolerance of a step.

    Yields:
        The steps, to the end.

    Raises:
        StoppedError: if the solver gives up.
    """
    time, first = start, None
    while time < end:
        field.chart = make_chart(state, field.rates(time, state))
        x = np.array(field.chart.enter(state).numpy())
        if not x.size:  # nothing is left that could move
            yield Step(end, x, field, lambda time: np.zeros(0))
            return
        bound = float(bound_of(torch.from_numpy(x)))
        # A state that is none makes the rate NaN, and the method shortens its step.
        with np.errstate(all="ignore"):
            solver = _METHODS[method](
                field, time, x, end, first_step=first, rtol=rtol, atol=atol, jac=field.jacobian
            )
            while solver.status == "running":
                solver.step()
                time = float(solver.t)
                if solver.status == "failed" or not np.isfinite(solver.y).all():
                    raise StoppedError(time, *field.trouble)
                if np.abs(solver.y).max() > bound:
                    raise StoppedError(time, *BLOW_UP)
                yield Step(time, solver.y, field, solver.dense_output())
                if field.chart.worn(torch.from_numpy(solver.y)):
                    break
        state = field.state(solver.y)
        first = min(float(solver.step_size) / 10, end - time) or None


def _number(time: float) -> Tensor:
    return torch.tensor(time, dtype=torch.float64)
