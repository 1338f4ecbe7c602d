"""Solutions by torchdiffeq: with gradients, with fixed steps and by its own adaptive methods."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
import torchdiffeq
from torch import Tensor

from gmmdyn import checks
from gmmdyn import integrator as build_integrator
from gmmdyn.interfaces import Integrator
from gmmdyn_ode.dynamics import Dynamics
from gmmdyn_ode.problem import Problem
from gmmdyn_ode.recording import record
from gmmdyn_ode.solver import (
    ADAPTIVE,
    BLOW_UP,
    FIXED,
    Function,
    RightHandSide,
    Settings,
    Solution,
    StoppedError,
    bound_of,
    increasing,
    why_stuck,
)


class Flow(NamedTuple):
    """Order parameters and errors in time; `...` is the batch shape of the problem.

    Attributes:
        Q: shape `(T, ..., K, K)`.
        R: shape `(T, ..., C, K)`.
        v: shape `(T, ..., K)`, or `(T, ..., K, O)` for labels of O outputs.
        b: shape `(T, ..., K)`, or None for a network without bias.
        pmse: ½E[(y − φ)²], shape `(T, ...)`.
        classification_error: P(yφ < 0) + ½P(φ = 0), shape `(T, ...)`, or None if labels of several
            outputs are no classes; it has a gradient only if the integrator does not count points.
        loss: E[ℓ], shape `(T, ...)`; for the square loss the pmse.
    """

    Q: Tensor
    R: Tensor
    v: Tensor
    b: Tensor | None
    pmse: Tensor
    classification_error: Tensor | None
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
    integrator.prepare(problem.initial.q.shape[-1])
    dynamics, start = Dynamics(problem, integrator), problem.initial
    states = torchdiffeq.odeint(
        lambda t, flat: dynamics.derivative(t, start.unpack(flat)).pack(),
        start.pack(),
        grid,
        rtol=checks.number("rtol", rtol, above=0),
        atol=checks.number("atol", atol, above=0),
        method=method,
        options={**_ends(grid, step, problem.knots), **({} if step else {"norm": _worst})},
    )
    curves = record(states, start, dynamics).curves
    return Flow(
        **{name: curves.get(name) for name in Flow._fields[:-1]},  # type: ignore[arg-type]
        loss=curves.get("loss", curves["pmse"]),
    )


def _worst(error: Tensor) -> Tensor:
    """The largest over the batch of the root mean square over a state."""
    return error.square().mean(-1).sqrt().max()


def integrate_with_torchdiffeq(
    function: Function,
    initial: Tensor,
    times: Tensor,
    settings: Settings,
    kinks: Tensor,
    sizes: list[int],
) -> Solution:
    """Solve y' = function(t, y) without gradients, up to a number of evaluations.

    Args:
        function: the right-hand side at a time and a flat state.
        initial: the state at `times[0]`, shape `(n,)`.
        times: strictly increasing, shape `(T,)`, float64.
        settings: how to integrate; the method is one of `ADAPTIVE` or `FIXED`.
        kinks: times at which the right-hand side is not smooth in t, shape `(m,)`; a step ends on
            each.
        sizes: lengths of the parts of a state; the tolerances hold for the root mean square of
            each.

    Returns:
        The states at all times, or up to where the solver was stopped.
    """
    if times.numel() == 1:
        return Solution([initial], 0)
    field = _Field(function, initial, times.tolist(), settings.max_evaluations)
    options = _ends(times, settings.step, kinks)
    if settings.step is None and len(sizes) > 1:
        options["norm"] = partial(_largest_part, sizes)
    tolerances = {"rtol": settings.rtol, "atol": settings.atol}
    states, stopped = field.states, None
    try:
        found = torchdiffeq.odeint(
            field, initial, times, method=settings.method, options=options, **tolerances
        )
        states = list(found)
    except StoppedError as error:
        stopped = error
    except AssertionError:  # torchdiffeq's "underflow in dt"
        time, state = field.last
        stopped = StoppedError(float(time), *why_stuck(state, field.bound))
    return Solution(states, field.evaluations, stopped)


class _Field:
    """A right-hand side that keeps the states at recorded times, should the solver be stopped."""

    def __init__(self, function: Function, initial: Tensor, times: list[float], limit: int) -> None:
        self._right_hand_side = RightHandSide(function, limit)
        self._times = times
        self.states: list[Tensor] = []
        self.bound = bound_of(initial)
        self.last = torch.tensor(times[0]), initial

    @property
    def evaluations(self) -> int:
        return self._right_hand_side.evaluations

    def __call__(self, t: Tensor, y: Tensor) -> Tensor:
        return self._right_hand_side.rates(t, y)

    def callback_step(self, t0: Tensor, y0: Tensor, dt: Tensor) -> None:
        """Keep the state at the start of a step if that is a recorded time (torchdiffeq's hook)."""
        self.last = t0, y0
        if bool((y0.abs().amax(-1) > self.bound).any()):
            raise StoppedError(float(t0), *BLOW_UP)
        position = len(self.states)
        if position < len(self._times) and float(t0) >= self._times[position]:
            self.states.append(y0.clone())


def _ends(times: Tensor, step: float | None, kinks: Tensor) -> dict[str, Any]:
    """Return torchdiffeq's options that make a step end on each recorded time and each kink."""
    inside = kinks[(kinks > times[0]) & (kinks < times[-1])].detach()
    ends = torch.unique(torch.cat([times[1:], inside]))
    if step is None:
        # The dense output is of low order.
        return {"step_t": ends}
    # Steps of one length, no longer than `step`, from one end to the next.
    grid = [times[:1]]
    for start, stop in zip([float(times[0]), *ends.tolist()], ends.tolist(), strict=False):
        count = max(1, int(-(-(stop - start) // step)))
        grid.append(torch.linspace(start, stop, count + 1, dtype=times.dtype)[1:])
    return {"grid_constructor": lambda *_: torch.cat(grid)}


def _largest_part(sizes: list[int], value: Tensor) -> Tensor:
    """Return the largest root mean square of the parts of a vector, or the size of a number."""
    if value.ndim == 0:
        return value.abs()
    parts = torch.split_with_sizes(value, sizes)
    return torch.stack([part.square().mean().sqrt() for part in parts]).max()
