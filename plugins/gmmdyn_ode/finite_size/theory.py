"""The theory `finite-size`: means to order 1/D and how single networks fluctuate."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, final

import numpy as np

from gmmdyn import OnlineSGD, OrderParameters, Trajectory, checks
from gmmdyn.interfaces import DataModel, Integrator, Network, Theory
from gmmdyn_ode.finite_size.limit import Limit, check_limit
from gmmdyn_ode.finite_size.predict import Expanded
from gmmdyn_ode.solver import increasing
from gmmdyn_ode.theory import ODE


@final
class FiniteSize(Theory):
    r"""Networks of finite D: the limit, the mean to order 1/D, and the Gaussian around it.

    For isotropic mixtures with $|\mu_\alpha|^2 \sim D$, any activation, the square and the logistic
    loss, biases, frozen readouts, label noise and schedules; samples one by one. The curves are
    means over replicas; `trajectory.spread` has the standard deviations of single replicas,
    `trajectory.covariance` how they are correlated in time. Both are of the population's errors:
    what is measured on a test set varies more.

    While a saddle is left, deviations grow until they are not Gaussian. The metadata say until when
    they are (`gaussian_until`), and have D_c at each time (`critical_dim`): the square of the shift
    of the mean pmse over its variance, times D, where fluctuations are small if D is ten times as
    large. From then on the curves are those of an ensemble (`ensemble`), and
    `trajectory.quantile` is of its members.

    Args:
        dim: D to predict for, at least 2; that of the network by default.
        integrator: as of the theory `ode`; it must be smooth.
        members: of the ensemble, at least 2; one more if odd.
        seed: of the draws of the ensemble.

    Raises:
        RangeError: if an argument is out of range.

    References:
        Sollich (1994); Barber, Sollich, Saad (1996); Leen, Schottky, Saad, Physical Review E 59
        (1999), for students and teachers; here for mixtures: docs, "Finite size".
    """

    describes: ClassVar[frozenset[str]] = frozenset(
        {"schedule", "label_noise", "train_readout", "loss=logistic"}
    )

    def __init__(
        self,
        dim: int | None = None,
        integrator: str | Integrator = "auto",
        members: int = 200,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self._dim = None if dim is None else checks.whole("dim", dim, at_least=2)
        self._ode = ODE(integrator=integrator)
        count = checks.whole("members", members, at_least=2)
        self._members = count + count % 2
        self._seed = checks.whole("seed", seed, at_least=0)

    def check(self, data_model: DataModel, network: Network, algorithm: OnlineSGD) -> None:
        """Say which assumption fails; see `Theory.check`."""
        check_limit(self._ode, data_model, network, algorithm)

    def expand(
        self,
        data_model: DataModel,
        network: Network,
        algorithm: OnlineSGD,
        *,
        times: Sequence[float] | np.ndarray,
        initial: OrderParameters | None = None,
    ) -> Expanded:
        """Return all that does not depend on D: one expansion serves every D.

        Args:
            data_model: as of `solve`.
            network: as of `solve`.
            algorithm: as of `solve`.
            times: as of `solve`.
            initial: as of `solve`.

        Returns:
            The expansion; `expanded.predict(dim, members, seed)` is the trajectory at one D.

        Raises:
            IncompatibleError: as `check`.
            ConvergenceError: if the solver of the limit gives up.
        """
        self.check(data_model, network, algorithm)
        grid = increasing(times).numpy()
        limit = Limit.of(self._ode, data_model, network, algorithm, initial)
        return Expanded.at(limit, grid)

    def solve(
        self,
        data_model: DataModel,
        network: Network,
        algorithm: OnlineSGD,
        *,
        times: Sequence[float] | np.ndarray,
        initial: OrderParameters | None = None,
    ) -> Trajectory:
        """Predict means and fluctuations; see `Theory.solve`."""
        expanded = self.expand(data_model, network, algorithm, times=times, initial=initial)
        return expanded.predict(self._dim or data_model.dim, self._members, self._seed)

    def derivative(
        self,
        data_model: DataModel,
        network: Network,
        algorithm: OnlineSGD,
        state: OrderParameters | None = None,
        *,
        time: float = 0.0,
    ) -> OrderParameters:
        """Return the right-hand side of the limit; see `Theory.derivative`."""
        return self._ode.derivative(data_model, network, algorithm, state, time=time)
