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
from gmmdyn_ode.integrators import Integrators, Selected
from gmmdyn_ode.matrix import MatrixProblem, check_size
from gmmdyn_ode.noise import Modes, noise_of
from gmmdyn_ode.parameters import DESCRIBES, described
from gmmdyn_ode.problem import NOT_ENOUGH, Problem
from gmmdyn_ode.solve import equations_of, solve_batch, solve_one
from gmmdyn_ode.solver import ADAPTIVE, FIXED, IMPLICIT, Settings, increasing

# Problems solved at once: more would not fit into memory with the points of a sampling integrator.
_BATCH = 64
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
    several_outputs: ClassVar[bool] = True

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
        self.integrators = Integrators(integrator, self._device)
        self._infinite = bool(infinite_dim)
        if self._device.type != "cpu" and method not in _ON_DEVICES:
            raise RangeError(f"the method `{method}` computes on the CPU: drop `device`.")
        if (method in FIXED) != (step is not None):
            verb = "needs a `step`" if step is None else "chooses its own steps: drop `step`"
            raise RangeError(f"the method `{method}` {verb}.")

    def check(self, data_model: DataModel, network: Network, algorithm: OnlineSGD) -> None:
        """Say which assumption fails; see `Theory.check`."""
        mixture, two_layer = described(data_model, network, algorithm)
        kind = two_layer.activation, algorithm.loss_function, two_layer.hidden
        self.integrators.check(*kind, mixture.outputs)
        noise = noise_of(mixture)
        if not isinstance(noise, Modes):
            check_size(noise, two_layer)

    def problem(
        self,
        data_model: DataModel,
        network: Network,
        algorithm: OnlineSGD,
        initial: OrderParameters | None,
    ) -> Problem | MatrixProblem:
        """Return what the equations of an experiment depend on, for the noise that it has.

        Args:
            data_model: the data model.
            network: the network.
            algorithm: the learning algorithm.
            initial: where to start; None is the present weights of the network.

        Returns:
            The problem, without batch shape.

        Raises:
            IncompatibleError: if the equations do not describe it.
            ShapeError: if shapes do not fit together.
        """
        mixture, two_layer = described(data_model, network, algorithm)
        noise = noise_of(mixture)
        problem: Problem | MatrixProblem
        if isinstance(noise, Modes):
            problem = Problem.of(mixture, two_layer, algorithm, initial).to(self._device)
        elif initial is not None:
            raise IncompatibleError(NOT_ENOUGH)
        else:
            problem = MatrixProblem.of(mixture, noise, two_layer, algorithm)
            if self._device.type != "cpu":
                raise IncompatibleError(
                    "covariances that do not commute are solved on the CPU; drop `device`."
                )
        if self._infinite:
            return problem._replace(inverse_dim=torch.zeros_like(problem.inverse_dim))
        return problem

    def _selected(self, problem: Problem | MatrixProblem) -> Selected:
        hidden, *outputs = problem.initial.v.shape[-problem.labels.ndim :]
        kind = problem.activation, problem.loss, hidden
        return self.integrators.prepared(*kind, *outputs)

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
        integrator = self._selected(problem).integrator
        with torch.no_grad():
            rates = equations_of(problem, integrator).overlap_rates(time, problem.initial)
        return rates.to("cpu")

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
            (result,) = self._batch([problem], grid)
        else:
            selected = self._selected(problem)
            result = solve_one(problem, grid, selected, self._settings(selected, problem))
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
            for begin in range(0, len(group), _BATCH):
                indices, some = zip(*group[begin : begin + _BATCH], strict=True)
                results.update(zip(indices, self._separately(some, grid), strict=True))
        for i, result in results.items():
            if self._gave_up(result):
                (results[i],) = super().solve_many([problems[i]], times=times, initial=[starts[i]])
        return [results[i] for i in range(len(problems))]

    def _gave_up(self, result: Trajectory | GmmdynError) -> bool:
        """Whether the problem may be stiff, and another method was not ruled out."""
        impatient = self._method == "auto" and self._limit > _PATIENCE
        return impatient and isinstance(result, ConvergenceError) and result.status == "evaluations"

    def _separately(
        self, problems: Sequence[Problem], times: Tensor
    ) -> Sequence[Trajectory | GmmdynError]:
        """Solve a batch; one after another if a state of one cannot be measured."""
        try:
            return self._batch(problems, times)
        except NotPositiveError as error:
            if len(problems) == 1:
                return [error]
            return [self._separately([problem], times)[0] for problem in problems]

    def _batch(
        self, problems: Sequence[Problem], times: Tensor
    ) -> Sequence[Trajectory | ConvergenceError]:
        selected = self._selected(problems[0])
        settings = self._settings(selected, problems[0])._replace(method="dopri5")
        if self._method == "auto":
            settings = settings._replace(max_evaluations=min(self._limit, _PATIENCE))
        return solve_batch(problems, times.to(self._device), selected, settings)

    def _settings(self, selected: Selected, problem: Problem | MatrixProblem) -> Settings:
        """Settle tolerances: below the jumps of the right-hand side no step would be accepted."""
        integrator = selected.integrator
        jumps = not (integrator.smooth or problem.activation.smooth)
        default = max(1e-6, 0.1 * integrator.relative_error) if jumps else 1e-6
        rtol = default if self._rtol is None else self._rtol
        atol = (rtol if jumps else 0.01 * rtol) if self._atol is None else self._atol
        return Settings(self._method, rtol, atol, self._step, self._limit)


def _device(name: str) -> torch.device:
    try:
        device = torch.device(name)
    except RuntimeError:
        raise RangeError(f"`device` is {name!r}; give `cpu`, `cuda` or `cuda:1`.") from None
    if device.type == "mps":
        raise RangeError("`device` is 'mps', which has no double precision; take `cpu`.")
    return device
