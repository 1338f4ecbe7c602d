"""The theory `state-evolution`: where the order parameters come to rest."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, final

import numpy as np
import torch

from gmmdyn import OnlineSGD, OrderParameters, Trajectory, checks
from gmmdyn import theory as build_theory
from gmmdyn.errors import ConvergenceError, IncompatibleError, NotPositiveError
from gmmdyn.interfaces import (
    DataModel,
    Integrator,
    IsotropicMixture,
    Network,
    Theory,
    TwoLayerNetwork,
)
from gmmdyn_state_evolution.solvers import Counter, Root, along_the_flow, damped, jacobian, newton

_METHODS = ("flow", "newton", "damped")


@final
class StateEvolution(Theory):
    r"""Fixed points of the dynamics of the theory `ode`: t = ∞.

    They are zeros of the full right-hand side, SGD noise included; the residual max |F| is what
    decides on convergence. The eigenvalues of the Jacobian there say whether the fixed point is
    stable. For isotropic noise, whose state is Q, R, v (and b). Where units merge (more of them
    than the task needs), Q becomes singular and the residual stays near 1e-10: raise `tolerance`.

    Args:
        method: `"flow"` follows the dynamics from the start with an implicit solver and polishes
            with Newton's method, so it finds the fixed point that is reached; `"newton"` looks near
            the start; `"damped"` is the iteration x ← (1 - d)(x + F) + d x of the 2021 code, slow
            at small weight decay.
        integrator: as of the theory `ode`; it must be smooth for `"flow"` and `"newton"`.
        tolerance: for the residual, positive, in units of 1/t.
        damping: d of the damped iteration, from 0 to below 1.
        max_evaluations: of the right-hand side, at least 1; then the solver gives up.

    Raises:
        RangeError: if an argument is out of range.

    References:
        Refinetti et al., ICML 2021, arXiv:2102.11742, and its code.
    """

    follows_time: ClassVar[bool] = False

    def __init__(
        self,
        method: str = "flow",
        integrator: str | Integrator = "auto",
        tolerance: float = 1e-12,
        damping: float = 0.0,
        max_evaluations: int = 20_000,
    ) -> None:
        super().__init__()
        self._method = checks.choice("method", method, _METHODS)
        self._dynamics = build_theory("ode", integrator=integrator)
        self._tolerance = checks.number("tolerance", tolerance, above=0)
        self._damping = checks.number("damping", damping, at_least=0, at_most=0.999999)
        self._limit = checks.whole("max_evaluations", max_evaluations)

    def check(self, data_model: DataModel, network: Network, algorithm: OnlineSGD) -> None:
        """Say which assumption fails; see `Theory.check`."""
        self._dynamics.check(data_model, network, algorithm)
        if "schedule" in algorithm.variations:
            raise IncompatibleError(
                "the theory `state-evolution` describes one learning rate, and here it follows a "
                "schedule; give the last rate alone."
            )
        if not isinstance(data_model, IsotropicMixture):
            raise IncompatibleError(
                "the theory `state-evolution` describes mixtures whose noise is the same in every "
                "direction and cluster (isotropic); solve the theory `ode` to a long time instead."
            )

    def derivative(
        self,
        data_model: DataModel,
        network: Network,
        algorithm: OnlineSGD,
        state: OrderParameters | None = None,
        *,
        time: float = 0.0,
    ) -> OrderParameters:
        """Return the right-hand side whose zeros are sought; see `Theory.derivative`."""
        return self._dynamics.derivative(data_model, network, algorithm, state, time=time)

    def solve(
        self,
        data_model: DataModel,
        network: Network,
        algorithm: OnlineSGD,
        *,
        times: Sequence[float] | np.ndarray = (np.inf,),
        initial: OrderParameters | None = None,
    ) -> Trajectory:
        """Find a fixed point; see `Theory.solve`. The times are ignored."""
        self.check(data_model, network, algorithm)
        assert isinstance(data_model, IsotropicMixture)
        assert isinstance(network, TwoLayerNetwork)
        start = network.order_parameters(data_model) if initial is None else initial
        start = start.to(dtype=torch.float64)

        def field(x: np.ndarray) -> np.ndarray:
            state = _unpack(x, start)
            try:
                rates = self._dynamics.derivative(data_model, network, algorithm, state)
            except NotPositiveError:  # a trial that went too far: no state at all
                return np.full_like(x, np.inf)
            return _pack(rates)

        root = self._root(field, _pack(start))
        state = _unpack(root.x, start)
        trajectory = None
        if np.isfinite(root.residual):
            trajectory = self._described(data_model, network, algorithm, state, root, field)
        if not root.converged:
            raise ConvergenceError(
                f"the theory `state-evolution` stopped at the residual {root.residual:.3g} after "
                f"{root.evaluations} evaluations; start nearer, raise `max_evaluations` or "
                "`tolerance`, or take `method='flow'` and a smooth integrator.",
                trajectory,
            )
        assert trajectory is not None
        return trajectory

    def _root(self, field: object, x: np.ndarray) -> Root:
        counted = Counter(field, self._limit)  # type: ignore[arg-type]
        if self._method == "damped":
            return damped(counted, x, self._damping, self._tolerance, self._limit)
        if self._method == "newton":
            return newton(counted, x, self._tolerance)
        return along_the_flow(counted, x, self._tolerance)

    def _described(
        self,
        data_model: DataModel,
        network: Network,
        algorithm: OnlineSGD,
        state: OrderParameters,
        root: Root,
        field: object,
    ) -> Trajectory:
        """Return the fixed point as a trajectory of one time, ∞, with its stability."""
        at = self._dynamics.solve(data_model, network, algorithm, times=[0.0], initial=state)
        slopes = jacobian(field, root.x)  # type: ignore[arg-type]
        rates, stability = np.empty(0), "unknown"
        if np.isfinite(slopes).all():
            rates = np.linalg.eigvals(slopes).real
            stability = "stable" if rates.max() < 1e-8 else "saddle"
        return Trajectory(
            np.array([np.inf]),
            at.curves,
            "theory",
            at.errors,
            {
                "theory": "state-evolution",
                "solver": {
                    "method": self._method,
                    "tolerance": self._tolerance,
                    "residual": root.residual,
                    "evaluations": root.evaluations,
                    "converged": root.converged,
                },
                "stability": stability,
                "eigenvalues": sorted(rates.tolist(), reverse=True),
            },
        )


def _pack(state: OrderParameters) -> np.ndarray:
    """Flatten, each pair of units once: Q is symmetric."""
    rows, columns = np.triu_indices(state.v.shape[-1])
    parts = [state.Q[rows, columns], state.R.reshape(-1), state.v]
    if state.b is not None:
        parts.append(state.b)
    return np.concatenate([part.detach().numpy() for part in parts])


def _unpack(x: np.ndarray, like: OrderParameters) -> OrderParameters:
    hidden, size = like.v.shape[-1], like.R.numel()
    rows, columns = np.triu_indices(hidden)
    flat = torch.from_numpy(np.array(x))
    rest = flat.numel() - len(rows) - size - hidden
    q, r, v, b = torch.split(flat, [len(rows), size, hidden, rest])
    matrix = torch.zeros(hidden, hidden, dtype=torch.float64)
    matrix[rows, columns] = q
    matrix[columns, rows] = q
    return OrderParameters(
        Q=matrix, R=r.reshape(like.R.shape), v=v, b=None if like.b is None else b
    )
