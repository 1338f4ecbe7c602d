"""The theory `ode`: how the order parameters move when the input dimension is large."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, final

import numpy as np
import torch
from torch import Tensor

from gmmdyn import OnlineSGD, OrderParameters, Trajectory, checks
from gmmdyn.errors import (
    ConvergenceError,
    GmmdynError,
    IncompatibleError,
    NotPositiveError,
    RangeError,
)
from gmmdyn.interfaces import DataModel, Integrator, Network, Theory
from gmmdyn_ode.alone import solve_alone
from gmmdyn_ode.blocks import commutes
from gmmdyn_ode.choice import Choice
from gmmdyn_ode.dynamics import Dynamics
from gmmdyn_ode.forms import problem_of
from gmmdyn_ode.implicit import IMPLICIT
from gmmdyn_ode.many import solve_together
from gmmdyn_ode.matrix import MatrixDynamics, MatrixProblem, check_size
from gmmdyn_ode.modes import modes_of
from gmmdyn_ode.parts import DESCRIBES, parts_of
from gmmdyn_ode.problem import Problem
from gmmdyn_ode.recording import described
from gmmdyn_ode.solver import ADAPTIVE, FIXED, Options, increasing

# Problems solved at once: more would not fit into memory with the points of a sampling integrator.
_TOGETHER = 64
# Evaluations after which a problem is solved alone: it may be stiff.
_PATIENCE = 4000
# Methods that solve problems together, on any device.
_ON_DEVICES = ("auto", "dopri5")


@final
class ODE(Theory):
    r"""Ordinary differential equations of the order parameters of a two-layer network.

    Exact as D grows at fixed K and t = updates/D, for any activation and any Gaussian mixture whose
    cluster covariances are isotropic, the same, or commute; no direction of the noise may hold a
    finite share of it all. Covariances that do not commute are solved too, in matrices with K D
    rows, of which there may be 2,000. The logistic loss, mini-batches, schedules of the
    learning rate and label noise are in the equations. Everything is computed in float64.

    Args:
        integrator: a registered name, an `Integrator`, or `"auto"`, the first that describes the
            network of `"closed-form"`, `"preintegrated"`, `"gauss-hermite"` (up to two units) and
            `"sobol"`; which and why is in the metadata.
        method: `"auto"` is `"dopri5"`, and `"BDF"` from where the problem turns out stiff; or
            `"dopri5"` alone; another adaptive one, by torchdiffeq (`"dopri8"`, `"bosh3"`,
            `"fehlberg2"`, `"adaptive_heun"`); an implicit one of SciPy (`"BDF"`, `"Radau"`,
            `"LSODA"`); or one with a fixed `step` (`"euler"`, `"midpoint"`, `"rk4"`, `"heun3"`).
        rtol: relative tolerance of an adaptive step, positive; by default 1e-6, or a tenth of the
            integrator's error when that jumps (then nothing tighter is allowed to help).
        atol: absolute tolerance of an adaptive step, positive; by default a hundredth of `rtol`,
            or as `rtol` when the integrator jumps.
        step: size of a fixed step, in units of t = updates/D, positive.
        max_evaluations: of the right-hand side, at least 1; then the solver gives up.
        device: where to compute, such as `"cuda"`, which pays for `gd.solve_many`; off the CPU
            `"auto"` is `"dopri5"`.
        infinite_dim: whether to leave out what vanishes as D grows, the means' share
            $T_{\alpha\beta}/D$ of the products of inputs; for means of length $\sqrt{D}$ alone.
        ensemble: follow many states instead of one, of an isotropic mixture: so many, drawn from
            the Gaussian that the theory `finite-size` has at the last time at which it is good; or
            order parameters with a first axis for the states, at the first time. The curves are
            means over them, `trajectory.spread` and `trajectory.quantile` are of them.

    Raises:
        RangeError: if an argument is out of range.

    References:
        Saad and Solla, Physical Review E 52, 4225 (1995); Refinetti et al., ICML 2021,
        arXiv:2102.11742, section 3; in the form of error-signal moments: docs, "Theory".
    """

    describes: ClassVar[frozenset[str]] = DESCRIBES

    def __init__(
        self,
        integrator: str | Integrator = "auto",
        method: str = "auto",
        rtol: float | None = None,
        atol: float | None = None,
        step: float | None = None,
        max_evaluations: int = 20_000,
        device: str = "cpu",
        infinite_dim: bool = False,
        ensemble: int | OrderParameters | None = None,
    ) -> None:
        super().__init__()
        if ensemble is not None and not isinstance(ensemble, OrderParameters):
            ensemble = checks.whole("ensemble", ensemble, at_least=2)
        self._ensemble = ensemble
        self._method = checks.choice("method", method, ("auto", *ADAPTIVE, *FIXED, *IMPLICIT))
        self._rtol = None if rtol is None else checks.number("rtol", rtol, above=0)
        self._atol = None if atol is None else checks.number("atol", atol, above=0)
        self._step = None if step is None else checks.number("step", step, above=0)
        self._limit = checks.whole("max_evaluations", max_evaluations)
        self._device = _device(device)
        self.choice = Choice(integrator, self._device)
        self._infinite = bool(infinite_dim)
        if self._device.type != "cpu" and method not in _ON_DEVICES:
            raise RangeError(f"the method `{method}` computes on the CPU: drop `device`.")
        if (method in FIXED) != (step is not None):
            verb = "needs a `step`" if step is None else "chooses its own steps: drop `step`"
            raise RangeError(f"the method `{method}` {verb}.")

    def check(self, data_model: DataModel, network: Network, algorithm: OnlineSGD) -> None:
        """Say which assumption fails; see `Theory.check`."""
        mixture, two_layer = parts_of(data_model, network, algorithm)
        self.choice.check(two_layer.activation, algorithm.loss_function, two_layer.hidden)
        if commutes(mixture):
            modes_of(mixture)
        else:
            check_size(mixture, two_layer)

    def problem(
        self,
        data_model: DataModel,
        network: Network,
        algorithm: OnlineSGD,
        state: OrderParameters | None,
    ) -> Problem | MatrixProblem:
        """Return what the equations of an experiment depend on; see `problem_of`."""
        problem = problem_of(data_model, network, algorithm, state)
        if self._infinite:
            problem = problem._replace(inverse_dim=torch.zeros_like(problem.inverse_dim))
        if isinstance(problem, Problem):
            return problem.to(self._device)
        if self._device.type != "cpu":
            raise IncompatibleError(
                "covariances that do not commute are solved on the CPU; drop `device`."
            )
        return problem

    def _prepared(self, problem: Problem | MatrixProblem) -> tuple[Integrator, str]:
        hidden = problem.initial.v.shape[-1]
        return self.choice.prepared(problem.activation, problem.loss, hidden)

    def derivative(
        self,
        data_model: DataModel,
        network: Network,
        algorithm: OnlineSGD,
        state: OrderParameters | None = None,
        *,
        time: float = 0.0,
    ) -> OrderParameters:
        """Return dQ/dt, dR/dt, dv/dt (and db/dt); see `Theory.derivative`."""
        problem = self.problem(data_model, network, algorithm, state)
        integrator, _ = self._prepared(problem)
        with torch.no_grad():
            if isinstance(problem, Problem):
                rates = Dynamics(problem, integrator).overlap_rates(time, problem.initial)
                return rates.to("cpu")
            return MatrixDynamics(problem, integrator).overlap_rates(time, problem.initial)

    def solve(
        self,
        data_model: DataModel,
        network: Network,
        algorithm: OnlineSGD,
        *,
        times: Sequence[float] | np.ndarray,
        initial: OrderParameters | None = None,
    ) -> Trajectory:
        """Integrate the equations; see `Theory.solve`."""
        grid = increasing(times)
        if self._ensemble is not None:
            from gmmdyn_ode.finite_size.flow import flow_of_ensemble  # which takes this theory

            parts = data_model, network, algorithm
            return flow_of_ensemble(self, *parts, grid.numpy(), initial, self._ensemble)
        problem = self.problem(data_model, network, algorithm, initial)
        if isinstance(problem, Problem) and self._device.type != "cpu":
            (only,) = self._together([problem], grid)
            if isinstance(only, ConvergenceError):
                raise only
            return only
        integrator, reason = self._prepared(problem)
        options = self._options(integrator, problem)
        about = described(integrator, options, reason)
        result = solve_alone(problem, grid, integrator, options, about)
        if isinstance(result, ConvergenceError):
            raise result
        return result

    def solve_many(
        self,
        problems: Sequence[tuple[DataModel, Network, OnlineSGD]],
        *,
        times: Sequence[float] | np.ndarray,
        initial: Sequence[OrderParameters | None] | None = None,
    ) -> list[Trajectory | GmmdynError]:
        """Solve problems of one kind together; see `Theory.solve_many`.

        One kind is the same number of hidden units, clusters, modes of the noise and knots of the
        schedule, the same labels, activation and loss. Each problem keeps its own steps. Together
        they are solved with `"dopri5"` only, and not in the form for general covariances.
        """
        if self._method not in _ON_DEVICES or self._ensemble is not None:
            return super().solve_many(problems, times=times, initial=initial)
        grid = increasing(times)
        results: dict[int, Trajectory | GmmdynError] = {}
        kinds: dict[object, list[tuple[int, Problem]]] = {}
        starts = initial or [None] * len(problems)
        for i, (parts, start) in enumerate(zip(problems, starts, strict=True)):
            try:
                problem = self.problem(*parts, start)
            except GmmdynError as error:
                results[i] = error
                continue
            if isinstance(problem, Problem):
                kinds.setdefault(problem.kind, []).append((i, problem))
            else:
                results[i] = super().solve_many([parts], times=times, initial=[start])[0]
        for group in kinds.values():
            for begin in range(0, len(group), _TOGETHER):
                indices, some = zip(*group[begin : begin + _TOGETHER], strict=True)
                results.update(zip(indices, self._apart(some, grid), strict=True))
        for i, result in results.items():
            if self._gave_up(result):
                (results[i],) = super().solve_many([problems[i]], times=times, initial=[starts[i]])
        return [results[i] for i in range(len(problems))]

    def _gave_up(self, result: Trajectory | GmmdynError) -> bool:
        """Whether the problem may be stiff, and another method was not ruled out."""
        impatient = self._method == "auto" and self._limit > _PATIENCE
        return impatient and isinstance(result, ConvergenceError) and result.status == "evaluations"

    def _apart(
        self, problems: Sequence[Problem], times: Tensor
    ) -> Sequence[Trajectory | GmmdynError]:
        """Solve together; one after another if a state of one cannot be measured."""
        try:
            return self._together(problems, times)
        except NotPositiveError as error:
            if len(problems) == 1:
                return [error]
            return [self._apart([problem], times)[0] for problem in problems]

    def _together(
        self, problems: Sequence[Problem], times: Tensor
    ) -> Sequence[Trajectory | ConvergenceError]:
        integrator, reason = self._prepared(problems[0])
        options = self._options(integrator, problems[0])._replace(method="dopri5")
        if self._method == "auto":
            options = options._replace(max_evaluations=min(self._limit, _PATIENCE))
        about = described(integrator, options, reason)
        return solve_together(problems, times.to(self._device), integrator, options, about)

    def _options(self, integrator: Integrator, problem: Problem | MatrixProblem) -> Options:
        """Settle tolerances: below the jumps of the right-hand side no step would be accepted."""
        jumps = not (integrator.smooth or problem.activation.smooth)
        default = max(1e-6, 0.1 * integrator.relative_error) if jumps else 1e-6
        rtol = default if self._rtol is None else self._rtol
        atol = (rtol if jumps else 0.01 * rtol) if self._atol is None else self._atol
        return Options(self._method, rtol, atol, self._step, self._limit)


def _device(name: str) -> torch.device:
    try:
        device = torch.device(name)
    except RuntimeError:
        raise RangeError(f"`device` is {name!r}; give `cpu`, `cuda` or `cuda:1`.") from None
    if device.type == "mps":
        raise RangeError("`device` is 'mps', which has no double precision; take `cpu`.")
    return device
