"""Integrate many problems at once, each at its own pace: Dormand and Prince's method on rows.

torchdiffeq takes one step for a whole batch, so that the stiffest problem, and any that is about to
blow up, sets the pace of all. Here each row has its own time and step; all rows are evaluated
together, and a row that ends, well or badly, leaves the others alone.

References:
    Dormand, Prince, Journal of Computational and Applied Mathematics 6, 19 (1980); Hairer, Norsett,
    Wanner, Solving Ordinary Differential Equations I, section II.4.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from gmmdyn_ode.solver import BLOW_UP, Options, StoppedError, bound_of, exhausted, why_stuck

Field = Callable[[Tensor, Tensor, Tensor], Tensor]

_NODES = (1 / 5, 3 / 10, 4 / 5, 8 / 9, 1.0, 1.0)
_STAGES = (
    (1 / 5,),
    (3 / 40, 9 / 40),
    (44 / 45, -56 / 15, 32 / 9),
    (19372 / 6561, -25360 / 2187, 64448 / 6561, -212 / 729),
    (9017 / 3168, -355 / 33, 46732 / 5247, 49 / 176, -5103 / 18656),
    (35 / 384, 0.0, 500 / 1113, 125 / 192, -2187 / 6784, 11 / 84),  # also the solution
)
# Solution minus the embedded one of fourth order.
_ERROR = (71 / 57600, 0.0, -71 / 16695, 71 / 1920, -17253 / 339200, 22 / 525, -1 / 40)
_ORDER = 5
_SAFETY, _SHRINK, _GROW = 0.9, 0.2, 10.0


class Rows(NamedTuple):
    """What was reached, row by row.

    Attributes:
        states: shape `(N, T, n)`; a row that was stopped has its first `counts` times only.
        counts: recorded times of each row.
        evaluations: of the right-hand side, for each row.
        stopped: why a row ended early, or None.
    """

    states: Tensor
    counts: list[int]
    evaluations: list[int]
    stopped: list[StoppedError | None]


class _Stops:
    """Where steps of each row end: recorded times, and kinks of its right-hand side."""

    def __init__(self, times: Tensor, kinks: Tensor) -> None:
        rows = len(kinks)
        inside = (kinks > times[0]) & (kinks < times[-1]) & ~torch.isin(kinks, times)
        kinks = torch.where(inside, kinks, times[-1])  # it stops at the end anyway
        every = torch.cat([times[1:].expand(rows, -1), kinks], -1)
        self.times, order = torch.sort(every, dim=-1, stable=True)
        # The index of the time recorded there, or 0, which is recorded at the start.
        marks = torch.zeros_like(every, dtype=torch.int64)
        marks[:, : len(times) - 1] = torch.arange(1, len(times), device=times.device)
        self.marks = marks.gather(-1, order)


def integrate_rows(
    field: Field, initial: Tensor, times: Tensor, kinks: Tensor, options: Options
) -> Rows:
    """Solve y' = field(t, y) for many rows.

    Args:
        field: the right-hand side of some rows: their indices, times and states; a row with no
            value there is NaN.
        initial: states at `times[0]`, shape `(N, n)`.
        times: recorded, strictly increasing, shape `(T,)`.
        kinks: times at which a row's right-hand side is not smooth in t, shape `(N, m)`.
        options: tolerances and the limit of evaluations; the method is Dormand and Prince's.

    Returns:
        The states of each row at all times, or up to where it was stopped.
    """
    count, size = initial.shape
    states = torch.full((count, len(times), size), torch.nan, dtype=initial.dtype).to(initial)
    states[:, 0] = initial
    counts, evaluations = [1] * count, [0] * count
    stopped: list[StoppedError | None] = [None] * count
    if len(times) == 1:
        return Rows(states, counts, evaluations, stopped)
    stops, bound = _Stops(times, kinks), bound_of(initial)
    smallest = 4 * torch.finfo(initial.dtype).eps
    rows = torch.arange(count, device=initial.device)
    t, y = times[0].expand(count).clone(), initial.clone()
    position = torch.zeros_like(rows)
    f = field(rows, t, y)
    h = _first_step(field, rows, t, y, f, options)
    spent = 2
    while len(rows):
        until = stops.times[rows, position]
        left = until - t
        arrives = h >= left * (1 - 1e-12)
        step = torch.where(arrives, left, h)
        new, slope, ratio = _step(field, rows, t, y, f, step, options)
        spent += 6
        accepted = ratio <= 1
        growth = (_SAFETY * ratio.clamp_min(1e-10) ** (-1 / _ORDER)).nan_to_num(_SHRINK)
        growth = growth.clamp(_SHRINK, _GROW)
        proposed = step * torch.where(accepted, growth, growth.clamp_max(1.0))
        # A step cut short by a stop says nothing against the longer one planned before.
        h = torch.where(accepted & arrives, torch.maximum(h, proposed), proposed)
        t = torch.where(accepted, torch.where(arrives, until, t + step), t)
        y, f = (torch.where(accepted[:, None], a, b) for a, b in ((new, y), (slope, f)))
        reached = accepted & arrives
        mark = stops.marks[rows, position]
        kept = reached & (mark > 0)
        states[rows[kept], mark[kept]] = y[kept]
        position = position + reached.to(position)
        done = t >= times[-1]
        huge = y.abs().amax(-1) > bound[rows]
        stuck = h <= smallest * torch.maximum(t.abs(), 1e-9 * (times[-1] - times[0]))
        going = ~(done | huge | stuck)
        if spent + 6 > options.max_evaluations:
            going = torch.zeros_like(going)
        if bool(going.all()):
            continue
        for i in torch.nonzero(~going)[:, 0].tolist():
            row = int(rows[i])
            evaluations[row] = spent
            counts[row] = int((~states[row, :, 0].isnan()).sum())
            if not done[i]:
                stopped[row] = exhausted(float(t[i]), options.max_evaluations)
                if huge[i] or stuck[i]:
                    why = BLOW_UP if huge[i] else why_stuck(y[i], bound[row])
                    stopped[row] = StoppedError(float(t[i]), *why)
        rows, t, y, f, h, position = (part[going] for part in (rows, t, y, f, h, position))
    return Rows(states, counts, evaluations, stopped)


def _size(value: Tensor, scale: Tensor) -> Tensor:
    """Root mean square of each row in units of what is tolerated."""
    return (value / scale).square().mean(-1).sqrt()


def _first_step(
    field: Field, rows: Tensor, t: Tensor, y: Tensor, f: Tensor, options: Options
) -> Tensor:
    scale = options.atol + options.rtol * y.abs()
    one, two = _size(y, scale), _size(f, scale)
    tiny = (one < 1e-5) | (two < 1e-5)
    small = torch.where(tiny, torch.full_like(one, 1e-6), 0.01 * one / two.clamp_min(1e-300))
    moved = field(rows, t + small, y + small[:, None] * f)
    bend = _size(moved - f, scale) / small
    largest = torch.maximum(two, bend)
    step = torch.where(
        largest > 1e-15, (0.01 / largest.clamp_min(1e-300)) ** (1 / _ORDER), 1e-3 * small
    )
    return torch.minimum(100 * small, step).nan_to_num(1e-6)


def _step(
    field: Field, rows: Tensor, t: Tensor, y: Tensor, f: Tensor, h: Tensor, options: Options
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the new states, their slopes, and the error in units of what is tolerated."""
    slopes, column, new = [f], h[:, None], y
    for node, weights in zip(_NODES, _STAGES, strict=True):
        change = sum(w * k for w, k in zip(weights, slopes, strict=True) if w)
        new = y + column * change
        slopes.append(field(rows, t + node * h, new))
    error = column * sum(w * k for w, k in zip(_ERROR, slopes, strict=True) if w)
    scale = options.atol + options.rtol * torch.maximum(y.abs(), new.abs())
    return new, slopes[-1], _size(error, scale)
