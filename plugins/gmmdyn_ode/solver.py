"""Integrate a right-hand side in time with torchdiffeq, never for ever.

A sampled right-hand side of an activation with kinks is a step function of the state: with a tight
tolerance an adaptive solver would reject steps for ever. Every solve therefore counts its
evaluations and ends in an error that says when and what to do, with the part it had.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor
from torchdiffeq import odeint

from gmmdyn.errors import GmmdynError, NotPositiveError

ADAPTIVE = ("dopri5", "dopri8", "bosh3", "fehlberg2", "adaptive_heun")
FIXED = ("euler", "midpoint", "rk4", "heun3")


class StoppedError(GmmdynError, RuntimeError):
    """The solver was stopped at some time, for a reason.

    Attributes:
        time: where it was.
        reason: a clause that ends in what to do.
    """

    def __init__(self, time: float, reason: str) -> None:
        super().__init__(reason)
        self.time = time
        self.reason = reason


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


class Solution(NamedTuple):
    """What was reached.

    Attributes:
        states: flat states at the recorded times, in order.
        evaluations: of the right-hand side.
        stopped: why the solver ended early, or None.
    """

    states: list[Tensor]
    evaluations: int
    stopped: StoppedError | None


class _Counted(torch.nn.Module):
    """A right-hand side that counts, looks for blow-up, and keeps the states at recorded times."""

    def __init__(
        self, function: Callable[[Tensor, Tensor], Tensor], times: list[float], limit: int
    ) -> None:
        super().__init__()
        self.function = function
        self.limit = limit
        self.evaluations = 0
        self.states: list[Tensor] = []
        self._times = times

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        if self.evaluations >= self.limit:
            raise StoppedError(
                float(t),
                f"it took the {self.limit} evaluations allowed; loosen `rtol` and `atol`, take "
                "a smooth integrator or a fixed step (`method='rk4', step=…`), or raise "
                "`max_evaluations`",
            )
        self.evaluations += 1
        try:
            rate = self.function(t, y)
        except NotPositiveError as error:
            raise StoppedError(
                float(t), f"{error} Tighten `rtol` and `atol`, or shorten `step`"
            ) from None
        if not bool(torch.isfinite(rate).all()):
            raise StoppedError(
                float(t),
                "the order parameters grew beyond all bounds; lower the learning rate, or the "
                "step of a fixed-step method",
            )
        return rate

    def callback_step(self, t0: Tensor, y0: Tensor, dt: Tensor) -> None:
        """Keep the state at the start of a step if that is a recorded time (torchdiffeq's hook)."""
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
    counted = _Counted(function, times.tolist(), options.max_evaluations)
    extra: dict[str, object]
    ends = times[1:]
    if kinks is not None:
        inside = kinks[(kinks > times[0]) & (kinks < times[-1])]
        ends = torch.unique(torch.cat([ends, inside.detach()]))
    if options.step is not None:
        grid = _grid(torch.cat([times[:1], ends]), options.step)
        extra = {"grid_constructor": lambda *_: grid}
    else:
        # A step ends on each recorded time: the dense output is of low order.
        extra = {"step_t": ends}
        if sizes is not None and len(sizes) > 1:
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
    except AssertionError as error:  # torchdiffeq's "underflow in dt"
        reached = float(times[len(counted.states) - 1]) if counted.states else float(times[0])
        reason = (
            f"its step became too small to go on ({error}); loosen `rtol` and `atol`, or take a "
            "smooth integrator"
        )
        return Solution(counted.states, counted.evaluations, StoppedError(reached, reason))
