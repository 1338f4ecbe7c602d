"""An experiment in the forms that the expansion needs, and the path of the limit."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from gmmdyn import OnlineSGD, OrderParameters
from gmmdyn import integrator as build_integrator
from gmmdyn.errors import ConvergenceError, IncompatibleError
from gmmdyn.interfaces import DataModel, Errors, Integrator, IsotropicMixture, Network
from gmmdyn_ode.chart import chart_of
from gmmdyn_ode.dynamics import Dynamics
from gmmdyn_ode.finite_size.coordinates import Coordinates
from gmmdyn_ode.finite_size.drift import Drift
from gmmdyn_ode.finite_size.noise import Noise
from gmmdyn_ode.finite_size.steps import Grid, Path
from gmmdyn_ode.integration import integrate
from gmmdyn_ode.problem import Problem
from gmmdyn_ode.solver import Settings
from gmmdyn_ode.theory import ODE

# Derivatives and fluctuations need to be good to a percent: fewer lines and points do, and a
# classification error whose differences matter, not its value.
_COARSE = {"preintegrated": {"log2_lines": 7}, "sobol": {"log2_samples": 11}}
_TOLERANCE = 0.05
# States measured at once.
_ROWS = 128
# Errors of a network that are curves.
ERRORS = ("pmse", "classification_error", "tie_rate", "loss")


class Limit(NamedTuple):
    """An experiment as D grows.

    Attributes:
        problem: without what vanishes as D grows.
        dynamics: the right-hand side and the errors, as accurate as those of the theory `ode`.
        coarse: the same, as accurate as derivatives and fluctuations need it.
        coordinates: of the state.
        drift: F, F1 and derivatives of F.
        noise: the covariance of an update.
        options: of the solver.
        about: what metadata say of the integrator.
    """

    problem: Problem
    dynamics: Dynamics
    coarse: Dynamics
    coordinates: Coordinates
    drift: Drift
    noise: Noise
    options: Settings
    about: dict[str, Any]

    @classmethod
    def of(
        cls,
        ode: ODE,
        data_model: DataModel,
        network: Network,
        algorithm: OnlineSGD,
        initial: OrderParameters | None,
    ) -> Limit:
        """Return the limit of an experiment that the theory describes.

        Args:
            ode: the theory of the limit.
            data_model: an isotropic mixture.
            network: of two layers.
            algorithm: without mini-batches.
            initial: where to start; None is the present weights of the network.

        Returns:
            The limit.
        """
        problem = ode.problem(data_model, network, algorithm, initial)
        assert isinstance(problem, Problem)
        problem = problem._replace(inverse_dim=torch.zeros_like(problem.inverse_dim))
        hidden = problem.initial.v.shape[-1]
        integrator, reason = ode.integrators.prepared(problem.activation, problem.loss, hidden)
        rough = _coarse(integrator)
        rough.prepare(hidden)
        coordinates = Coordinates(problem)
        spec = integrator.spec
        return cls(
            problem,
            Dynamics(problem, integrator),
            Dynamics(problem, rough),
            coordinates,
            Drift(problem, rough, coordinates),
            Noise(problem, coordinates),
            Settings("auto", 1e-6, 1e-8, None, 20_000),
            {
                "integrator": spec.name if spec else type(integrator).__name__,
                "integrator_reason": reason,
                "integration_error": integrator.relative_error,
            },
        )

    def path(self, recorded: np.ndarray) -> Path:
        """Return the path of the limit.

        Args:
            recorded: times at which it has to be known, strictly increasing, shape `(T,)`.

        Returns:
            The path at these times and many between.

        Raises:
            ConvergenceError: if the solver gives up.
        """
        start, grid = self.problem.initial, Grid.of(recorded, self.problem.knots.numpy())
        solution = integrate(
            lambda t, flat: self.dynamics.derivative(t, start.unpack(flat)).pack(),
            start.pack(),
            torch.from_numpy(grid.times),
            self.options,
            self.problem.knots,
            chart_of(self.problem),
        )
        if solution.stopped is not None:
            stopped = solution.stopped
            raise ConvergenceError(
                f"the theory `finite-size` stopped at t = {stopped.time:.6g}: {stopped.reason}.",
                None,
                stopped.status,
            )
        states = self.coordinates.flat(start.unpack(torch.stack(solution.states)))
        return Path(grid, states, self.drift, self.noise)

    def measure(self, x: Tensor) -> Errors:
        """Return the errors at coordinates `(N, n)`, as accurate as fluctuations need them."""
        found = [self.coarse.errors(self.coordinates.state(part)) for part in torch.split(x, _ROWS)]
        return Errors(
            *(None if None in parts else torch.cat(parts) for parts in zip(*found, strict=True))  # type: ignore[arg-type]
        )

    def overlaps(self, x: Tensor) -> dict[str, np.ndarray]:
        """Return order parameters by name at coordinates `(..., n)`, each `(..., ...)`."""
        state = self.coordinates.state(x)
        found = {"Q": state.q.squeeze(-3), "R": state.r.squeeze(-3), "v": state.v}
        if state.b is not None:
            found["b"] = state.b
        return {name: value.numpy() for name, value in found.items()}

    def curves(self, states: np.ndarray) -> dict[str, np.ndarray]:
        """Return the curves of networks at coordinates `(T, N, n)`, each `(T, N, ...)`."""
        x = self.coordinates.possible(torch.from_numpy(states))
        with torch.no_grad():
            measured = self.measure(x.flatten(0, 1))
        errors = {name: getattr(measured, name) for name in ERRORS}
        return {
            **self.overlaps(x),
            **{
                name: value.reshape(x.shape[:2]).numpy()
                for name, value in errors.items()
                if value is not None
            },
        }


def check_limit(ode: ODE, data_model: DataModel, network: Network, algorithm: OnlineSGD) -> None:
    """Say which assumption of the expansion in 1/D fails.

    Args:
        ode: the theory of the limit.
        data_model: the data model.
        network: the network.
        algorithm: the learning algorithm.

    Raises:
        IncompatibleError: naming the assumption.
    """
    ode.check(data_model, network, algorithm)
    if not isinstance(data_model, IsotropicMixture):
        raise IncompatibleError(
            "the expansion in 1/D (the theory `finite-size`) describes mixtures whose noise is the "
            "same in every direction and cluster (isotropic); take the theory `ode`, and several "
            "replicas to see how they differ."
        )
    if network.outputs > 1:
        raise IncompatibleError(
            "the expansion in 1/D (the theory `finite-size`) describes networks of one output, and "
            f"this one has {network.outputs}; take the theory `ode`."
        )
    longest = float(data_model.mean_overlaps.diagonal().max()) / data_model.dim
    if not longest < data_model.variance:
        raise IncompatibleError(
            "the expansion in 1/D (the theory `finite-size`) holds where an input is as long as "
            f"its noise, and here the means' share of |x|²/D is {longest:.3g} and the variance "
            f"{data_model.variance:.3g}; take the theory `ode`."
        )
    problem = ode.problem(data_model, network, algorithm, None)
    integrator, _ = ode.integrators.prepared(
        problem.activation, problem.loss, problem.initial.v.shape[-1]
    )
    if not (integrator.smooth or problem.activation.smooth):
        raise IncompatibleError(
            "the expansion in 1/D (the theory `finite-size`) needs derivatives of the right-hand "
            "side, which jumps with this integrator; take `preintegrated`."
        )


def _coarse(integrator: Integrator) -> Integrator:
    spec = integrator.spec
    if spec is None:
        return integrator
    fewer = _COARSE.get(spec.name, {})
    known = {"closed-form", "gauss-hermite", *_COARSE}
    loose = {"tolerance": _TOLERANCE} if spec.name in known else {}
    return build_integrator(spec.name, **{**spec.options, **fewer, **loose})
