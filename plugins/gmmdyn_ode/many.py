"""Solve problems of one kind together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from gmmdyn import Trajectory
from gmmdyn.errors import ConvergenceError, NotPositiveError
from gmmdyn.interfaces import Integrator
from gmmdyn_ode.dynamics import Dynamics
from gmmdyn_ode.problem import Problem
from gmmdyn_ode.recording import concluded, record
from gmmdyn_ode.rows import integrate_rows
from gmmdyn_ode.solver import Options


class _Field:
    """The right-hand side of some rows of a batch; NaN where a trial state is none."""

    def __init__(self, batch: Problem, integrator: Integrator) -> None:
        self._batch, self._integrator = batch, integrator
        self._start = batch.initial.pack()
        self._rows: Tensor | None = None
        self._dynamics = Dynamics(batch, integrator)

    def __call__(self, rows: Tensor, t: Tensor, y: Tensor) -> Tensor:
        # Rows change only when one has ended.
        if self._rows is not rows:
            self._rows, self._dynamics = rows, self._of(rows)
        # The trial of a row that grows without bounds is no state: the others must not notice.
        good = torch.isfinite(y).all(-1, keepdim=True)
        y = torch.where(good, y, self._start[rows])
        try:
            rate = self._rate(self._dynamics, t, y)
        except NotPositiveError:
            rate = torch.cat([self._alone(*one) for one in zip(rows, t, y, strict=True)])
        return torch.where(good, rate, torch.nan)

    def _of(self, rows: Tensor) -> Dynamics:
        return Dynamics(self._batch.mapped(lambda value, _: value[rows]), self._integrator)

    def _rate(self, dynamics: Dynamics, t: Tensor, y: Tensor) -> Tensor:
        return dynamics.derivative(t, self._batch.initial.unpack(y)).pack()

    def _alone(self, row: Tensor, t: Tensor, y: Tensor) -> Tensor:
        try:
            return self._rate(self._of(row[None]), t[None], y[None])
        except NotPositiveError:
            return torch.full_like(y[None], torch.nan)


def solve_together(
    problems: Sequence[Problem],
    times: Tensor,
    integrator: Integrator,
    options: Options,
    about: Mapping[str, Any],
) -> list[Trajectory | ConvergenceError]:
    """Solve problems of one kind at once, each with its own steps.

    Args:
        problems: all of the same `kind`.
        times: recorded, strictly increasing, shape `(T,)`.
        integrator: prepared.
        options: how to integrate.
        about: what to say of the solver.

    Returns:
        What each problem comes to.
    """
    batch = Problem.stack(problems)
    start = batch.initial.pack()
    with torch.no_grad():
        field = _Field(batch, integrator)
        rows = integrate_rows(field, start, times, batch.knots, options)
        # A row that ended early is measured at its start instead, and cut.
        missing = rows.states[..., :1].isnan()
        states = torch.where(missing, start[:, None], rows.states).movedim(0, 1)
        found = record(states, batch.initial, Dynamics(batch, integrator))
    return [
        concluded(
            times[:count],
            found.at(slice(count), i),
            {**about, "evaluations": rows.evaluations[i], "together": len(problems)},
            rows.stopped[i],
        )
        for i, count in enumerate(rows.counts)
    ]
