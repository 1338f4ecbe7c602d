"""Integrate a right-hand side in time with torchdiffeq, never for ever.

A sampled right-hand side of an activation with kinks is a step function of the state: with a tight
tolerance an adaptive solver would reject steps for ever. Every solve therefore counts its
evaluations and ends in an error that says when and what to do, with the part it had.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torchdiffeq import odeint

from gmmdyn import checks
from gmmdyn.errors import GmmdynError, NotPositiveError, RangeError

ADAPTIVE = ("dopri5", "dopri8", "bosh3", "fehlberg2", "adaptive_heun")
FIXED = ("euler", "midpoint", "rk4", "heun3")


# No order parameter of a run that goes well is this many times the largest one of the start.
_HUGE = 1e6

# Why a solver stops and what to do, and the word for it that an error carries.
EXHAUSTED = (
    "it took the {limit} evaluations allowed; loosen `rtol` and `atol`, take a smooth integrator "
    "or a fixed step (`method='rk4', step=…`), or raise `max_evaluations`"
)
BLOW_UP = (
    "the order parameters grew beyond all bounds; lower the learning rate, or the step of a "
    "fixed-step method",
    "blow-up",
)
STUCK = (
    "its step became too small to go on; loosen `rtol` and `atol`, or take a smooth integrator",
    "stuck",
)


def bound_of(initial: Tensor) -> Tensor:
    """Return what no entry of a state may exceed in size, for states of shape `(..., n)`."""
    return _HUGE * initial.detach().abs().amax(-1).clamp_min(1.0)


def why_stuck(state: Tensor, bound: Tensor) -> tuple[str, str]:
    """Return why the step has become too small, for one state, and the word for it."""
    # Growth that ends at a finite time ends there before it can pass the bound.
    return BLOW_UP if float(state.abs().max()) > 1e-3 * float(bound) else STUCK


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


def exhausted(time: float, limit: int) -> StoppedError:
    """Return the end of a solver that took all evaluations it was allowed."""
    return StoppedError(time, EXHAUSTED.format(limit=limit), "evaluations")


def not_a_state(error: NotPositiveError) -> tuple[str, str]:
    """Return why a solver stops where a trial state has no fields, and the word for it."""
    return f"{error} Tighten `rtol` and `atol`, or shorten `step`", "no state"


class Options(NamedTuple):
    """How to integrate.

    Attributes:
        method: one of `ADAPTIVE` or `FIXED`.
        rtol: relative tolerance of a step (adaptive).
        atol: absolute tolerance of a step (adaptive).
        step: size of a step in time (fixed).
        max_evaluations: of the right-hand side.
    """

    method: str
    rtol: float
    atol: float
    step: float | None
    max_evaluations: int


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
    stopped: StoppedError | None
    stiff_from: float | None = None
    rest: Rest | None = None


class _Counted(torch.nn.Module):
    """A right-hand side that counts, looks for blow-up, and keeps the states at recorded times."""

    def __init__(
        self,
        function: Callable[[Tensor, Tensor], Tensor],
        initial: Tensor,
        times: list[float],
        limit: int,
    ) -> None:
        super().__init__()
        self.function = function
        self.limit = limit
        self.evaluations = 0
        self.states: list[Tensor] = []
        self._times = times
        self.bound = bound_of(initial)
        self.last = torch.tensor(times[0]), initial

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        if self.evaluations >= self.limit:
            raise exhausted(float(t), self.limit)
        self.evaluations += 1
        try:
            rate = self.function(t, y)
        except NotPositiveError as error:
            raise StoppedError(float(t), *not_a_state(error)) from None
        if not bool(torch.isfinite(rate).all()):
            raise StoppedError(float(t), *BLOW_UP)
        return rate

    def callback_step(self, t0: Tensor, y0: Tensor, dt: Tensor) -> None:
        """Keep the state at the start of a step if that is a recorded time (torchdiffeq's hook)."""
        self.last = t0, y0
        if bool((y0.detach().abs().amax(-1) > self.bound).any()):
            raise StoppedError(float(t0), *BLOW_UP)
        position = len(self.states)
        if position < len(self._times) and float(t0) >= self._times[position]:
            self.states.append(y0.detach().clone())


def _largest_part(sizes: list[int], value: Tensor) -> Tensor:
    """Return the largest root mean square of the parts of a vector, or the size of a number."""
    if value.ndim == 0:
        return value.abs()
    parts = torch.split_with_sizes(value, sizes)
    return torch.stack([part.square().mean().sqrt() for part in parts]).max()


def _grid(times: Tensor, step: float) -> Tensor:
    """Steps no longer than `step` that land on every recorded time."""
    pieces = [times[:1]]
    for start, stop in zip(times[:-1].tolist(), times[1:].tolist(), strict=True):
        count = max(1, int(-(-(stop - start) // step)))
        pieces.append(torch.linspace(start, stop, count + 1, dtype=times.dtype)[1:])
    return torch.cat(pieces)


def landing(times: Tensor, step: float | None, kinks: Tensor | None = None) -> dict[str, Any]:
    """Return torchdiffeq's options that make a step end on each recorded time and each kink.

    Args:
        times: recorded, strictly increasing, shape `(T,)`.
        step: size of a fixed step, or None for a method that chooses its own.
        kinks: times at which the right-hand side is not smooth, any shape.

    Returns:
        Options of `odeint`.
    """
    ends = times[1:]
    if kinks is not None:
        inside = kinks[(kinks > times[0]) & (kinks < times[-1])].detach()
        ends = torch.unique(torch.cat([ends, inside]))
    if step is None:
        # The dense output is of low order.
        return {"step_t": ends}
    grid = _grid(torch.cat([times[:1], ends]), step)
    return {"grid_constructor": lambda *_: grid}


def increasing(times: Sequence[float] | np.ndarray) -> Tensor:
    """Return recorded times as a tensor, or say what is wrong with them."""
    grid = checks.array("times", times, (None,))
    if grid.numel() == 0 or bool((grid.diff() <= 0).any()):
        raise RangeError("`times` must increase strictly from one to the next.")
    return grid


def integrate(
    function: Callable[[Tensor, Tensor], Tensor],
    initial: Tensor,
    times: Tensor,
    options: Options,
    kinks: Tensor | None = None,
    sizes: list[int] | None = None,
) -> Solution:
    """Solve y' = function(t, y).

    Args:
        function: the right-hand side at a time and a flat state.
        initial: the state at `times[0]`, shape `(n,)`.
        times: strictly increasing, shape `(T,)`, float64.
        options: how to integrate.
        kinks: times at which the right-hand side is not smooth in t, shape `(n,)`; a step ends on
            each.
        sizes: lengths of the parts of a state; the tolerances hold for the root mean square of
            each. None: for that of the whole.

    Returns:
        The states at all times, or up to where the solver was stopped.
    """
    if times.numel() == 1:
        return Solution([initial], 0, None)
    counted = _Counted(function, initial, times.tolist(), options.max_evaluations)
    extra = landing(times, options.step, kinks)
    if options.step is None and sizes is not None and len(sizes) > 1:
        extra["norm"] = partial(_largest_part, sizes)
    try:
        states = odeint(
            counted,
            initial,
            times,
            rtol=options.rtol,
            atol=options.atol,
            method=options.method,
            options=extra,
        )
        return Solution(list(states), counted.evaluations, None)
    except StoppedError as stopped:
        return Solution(counted.states, counted.evaluations, stopped)
    except AssertionError:  # torchdiffeq's "underflow in dt"
        time, state = counted.last
        why = StoppedError(float(time), *why_stuck(state, counted.bound))
        return Solution(counted.states, counted.evaluations, why)
