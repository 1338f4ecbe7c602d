"""From a problem, or several, to trajectories."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from itertools import takewhile
from typing import Any

import torch
from torch import Tensor

from gmmdyn import Trajectory
from gmmdyn.errors import ConvergenceError, IncompatibleError, NotPositiveError
from gmmdyn_ode.chart import chart_of
from gmmdyn_ode.differentiable import integrate_with_torchdiffeq
from gmmdyn_ode.dopri5_batched import BatchRates, dopri5_batched
from gmmdyn_ode.dynamics import Dynamics
from gmmdyn_ode.integration import METHODS, integrate
from gmmdyn_ode.integrators import Selected
from gmmdyn_ode.matrix import MatrixDynamics, MatrixProblem
from gmmdyn_ode.problem import Problem
from gmmdyn_ode.recording import Equations, Record, S, concluded, record
from gmmdyn_ode.solver import IMPLICIT, Function, Settings, Solution, StoppedError, not_a_state

# Numbers in a state beyond which its Jacobian is not formed.
_LARGEST = 600


def solve_one(
    problem: Problem | MatrixProblem, times: Tensor, selected: Selected, settings: Settings
) -> Trajectory | ConvergenceError:
    """Solve a problem without batch shape, on the CPU.

    Args:
        problem: what to solve.
        times: recorded, strictly increasing, shape `(T,)`.
        selected: the integrator, prepared.
        settings: how to integrate in time.

    Returns:
        What the problem comes to.

    Raises:
        IncompatibleError: if an implicit method is asked for where there is no Jacobian.
    """
    integrator = selected.integrator
    smooth = integrator.smooth or problem.activation.smooth
    with torch.no_grad():
        if isinstance(problem, Problem):
            solution, found = _solved(
                Dynamics(problem, integrator), problem.initial, problem, times, settings, smooth
            )
        else:
            solution, found = _solved(
                MatrixDynamics(problem, integrator),
                problem.initial,
                problem,
                times,
                settings,
                smooth,
            )
    rest = solution.rest
    solver = {
        **_metadata(selected, settings),
        "evaluations": solution.evaluations,
        "stiff_from": solution.stiff_from,
        "at_rest": None if rest is None else rest._asdict(),
    }
    return concluded(times[: len(solution.states)], found, solver, solution.stopped)


def _solved(
    equations: Equations[S],
    start: S,
    problem: Problem | MatrixProblem,
    times: Tensor,
    settings: Settings,
    smooth: bool,
) -> tuple[Solution, Record | None]:
    """Integrate, and record the curves up to a state that has no errors."""

    def rates(time: Tensor, flat: Tensor) -> Tensor:
        return equations.derivative(time, start.unpack(flat)).pack()

    solution = _integrated(rates, problem, times, settings, smooth)
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


def _integrated(
    rates: Function,
    problem: Problem | MatrixProblem,
    times: Tensor,
    settings: Settings,
    smooth: bool,
) -> Solution:
    """Integrate in time with SciPy where it has the method, or else with torchdiffeq."""
    initial, make_chart = problem.initial.pack(), None
    count, sizes = initial.numel(), [initial.numel()]
    if isinstance(problem, MatrixProblem):
        sizes = problem.initial.sizes()
    else:
        make_chart = chart_of(problem)
    if make_chart is not None:
        count = make_chart(initial, torch.zeros_like(initial)).enter(initial).numel()
    has_jacobian = smooth and len(sizes) == 1 and count <= _LARGEST
    if settings.method in IMPLICIT and not has_jacobian:
        raise IncompatibleError(
            f"the method `{settings.method}` needs the Jacobian matrix of a smooth right-hand "
            f"side of at most {_LARGEST} numbers, and here it jumps, or there are "
            f"{count} or matrices among them; take `dopri5`."
        )
    if settings.method not in METHODS or len(sizes) > 1:
        method = "dopri5" if settings.method == "auto" else settings.method
        return integrate_with_torchdiffeq(
            rates, initial, times, settings._replace(method=method), problem.knots, sizes
        )
    return integrate(rates, initial, times, settings, problem.knots, make_chart, has_jacobian)


def solve_batch(
    problems: Sequence[Problem], times: Tensor, selected: Selected, settings: Settings
) -> list[Trajectory | ConvergenceError]:
    """Solve problems of one kind at once, each with its own steps.

    Args:
        problems: all of the same `kind`.
        times: recorded, strictly increasing, shape `(T,)`.
        selected: the integrator, prepared.
        settings: how to integrate in time; the method is Dormand and Prince's.

    Returns:
        What each problem comes to.
    """
    batch = Problem.stack(problems)
    start = batch.initial.pack()
    with torch.no_grad():
        rates = BatchRates(batch, selected.integrator)
        solved = dopri5_batched(rates, start, times, batch.knots, settings)
        # A problem that ended early is measured at its start instead, and cut.
        missing = solved.states[..., :1].isnan()
        states = torch.where(missing, start[:, None], solved.states).movedim(0, 1)
        found = record(states, batch.initial, Dynamics(batch, selected.integrator))
    return [
        concluded(
            times[:count],
            found.at(slice(count), i),
            {
                **_metadata(selected, settings),
                "evaluations": solved.evaluations[i],
                "together": len(problems),
            },
            solved.stopped[i],
        )
        for i, count in enumerate(solved.counts)
    ]


def _metadata(selected: Selected, settings: Settings) -> dict[str, Any]:
    """Return what a trajectory says of how it was solved, whatever came of it."""
    integrator, spec = selected.integrator, selected.integrator.spec
    return {
        **settings._asdict(),
        "integrator": spec.name if spec else type(integrator).__name__,
        "integrator_reason": selected.reason,
        "integration_error": integrator.relative_error,
    }
