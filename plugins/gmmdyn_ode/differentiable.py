"""Solutions as functions of tensors, with gradients."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from torch import Tensor
from torchdiffeq import odeint

from gmmdyn import checks
from gmmdyn import integrator as build_integrator
from gmmdyn.interfaces import Integrator
from gmmdyn_ode.dynamics import Dynamics
from gmmdyn_ode.problem import Problem
from gmmdyn_ode.recording import record
from gmmdyn_ode.solver import ADAPTIVE, FIXED, increasing, landing


class Flow(NamedTuple):
    """Order parameters and errors in time; `...` is the batch shape of the problem.

    Attributes:
        Q: shape `(T, ..., K, K)`.
        R: shape `(T, ..., C, K)`.
        v: shape `(T, ..., K)`.
        b: shape `(T, ..., K)`, or None for a network without bias.
        pmse: ½E[(y − φ)²], shape `(T, ...)`.
        classification_error: P(yφ < 0) + ½P(φ = 0), shape `(T, ...)`; it has a gradient only if the
            integrator does not count points.
        loss: E[ℓ], shape `(T, ...)`; for the square loss the pmse.
    """

    Q: Tensor
    R: Tensor
    v: Tensor
    b: Tensor | None
    pmse: Tensor
    classification_error: Tensor
    loss: Tensor


def flow(
    problem: Problem,
    times: Sequence[float] | np.ndarray,
    integrator: str | Integrator,
    *,
    method: str = "dopri5",
    rtol: float = 1e-6,
    atol: float = 1e-8,
    step: float | None = None,
) -> Flow:
    """Solve a problem, or a batch of them, and keep the graph: every result has gradients.

    Gradients flow to whatever tensors of the problem ask for them: rates, weight decay, variances,
    priors, the initial state. They are those of the numerical solution, by backpropagation through
    the steps of the solver, so memory grows with their number. A batch takes its steps together,
    no longer than the problem that needs the shortest; a blow-up of one is a blow-up of all.

    Args:
        problem: what to solve.
        times: strictly increasing, shape `(T,)`; the first is that of the initial state.
        integrator: one that is differentiable, by name or as an object: `"preintegrated"` for a
            piecewise-linear activation, `"sobol"` for a smooth one.
        method: as of the theory `ode`.
        rtol: relative tolerance of an adaptive step, positive.
        atol: absolute tolerance of an adaptive step, positive.
        step: size of a fixed step, positive; for a fixed-step method.

    Returns:
        The order parameters and errors at these times.

    Raises:
        RangeError: if the times do not increase, or the method is unknown.
        NotPositiveError: if a step leads out of the possible states.
        IncompatibleError: if the integrator does not describe the problem, or its gradients.
    """
    checks.choice("method", method, FIXED if step is not None else ADAPTIVE)
    problem = problem.expanded()
    grid = increasing(times).to(problem.share.device)
    if not isinstance(integrator, Integrator):
        integrator = build_integrator(integrator)
    integrator.prepare(problem.initial.v.shape[-1])
    dynamics, start = Dynamics(problem, integrator), problem.initial
    states = odeint(
        lambda t, flat: dynamics.derivative(t, start.unpack(flat)).pack(),
        start.pack(),
        grid,
        rtol=checks.number("rtol", rtol, above=0),
        atol=checks.number("atol", atol, above=0),
        method=method,
        options={**landing(grid, step, problem.knots), **({} if step else {"norm": _worst})},
    )
    curves = record(states, start, dynamics).curves
    return Flow(
        **{name: curves.get(name) for name in ("Q", "R", "v", "b", "pmse")},  # type: ignore[arg-type]
        classification_error=curves["classification_error"],
        loss=curves.get("loss", curves["pmse"]),
    )


def _worst(error: Tensor) -> Tensor:
    """The largest over the batch of the root mean square over a state."""
    return error.square().mean(-1).sqrt().max()
