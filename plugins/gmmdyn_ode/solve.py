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
from gmmdyn.interfaces import Integrator
from gmmdyn_ode.chart import chart_of
from gmmdyn_ode.differentiable import integrate_with_torchdiffeq
from gmmdyn_ode.dopri5_batched import BatchRates, dopri5_batched
from gmmdyn_ode.dynamics import Dynamics
from gmmdyn_ode.integration import METHODS, integrate
from gmmdyn_ode.integrators import Selected
from gmmdyn_ode.matrix import MatrixDynamics, MatrixProblem
from gmmdyn_ode.problem import Problem
from gmmdyn_ode.recording import Equations, concluded, record
from gmmdyn_ode.solver import IMPLICIT, Function, Settings, Solution, StoppedError, not_a_state
from gmmdyn_ode.state import MatrixState, State

# Numbers in a state beyond which its Jacobian is not formed.
_LARGEST = 600


def equations_of(problem: Problem | MatrixProblem, integrator: Integrator) -> Equations:
    """Return the equations of a problem, along modes or in matrices.

    Args:
        problem: what they depend on.
        integrator: prepared for the number of hidden units.

    Returns:
        The equations.
    """
    if isinstance(problem, Problem):
        return Dynamics(problem, integrator)
    return MatrixDynamics(problem, integrator)


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
    integrator, start = selected.integrator, problem.initial
    smooth = integrator.smooth or problem.activation.smooth
    equations = equations_of(problem, integrator)

    def rates(time: Tensor, flat: Tensor) -> Tensor:
        changes: State | MatrixState = equations.derivative(time, start.unpack(flat))
        return changes.pack()

    with torch.no_grad():
        solution = _integrated(rates, problem, times, settings, smooth)
        states, stopped = solution.states, solution.stopped
        try:
            found = record(states, start, equations) if states else None
        except NotPositiveError as error:
            states = list(takewhile(partial(_has_errors, equations, start), states))
            stopped = StoppedError(float(times[len(states)]), *not_a_state(error))
            found = record(states, start, equations) if states else None
    solver = {
        **_metadata(selected, settings),
        "evaluations": solution.evaluations,
        "stiff_from": solution.stiff_from,
        "at_rest": None if solution.rest is None else solution.rest._asdict(),
    }
    return concluded(times[: len(states)], found, solver, stopped)


def _has_errors(equations: Equations, start: State | MatrixState, flat: Tensor) -> bool:
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
    initial, sizes = problem.initial.pack(), problem.initial.sizes()
    make_chart = chart_of(problem) if isinstance(problem, Problem) else None
    count = initial.numel()
    if make_chart is not None:
        count = make_chart(initial, torch.zeros_like(initial)).enter(initial).numel()
    has_jacobian = smooth and len(sizes) == 1 and count <= _LARGEST
    if settings.method in IMPLICIT and not has_jacobian:
        raise IncompatibleError(
            f"the method `{settings.method}` needs the Jacobian matrix of a smooth right-hand "
            f"side of at most {_LARGEST} numbers, and here it jumps, or there are "
            f"{count} or matrices among them; take `dopri5`."
        )
    # SciPy's tolerances hold for the whole state: they do not know of its parts.
    if settings.method in METHODS and len(sizes) == 1:
        return integrate(rates, initial, times, settings, problem.knots, make_chart, has_jacobian)
    method = "dopri5" if settings.method == "auto" else settings.method
    return integrate_with_torchdiffeq(
        rates, initial, times, settings._replace(method=method), problem.knots, sizes
    )


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
