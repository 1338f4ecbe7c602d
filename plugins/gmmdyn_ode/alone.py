"""Solve one problem, in whichever form."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from itertools import takewhile
from typing import Any

import torch
from torch import Tensor

from gmmdyn import Trajectory
from gmmdyn.errors import ConvergenceError, NotPositiveError
from gmmdyn.interfaces import Integrator
from gmmdyn_ode.chart import MakeChart, chart_of, identity
from gmmdyn_ode.dynamics import Dynamics
from gmmdyn_ode.equations import Equations, S
from gmmdyn_ode.matrix import MatrixDynamics, MatrixProblem
from gmmdyn_ode.problem import Problem
from gmmdyn_ode.recording import Record, concluded, record
from gmmdyn_ode.solver import Options, Solution, StoppedError, not_a_state
from gmmdyn_ode.stiff import follow


def solve_alone(
    problem: Problem | MatrixProblem,
    times: Tensor,
    integrator: Integrator,
    options: Options,
    about: Mapping[str, Any],
) -> Trajectory | ConvergenceError:
    """Solve a problem without batch shape, on the CPU.

    Args:
        problem: what to solve.
        times: recorded, strictly increasing, shape `(T,)`.
        integrator: prepared.
        options: how to integrate.
        about: what to say of the solver.

    Returns:
        What the problem comes to.
    """
    smooth = integrator.smooth or problem.activation.smooth
    with torch.no_grad():
        if isinstance(problem, Problem):
            modes = Dynamics(problem, integrator)
            how = options, problem.knots, smooth, chart_of(problem)
            solution, found = _solved(modes, problem.initial, times, *how)
        else:
            matrices = MatrixDynamics(problem, integrator)
            how = options, problem.knots, smooth, identity
            solution, found = _solved(matrices, problem.initial, times, *how)
    rest = solution.rest
    about = {
        **about,
        "evaluations": solution.evaluations,
        "stiff_from": solution.stiff_from,
        "at_rest": None if rest is None else rest._asdict(),
    }
    return concluded(times[: len(solution.states)], found, about, solution.stopped)


def _solved(
    equations: Equations[S],
    start: S,
    times: Tensor,
    options: Options,
    kinks: Tensor,
    smooth: bool,
    make_chart: MakeChart,
) -> tuple[Solution, Record | None]:
    solution = follow(
        lambda t, flat: equations.derivative(t, start.unpack(flat)).pack(),
        start.pack(),
        times,
        options,
        kinks,
        start.sizes(),
        smooth,
        make_chart,
    )
    if not solution.states:
        return solution, None
    try:
        return solution, record(solution.states, start, equations)
    except NotPositiveError as error:
        measured = list(takewhile(partial(_has_errors, equations, start), solution.states))
        stopped = StoppedError(float(times[len(measured)]), *not_a_state(error))
        solution = solution._replace(states=measured, stopped=stopped)
        return solution, record(measured, start, equations) if measured else None


def _has_errors(equations: Equations[S], start: S, flat: Tensor) -> bool:
    try:
        equations.errors(start.unpack(flat))
    except NotPositiveError:
        return False
    return True
