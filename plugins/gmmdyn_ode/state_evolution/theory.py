"""The theory `state-evolution`: where the order parameters come to rest."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, final

import numpy as np
import torch

from gmmdyn import OnlineSGD, OrderParameters, Trajectory, checks
from gmmdyn.errors import ConvergenceError, IncompatibleError, RangeError
from gmmdyn.interfaces import (
    DataModel,
    Integrator,
    IsotropicMixture,
    Network,
    Theory,
    TwoLayerNetwork,
)
from gmmdyn_ode.coordinates import Coordinates, Overlaps, Weights
from gmmdyn_ode.problem import Problem
from gmmdyn_ode.state_evolution.polish import Found, plain, polished
from gmmdyn_ode.state_evolution.reduced import ReducedXOR
from gmmdyn_ode.state_evolution.residual import Equations, Field
from gmmdyn_ode.state_evolution.roots import Root, anderson, damped, newton
from gmmdyn_ode.state_evolution.search import flowing
from gmmdyn_ode.state_evolution.stability import stability_of
from gmmdyn_ode.state_evolution.words import stability_in_words
from gmmdyn_ode.theory import ODE

_METHODS = ("flow", "newton", "anderson", "damped")


@final
class StateEvolution(Theory):
    r"""Fixed points of the dynamics of the theory `ode`: t = ∞.

    They are zeros of the full right-hand side, SGD noise included. What decides on convergence is
    the scaled residual: the largest of max |dQ/dt|, max |dR/dt| and max |dv/dt|, each divided by
    the largest entry of Q, R or v where that exceeds 1. The eigenvalues of the Jacobian there say
    whether the fixed point is `"stable"`, `"marginal"` (some eigenvalues are 0 within their error:
    flat directions of units that merge) or a `"saddle"`. For isotropic noise, whose state is Q, R,
    v (and b).

    Units that the task does not need vanish or merge. Those that vanish are left out and
    verified at the end (all of them: the zero network, v = Q = 0). Smooth units that merge become
    equal (or opposite, if g is odd). Those with kinks merge at an angle that SGD noise keeps up and
    act as one however they share its readout; the state returned is the one in which they share
    equally, and the residual is averaged over their exchange. Without that average it is
    `asymmetry` in the metadata, which is integration error (docs, "Fixed points").

    Args:
        method: `"flow"` follows the dynamics from the start with an implicit solver and polishes
            with Newton's method, so it finds the fixed point that is reached, and leaves a saddle
            that it comes to by symmetry along the unstable direction (`left_saddles` in the
            metadata); `"newton"` looks near the start, and may find a saddle; `"damped"` is the
            iteration x ← (1 - d)(x + F) + d x of the 2021 code, slow
            at small weight decay; `"anderson"` accelerates it.
        integrator: as of the theory `ode`; it must be smooth for `"flow"` and `"newton"`.
        tolerance: for the scaled residual, positive, in units of 1/t.
        damping: d of the damped and the accelerated iteration, from 0 to below 1.
        max_evaluations: of the right-hand side, at least 1; then the solver gives up. Those with
            few points, which lead an average over many, count as well.
        reduced: whether to solve the four equations of a symmetric network on the XOR (K = 4) that
            the 2021 code calls reduced. They ignore SGD noise orthogonal to the means: a root is
            **not** a fixed point of the full equations. How far from one is `full_residual` in the
            metadata.
        infinite_dim: as of the theory `ode`.

    Raises:
        RangeError: if an argument is out of range.

    References:
        Refinetti et al., ICML 2021, arXiv:2102.11742, and its code.
    """

    # A schedule that goes on changing has no fixed point.
    describes: ClassVar[frozenset[str]] = frozenset(
        {"batch_size", "label_noise", "train_readout", "loss"}
    )
    follows_time: ClassVar[bool] = False

    def __init__(
        self,
        method: str = "flow",
        integrator: str | Integrator = "auto",
        tolerance: float = 1e-12,
        damping: float = 0.0,
        max_evaluations: int = 100_000,
        reduced: bool = False,
        infinite_dim: bool = False,
    ) -> None:
        super().__init__()
        self._method = checks.choice("method", method, _METHODS)
        self._ode = ODE(integrator=integrator, infinite_dim=infinite_dim)
        self._tolerance = checks.number("tolerance", tolerance, above=0)
        self._damping = checks.number("damping", damping, at_least=0, at_most=0.999999)
        self._limit = checks.whole("max_evaluations", max_evaluations)
        self._reduced = bool(reduced)
        if self._reduced and method == "flow":
            raise RangeError(
                "`reduced` has no flow: its equations are not those of a dynamics; take `method` "
                "'newton', 'anderson' or 'damped'."
            )

    def check(self, data_model: DataModel, network: Network, algorithm: OnlineSGD) -> None:
        """Say which assumption fails; see `Theory.check`."""
        self._ode.check(data_model, network, algorithm)
        if not isinstance(data_model, IsotropicMixture):
            raise IncompatibleError(
                "the theory `state-evolution` describes mixtures whose noise is the same in every "
                "direction and cluster (isotropic); solve the theory `ode` to a long time instead."
            )
        _refuse_endless_growth(network, algorithm)

    @classmethod
    def remarks(cls, predicted: Trajectory) -> list[str]:
        """Say whether the fixed point is stable, and what finding it took."""
        solver = predicted.metadata["solver"]
        return [
            stability_in_words(predicted.metadata),
            f"residual {solver['residual']:.2g} after {solver['evaluations']} evaluations",
        ]

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
        return self._ode.derivative(data_model, network, algorithm, state, time=time)

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
        start = start.to(dtype=torch.float64, device="cpu")
        problem = self._ode.problem(data_model, network, algorithm, start)
        assert isinstance(problem, Problem)
        equations = Equations(problem, self._ode.integrators, self._limit)
        found = self._found(equations, self._coordinates(data_model, start), start)
        result: Trajectory | None = None
        if np.isfinite(found.residual):
            at = self._ode.solve(data_model, network, algorithm, times=[0.0], initial=found.state)
            about = self._about(equations, found)
            result = Trajectory(np.array([np.inf]), at.curves, "theory", at.errors, about)
        if not found.converged:
            reason, status = found.why
            raise ConvergenceError(
                f"the theory `state-evolution` stopped at the residual {found.residual:.3g} after "
                f"{equations.count} evaluations: {reason}.",
                result,
                status,
            )
        assert result is not None
        return result

    def _coordinates(self, mixture: IsotropicMixture, start: OrderParameters) -> Coordinates:
        if self._reduced:
            return ReducedXOR(mixture, start)
        if self._method == "damped":
            return Overlaps(start)
        return Weights(mixture.mean_overlaps, start)

    def _found(
        self, equations: Equations, coordinates: Coordinates, start: OrderParameters
    ) -> Found:
        if self._method == "flow":
            return flowing(equations, start, self._tolerance)
        if self._method == "newton" and not self._reduced:
            return polished(equations, start, self._tolerance)
        x, field = coordinates.flat(start), Field(equations, coordinates)
        root: Root
        if self._method == "newton":
            root = newton(field, x, self._tolerance)
        elif self._method == "anderson":
            root = anderson(field, x, self._damping, self._tolerance)
        else:
            root = damped(field, x, self._damping, self._tolerance)
        found = plain(coordinates.state(root.x), root.residual, root.converged)
        if equations.left <= 0:
            why = "it took all that are allowed; raise `max_evaluations` or `tolerance`"
            found = found._replace(why=(why, "evaluations"))
        return found

    def _about(self, equations: Equations, found: Found) -> dict[str, Any]:
        about: dict[str, Any] = {
            "theory": "state-evolution",
            "solver": {
                "method": self._method,
                "tolerance": self._tolerance,
                "residual": found.residual,
                "evaluations": equations.count,
                "converged": found.converged,
            },
            "stability": "unknown",
            "eigenvalues": [],
        }
        if self._reduced:
            full = Field(equations, Overlaps(found.state))
            about["reduced"] = "ignores SGD noise orthogonal to the means"
            about["full_residual"] = full(full.coordinates.flat(found.state)).residual
            return about
        about["solver"]["asymmetry"] = found.asymmetry
        groups = [np.flatnonzero(found.group == g).tolist() for g in range(found.group.max() + 1)]
        about["merged_units"] = [group for group in groups if len(group) > 1]
        about["vanished_units"] = np.flatnonzero(found.gone).tolist()
        about["left_saddles"] = found.left_saddles
        verdict = found.verdict or stability_of(equations, found)
        about["stability"], about["eigenvalues"] = verdict.name, verdict.rates
        about["marginal"] = verdict.marginal
        return about


def _refuse_endless_growth(network: Network, algorithm: OnlineSGD) -> None:
    """Refuse what has no fixed point: d(Q_kk - v_k²)/dt is the noise alone at weight decay 0.

    For units with g(x) = x g'(x), such as ReLU, what drives Q_kk and what drives v_k² cancels in
    this difference, biases included; the noise is positive as long as the unit and the error are.
    """
    if algorithm.weight_decay > 0 or not algorithm.train_readout:
        return
    if not isinstance(network, TwoLayerNetwork):
        return
    activation = network.activation
    zero = float(activation(torch.zeros((), dtype=torch.float64)))
    if activation.slopes and set(activation.kinks) <= {0.0} and zero == 0:
        raise IncompatibleError(
            "at weight decay 0 a network of such units, g(x) = x g'(x), has no fixed point: "
            "Q_kk - v_k² grows for ever by SGD noise; give a `weight_decay` above 0, or solve the "
            "theory `ode` to a finite time."
        )
