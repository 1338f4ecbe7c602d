"""The theory `ode`: how the order parameters move when the input dimension is large."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import final

import numpy as np
import torch
from torch import Tensor

from gmmdyn import OnlineSGD, OrderParameters, Trajectory, checks
from gmmdyn import integrator as build_integrator
from gmmdyn.errors import ConvergenceError, IncompatibleError, RangeError, ShapeError
from gmmdyn.interfaces import (
    DataModel,
    GaussianMixture,
    Integrator,
    Network,
    Theory,
    TwoLayerNetwork,
)
from gmmdyn_ode.dynamics import Dynamics, State
from gmmdyn_ode.modes import Modes, modes_of
from gmmdyn_ode.solver import ADAPTIVE, FIXED, Options, Solution, integrate


@final
class ODE(Theory):
    r"""Ordinary differential equations of the order parameters of a two-layer network.

    Exact as D grows at fixed K and t = samples/D, for any activation and any Gaussian mixture whose
    cluster covariances are isotropic, the same, or commute; no direction of the noise may hold a
    finite share of it all. Everything is computed in float64.

    Args:
        integrator: a registered name, an `Integrator`, or `"auto"`: `"preintegrated"` for a
            piecewise-linear activation and `"sobol"` for any other.
        method: an adaptive method of torchdiffeq (`"dopri5"`, `"dopri8"`, `"bosh3"`,
            `"fehlberg2"`, `"adaptive_heun"`) or a fixed-step one (`"euler"`, `"midpoint"`,
            `"rk4"`, `"heun3"`), which needs `step`.
        rtol: relative tolerance of an adaptive step, positive; by default 1e-6, or a tenth of the
            integrator's error when that jumps (then nothing tighter is allowed to help).
        atol: absolute tolerance of an adaptive step, positive; by default a hundredth of `rtol`,
            or as `rtol` when the integrator jumps.
        step: size of a fixed step, in units of t = samples/D, positive.
        max_evaluations: of the right-hand side, at least 1; then the solver gives up.

    Raises:
        RangeError: if an argument is out of range.

    References:
        Saad and Solla, Physical Review E 52, 4225 (1995); Refinetti et al., ICML 2021,
        arXiv:2102.11742, section 3; in the form of error-signal moments: docs, "Theory".
    """

    def __init__(
        self,
        integrator: str | Integrator = "auto",
        method: str = "dopri5",
        rtol: float | None = None,
        atol: float | None = None,
        step: float | None = None,
        max_evaluations: int = 20_000,
    ) -> None:
        super().__init__()
        if not isinstance(integrator, Integrator) and integrator != "auto":
            integrator = build_integrator(integrator)
        self._integrator = integrator
        self._chosen: dict[str, Integrator] = {}
        self._method = checks.choice("method", method, (*ADAPTIVE, *FIXED))
        self._rtol = None if rtol is None else checks.number("rtol", rtol, above=0)
        self._atol = None if atol is None else checks.number("atol", atol, above=0)
        self._step = None if step is None else checks.number("step", step, above=0)
        self._limit = checks.whole("max_evaluations", max_evaluations)
        if (method in FIXED) != (step is not None):
            verb = "needs a `step`" if step is None else "chooses its own steps: drop `step`"
            raise RangeError(f"the method `{method}` {verb}.")

    def check(self, data_model: DataModel, network: Network, algorithm: OnlineSGD) -> None:
        """Say which assumption fails; see `Theory.check`."""
        self._check(data_model, network, algorithm)

    @staticmethod
    def _check(
        data_model: DataModel, network: Network, algorithm: OnlineSGD
    ) -> tuple[GaussianMixture, TwoLayerNetwork, Modes]:
        if not isinstance(network, TwoLayerNetwork):
            raise IncompatibleError(
                "the theory `ode` describes two-layer networks with few hidden units, and "
                f"{type(network).__name__} is no TwoLayerNetwork."
            )
        if not isinstance(data_model, GaussianMixture):
            raise IncompatibleError(
                "the theory `ode` describes Gaussian mixtures, and "
                f"{type(data_model).__name__} is no GaussianMixture; simulate it instead."
            )
        if network.dim != data_model.dim:
            raise ShapeError(
                f"the network has input dimension {network.dim} but the mixture has "
                f"{data_model.dim}; give both the same `dim`."
            )
        if algorithm.variations:
            raise IncompatibleError(
                "the theory `ode` describes plain SGD on the square loss, and not yet with "
                f"{', '.join(sorted(algorithm.variations))}."
            )
        return data_model, network, modes_of(data_model)

    def _start(
        self,
        mixture: GaussianMixture,
        modes: Modes,
        network: TwoLayerNetwork,
        initial: OrderParameters | None,
    ) -> State:
        if initial is None:
            weights, readout = network.first_layer.detach().cpu(), network.readout.detach().cpu()
            bias = None if network.bias is None else network.bias.detach().cpu().double()
            r = modes.average(mixture.means.cpu(), weights)
            return State(modes.average(weights, weights), r, readout.double(), bias)
        clusters, hidden = len(mixture.labels), initial.v.shape[-1]
        if initial.R.shape != (clusters, hidden) or initial.Q.shape != (hidden, hidden):
            raise ShapeError(
                f"`R` has shape {tuple(initial.R.shape)} but the mixture has {clusters} clusters "
                f"and `v` {hidden} units; give shape {(clusters, hidden)}."
            )
        if len(modes.share) > 1:
            raise IncompatibleError(
                "Q, R and v do not fix the state when noise differs between directions; start the "
                "theory from the weights of a network instead."
            )
        state = initial.to(dtype=torch.float64, device="cpu")
        return State(state.Q.unsqueeze(0), state.R.unsqueeze(0), state.v, state.b)

    def _prepared(self, network: TwoLayerNetwork, hidden: int) -> Integrator:
        """Return the integrator, ready for a network; `"auto"` is settled once for each kind."""
        integrator = self._integrator
        if not isinstance(integrator, Integrator):
            # Exact along a line needs straight pieces; points are smooth where the activation is.
            name = "preintegrated" if network.activation.slopes else "sobol"
            if name not in self._chosen:
                self._chosen[name] = build_integrator(name)
            integrator = self._chosen[name]
        integrator.prepare(hidden)
        return integrator

    def derivative(
        self,
        data_model: DataModel,
        network: Network,
        algorithm: OnlineSGD,
        state: OrderParameters | None = None,
    ) -> OrderParameters:
        """Return dQ/dt, dR/dt, dv/dt (and db/dt); see `Theory.derivative`."""
        mixture, two_layer, modes = self._check(data_model, network, algorithm)
        start = self._start(mixture, modes, two_layer, state)
        integrator = self._prepared(two_layer, start.v.shape[-1])
        dynamics = Dynamics(mixture, modes, two_layer.activation, algorithm, integrator)
        with torch.no_grad():
            return dynamics.overlaps(dynamics.derivative(start))

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
        mixture, two_layer, modes = self._check(data_model, network, algorithm)
        grid = checks.array("times", times, (None,))
        if grid.numel() == 0 or bool((grid.diff() <= 0).any()):
            raise RangeError("`times` must increase strictly from one to the next.")
        start = self._start(mixture, modes, two_layer, initial)
        integrator = self._prepared(two_layer, start.v.shape[-1])
        dynamics = Dynamics(mixture, modes, two_layer.activation, algorithm, integrator)
        options = self._options(integrator, two_layer)
        with torch.no_grad():
            solution = integrate(
                lambda flat: dynamics.derivative(start.unpack(flat)).pack(),
                start.pack(),
                grid,
                options,
            )
            trajectory = _trajectory(grid, solution, start, dynamics)
        spec = integrator.spec
        about = {
            **options._asdict(),
            "integrator": spec.name if spec else type(integrator).__name__,
            "integration_error": integrator.relative_error,
            "evaluations": solution.evaluations,
        }
        if trajectory is not None:
            trajectory = replace(trajectory, metadata={"theory": "ode", "solver": about})
        if solution.stopped is not None or trajectory is None:
            when, why = "the start", "there was no state to begin with"
            if solution.stopped is not None:
                when, why = f"t = {solution.stopped.time:.6g}", solution.stopped.reason
            raise ConvergenceError(f"the theory `ode` stopped at {when}: {why}.", trajectory)
        return trajectory

    def _options(self, integrator: Integrator, network: TwoLayerNetwork) -> Options:
        """Settle tolerances: below the jumps of the right-hand side no step would be accepted."""
        jumps = not (integrator.smooth or network.activation.smooth)
        default = max(1e-6, 0.1 * integrator.relative_error) if jumps else 1e-6
        rtol = default if self._rtol is None else self._rtol
        atol = (rtol if jumps else 0.01 * rtol) if self._atol is None else self._atol
        return Options(self._method, rtol, atol, self._step, self._limit)


def _trajectory(
    grid: Tensor, solution: Solution, start: State, dynamics: Dynamics
) -> Trajectory | None:
    if not solution.states:
        return None
    # One time after another: all at once would hold every point of every time in memory.
    errors = [dynamics.errors(start.unpack(flat)) for flat in solution.states]
    state = dynamics.overlaps(start.unpack(torch.stack(solution.states)))
    curves = {"Q": state.Q, "R": state.R, "v": state.v}
    if state.b is not None:
        curves["b"] = state.b
    curves["pmse"] = torch.stack([e.pmse for e in errors])
    curves["classification_error"] = torch.stack([e.classification_error for e in errors])
    spread = {
        "pmse": torch.stack([e.pmse_se for e in errors]),
        "classification_error": torch.stack([e.classification_error_se for e in errors]),
    }
    return Trajectory(
        times=grid[: len(solution.states)].numpy(),
        curves={name: value.numpy() for name, value in curves.items()},
        source="theory",
        errors={name: value.numpy() for name, value in spread.items()},
    )
