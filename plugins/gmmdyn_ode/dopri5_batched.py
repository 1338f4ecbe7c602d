"""Integrate a batch of problems, each at its own pace, with Dormand and Prince's method.

torchdiffeq takes one step for a whole batch, so that the stiffest problem, and any that is about to
blow up, sets the pace of all. Here each problem has its own time and step; all are evaluated
together, and one that ends, well or badly, leaves the others alone.

References:
    Dormand, Prince, Journal of Computational and Applied Mathematics 6, 19 (1980); Hairer, Norsett,
    Wanner, Solving Ordinary Differential Equations I, section II.4.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from gmmdyn.errors import NotPositiveError
from gmmdyn.interfaces import Integrator
from gmmdyn_ode.dynamics import Dynamics
from gmmdyn_ode.problem import Problem
from gmmdyn_ode.solver import BLOW_UP, Settings, StoppedError, bound_of, exhausted, why_stuck

# The rates of some problems: their numbers in the batch, times and states.
Rates = Callable[[Tensor, Tensor, Tensor], Tensor]

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


class BatchSolution(NamedTuple):
    """What was reached, problem by problem.

    Attributes:
        states: shape `(N, T, n)`; NaN at the times that were not reached.
        counts: recorded times of each problem.
        evaluations: of the right-hand side, for each problem.
        stopped: why a problem ended early, or None.
    """

    states: Tensor
    counts: list[int]
    evaluations: list[int]
    stopped: list[StoppedError | None]


class _Stops:
    """Where steps of each problem end: recorded times, and kinks of its right-hand side."""

    def __init__(self, times: Tensor, kinks: Tensor) -> None:
        inside = (kinks > times[0]) & (kinks < times[-1]) & ~torch.isin(kinks, times)
        kinks = torch.where(inside, kinks, times[-1])  # it stops at the end anyway
        every = torch.cat([times[1:].expand(len(kinks), -1), kinks], -1)
        self.times, order = torch.sort(every, dim=-1, stable=True)
        # The index of the time recorded there, or 0, which is recorded at the start.
        marks = torch.zeros_like(every, dtype=torch.int64)
        marks[:, : len(times) - 1] = torch.arange(1, len(times), device=times.device)
        self.marks = marks.gather(-1, order)


class BatchRates:
    """The rates of some problems of a batch; NaN where a trial state is none.

    Args:
        batch: problems with one batch dimension.
        integrator: prepared for the number of hidden units.
    """

    def __init__(self, batch: Problem, integrator: Integrator) -> None:
        self._batch, self._integrator = batch, integrator
        self._start = batch.initial.pack()
        self._active: Tensor | None = None
        self._dynamics = Dynamics(batch, integrator)

    def __call__(self, active: Tensor, t: Tensor, y: Tensor) -> Tensor:
        """Return the rates of the problems of some numbers, at their times and states."""
        # They change only when one has ended.
        if self._active is not active:
            self._active, self._dynamics = active, self._of(active)
        # The trial of one that grows without bounds is no state: the others must not notice.
        good = torch.isfinite(y).all(-1, keepdim=True)
        y = torch.where(good, y, self._start[active])
        try:
            rates = self._rates(self._dynamics, t, y)
        except NotPositiveError:
            rates = torch.cat([self._single(*one) for one in zip(active, t, y, strict=True)])
        return torch.where(good, rates, torch.nan)

    def _of(self, active: Tensor) -> Dynamics:
        return Dynamics(self._batch.mapped(lambda value, _: value[active]), self._integrator)

    def _rates(self, dynamics: Dynamics, t: Tensor, y: Tensor) -> Tensor:
        return dynamics.derivative(t, self._batch.initial.unpack(y)).pack()

    def _single(self, number: Tensor, t: Tensor, y: Tensor) -> Tensor:
        try:
            return self._rates(self._of(number[None]), t[None], y[None])
        except NotPositiveError:
            return torch.full_like(y[None], torch.nan)


def dopri5_batched(
    rates: Rates, initial: Tensor, times: Tensor, kinks: Tensor, settings: Settings
) -> BatchSolution:
    """Solve y' = f(t, y) for many problems.

    Args:
        rates: f of some problems: their numbers, times and states; one without value is NaN.
        initial: states at `times[0]`, shape `(N, n)`.
        times: recorded, strictly increasing, shape `(T,)`.
        kinks: times at which a problem's right-hand side is not smooth in t, shape `(N, m)`.
        settings: tolerances and the limit of evaluations.

    Returns:
        The states of each problem at all times, or up to where it was stopped.
    """
    count, size = initial.shape
    states = torch.full((count, len(times), size), torch.nan, dtype=initial.dtype).to(initial)
    states[:, 0] = initial
    counts, evaluations = [1] * count, [0] * count
    stopped: list[StoppedError | None] = [None] * count
    if len(times) == 1:
        return BatchSolution(states, counts, evaluations, stopped)
    stops, bound = _Stops(times, kinks), bound_of(initial)
    smallest = 4 * torch.finfo(initial.dtype).eps
    active = torch.arange(count, device=initial.device)
    t, y = times[0].expand(count).clone(), initial.clone()
    position = torch.zeros_like(active)
    f = rates(active, t, y)
    h = _first_step(rates, active, t, y, f, settings)
    spent = 2
    while len(active):
        until = stops.times[active, position]
        left = until - t
        arrives = h >= left * (1 - 1e-12)
        step = torch.where(arrives, left, h)
        new, slope, ratio = _step(rates, active, t, y, f, step, settings)
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
        mark = stops.marks[active, position]
        recorded = reached & (mark > 0)
        states[active[recorded], mark[recorded]] = y[recorded]
        position = position + reached.to(position)
        done = t >= times[-1]
        huge = y.abs().amax(-1) > bound[active]
        stuck = h <= smallest * torch.maximum(t.abs(), 1e-9 * (times[-1] - times[0]))
        going = ~(done | huge | stuck)
        if spent + 6 > settings.max_evaluations:
            going = torch.zeros_like(going)
        if bool(going.all()):
            continue
        for i in torch.nonzero(~going)[:, 0].tolist():
            number = int(active[i])
            evaluations[number] = spent
            counts[number] = int((~states[number, :, 0].isnan()).sum())
            if not done[i]:
                stopped[number] = exhausted(float(t[i]), settings.max_evaluations)
                if huge[i] or stuck[i]:
                    why = BLOW_UP if huge[i] else why_stuck(y[i], bound[number])
                    stopped[number] = StoppedError(float(t[i]), *why)
        active, t, y, f, h, position = (part[going] for part in (active, t, y, f, h, position))
    return BatchSolution(states, counts, evaluations, stopped)


def _size(value: Tensor, scale: Tensor) -> Tensor:
    """Root mean square of each problem in units of what is tolerated."""
    return (value / scale).square().mean(-1).sqrt()


def _first_step(
    rates: Rates, active: Tensor, t: Tensor, y: Tensor, f: Tensor, settings: Settings
) -> Tensor:
    scale = settings.atol + settings.rtol * y.abs()
    one, two = _size(y, scale), _size(f, scale)
    tiny = (one < 1e-5) | (two < 1e-5)
    small = torch.where(tiny, torch.full_like(one, 1e-6), 0.01 * one / two.clamp_min(1e-300))
    moved = rates(active, t + small, y + small[:, None] * f)
    bend = _size(moved - f, scale) / small
    largest = torch.maximum(two, bend)
    step = torch.where(
        largest > 1e-15, (0.01 / largest.clamp_min(1e-300)) ** (1 / _ORDER), 1e-3 * small
    )
    return torch.minimum(100 * small, step).nan_to_num(1e-6)


def _step(
    rates: Rates, active: Tensor, t: Tensor, y: Tensor, f: Tensor, h: Tensor, settings: Settings
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the new states, their slopes, and the error in units of what is tolerated."""
    slopes, column, new = [f], h[:, None], y
    for node, weights in zip(_NODES, _STAGES, strict=True):
        change = sum(w * k for w, k in zip(weights, slopes, strict=True) if w)
        new = y + column * change
        slopes.append(rates(active, t + node * h, new))
    error = column * sum(w * k for w, k in zip(_ERROR, slopes, strict=True) if w)
    scale = settings.atol + settings.rtol * torch.maximum(y.abs(), new.abs())
    return new, slopes[-1], _size(error, scale)
