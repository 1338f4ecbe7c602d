"""How to integrate in time, why a solver stops, and a right-hand side that is counted.

A sampled right-hand side of an activation with kinks is a step function of the state: with a tight
tolerance an adaptive solver would reject steps for ever. Every solve therefore counts its
evaluations and ends in an error that says when and what to do, with the part it had.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple, final

import numpy as np
import torch
from torch import Tensor

from gmmdyn import checks
from gmmdyn.errors import GmmdynError, NotPositiveError, RangeError
from gmmdyn_ode.chart import Chart, Identity

# The right-hand side of flat states `(..., n)` at a time.
Function = Callable[[Tensor, Tensor], Tensor]

ADAPTIVE = ("dopri5", "dopri8", "bosh3", "fehlberg2", "adaptive_heun")
FIXED = ("euler", "midpoint", "rk4", "heun3")
IMPLICIT = ("BDF", "Radau", "LSODA")

# No order parameter of a run that goes well is this many times the largest one of the start.
_HUGE = 1e6
# Columns of the Jacobian in one evaluation: more would hold all points of all of them in memory.
_COLUMNS = 16
# Steps of one-sided and of central differences, relative to an entry, or to this share of its scale
# where it is smaller: about the square and the cube root of rounding.
_ONE_SIDED, _CENTRAL, _SMALL = 1e-7, 1e-5, 1e-2

# Why a solver stops and what to do, and the word for it that an error carries.
BLOW_UP = (
    "the order parameters grew beyond all bounds; lower the learning rate, or the step of a "
    "fixed-step method",
    "blow-up",
)
STUCK = (
    "its step became too small to go on; loosen `rtol` and `atol`, or take a smooth integrator",
    "stuck",
)


class Settings(NamedTuple):
    """How to integrate.

    Attributes:
        method: `"auto"`, or one of `ADAPTIVE`, `FIXED` or `IMPLICIT`.
        rtol: relative tolerance of an adaptive step.
        atol: absolute tolerance of an adaptive step.
        step: size of a fixed step in time.
        max_evaluations: of the right-hand side.
    """

    method: str
    rtol: float
    atol: float
    step: float | None
    max_evaluations: int


class StoppedError(GmmdynError, RuntimeError):
    """The solver was stopped at some time, for a reason.

    Attributes:
        time: where it was.
        reason: a clause that ends in what to do.
        status: the word for it, of `ConvergenceError`.
    """

    def __init__(self, time: float, reason: str, status: str) -> None:
        super().__init__(reason)
        self.time = time
        self.reason = reason
        self.status = status


class Rest(NamedTuple):
    """Where the flow came to rest.

    Attributes:
        time: from when on the state is repeated.
        residual: the largest rate there, in units of 1/t.
        tolerance: below which a flow is said to rest, if it is not unstable.
    """

    time: float
    residual: float
    tolerance: float


class Solution(NamedTuple):
    """What was reached.

    Attributes:
        states: flat states at the recorded times, in order.
        evaluations: of the right-hand side.
        stopped: why the solver ended early, or None.
        stiff_from: when an explicit method was given up for an implicit one, or None.
        rest: where the flow came to rest before the last recorded time, or None.
    """

    states: list[Tensor]
    evaluations: int
    stopped: StoppedError | None = None
    stiff_from: float | None = None
    rest: Rest | None = None


@final
class RightHandSide:
    """A right-hand side in the coordinates of a chart, which counts its evaluations.

    Args:
        function: the right-hand side of flat states.
        limit: how many evaluations are allowed.
    """

    def __init__(self, function: Function, limit: int) -> None:
        self._function = function
        self._limit = limit
        self.chart: Chart = Identity()
        self.evaluations = 0
        # Why the last trial had no rates.
        self.trouble: StoppedError | None = None

    def rates(self, time: Tensor, x: Tensor) -> Tensor:
        """Return dx/dt.

        Args:
            time: t.
            x: coordinates, shape `(n,)`.

        Returns:
            The rates, of the same shape.

        Raises:
            StoppedError: if there are none, or no evaluation is left.
        """
        self._count(time, 1)
        try:
            rates = self._charted(time, x)
        except NotPositiveError as error:
            raise StoppedError(float(time), *not_a_state(error)) from None
        if not bool(torch.isfinite(rates).all()):
            raise StoppedError(float(time), *BLOW_UP)
        return rates

    def __call__(self, time: float, x: np.ndarray) -> np.ndarray:
        """Return dx/dt, NaN at a trial without rates: the method then shortens its step."""
        try:
            return np.asarray(self.rates(_number(time), torch.from_numpy(np.array(x))).numpy())
        except StoppedError as stopped:
            # At the start there is no step to be shortened.
            if stopped.status == "evaluations" or self.evaluations == 1:
                raise
            self.trouble = stopped
            return np.full_like(x, np.nan)

    def jacobian(self, time: float, x: np.ndarray, central: bool = False) -> np.ndarray:
        """Return the derivative of dx/dt by x; see `jacobian`.

        Raises:
            StoppedError: if there is none, or too few evaluations are left.
        """
        self._count(time, (1 + central) * len(x) + 1)
        now = torch.from_numpy(np.array(x))
        try:
            slopes = jacobian(self._charted, time, now, central, self.chart.scale(now))
        except NotPositiveError as error:
            raise StoppedError(time, *not_a_state(error)) from None
        if not bool(torch.isfinite(slopes).all()):
            raise self.trouble or StoppedError(time, *STUCK)
        return np.asarray(slopes.numpy())

    def state(self, x: np.ndarray) -> Tensor:
        """Return the flat state of coordinates."""
        return self.chart.leave(torch.from_numpy(np.array(x)))

    def _charted(self, time: Tensor, x: Tensor) -> Tensor:
        return self.chart.rates(x, self._function(time, self.chart.leave(x)))

    def _count(self, time: Tensor | float, evaluations: int) -> None:
        if self.evaluations + evaluations > self._limit:
            raise exhausted(float(time), self._limit)
        self.evaluations += evaluations


def jacobian(
    function: Function,
    time: float,
    state: Tensor,
    central: bool = False,
    scale: Tensor | float = 1.0,
    enlarged: float = 1.0,
) -> Tensor:
    """Differentiate a right-hand side by differences.

    Args:
        function: the right-hand side; it takes states of shape `(m, n)` too.
        time: t.
        state: shape `(n,)`.
        central: whether by central differences, good to about 1e-9 for a function of order one, at
            twice the cost; one-sided ones are good to about 1e-7.
        scale: of the entries, shape `(n,)`: changes that matter are not much smaller.
        enlarged: how many times the usual step, to see what the step does.

    Returns:
        The derivative of rate i by entry j, shape `(n, n)`.
    """
    size = (
        enlarged
        * (_CENTRAL if central else _ONE_SIDED)
        * torch.maximum(state.abs(), _SMALL * torch.as_tensor(scale, dtype=state.dtype))
    )
    ahead, behind = state + torch.diag(size), state - torch.diag(size)
    shifted = torch.cat([ahead, behind if central else state.unsqueeze(0)])
    parts = torch.tensor_split(shifted, -(-len(shifted) // _COLUMNS))
    rates = torch.cat([function(_number(time), part) for part in parts])
    changes = rates[: len(state)] - rates[len(state) :]
    return (changes / ((1 + central) * size).unsqueeze(1)).T


def bound_of(initial: Tensor) -> Tensor:
    """Return what no entry of a state may exceed in size, for states of shape `(..., n)`."""
    return _HUGE * initial.detach().abs().amax(-1).clamp_min(1.0)


def why_stuck(state: Tensor, bound: Tensor | float) -> tuple[str, str]:
    """Return why the step has become too small, for one state, and the word for it."""
    # Growth that ends at a finite time ends there before it can pass the bound.
    return BLOW_UP if float(state.abs().max()) > 1e-3 * float(bound) else STUCK


def not_a_state(error: NotPositiveError) -> tuple[str, str]:
    """Return why a solver stops where a trial state has no fields, and the word for it."""
    return f"{error} Tighten `rtol` and `atol`, or shorten `step`", "no state"


def exhausted(time: float, limit: int) -> StoppedError:
    """Return the end of a solver that took all evaluations it was allowed."""
    return StoppedError(
        time,
        f"it took the {limit} evaluations allowed; loosen `rtol` and `atol`, take a smooth "
        "integrator or a fixed step (`method='rk4', step=…`), or raise `max_evaluations`",
        "evaluations",
    )


def increasing(times: Sequence[float] | np.ndarray) -> Tensor:
    """Return recorded times as a tensor, or say what is wrong with them."""
    grid = checks.array("times", times, (None,))
    if grid.numel() == 0 or bool((grid.diff() <= 0).any()):
        raise RangeError("`times` must increase strictly from one to the next.")
    return grid


def _number(time: float) -> Tensor:
    return torch.tensor(time, dtype=torch.float64)
