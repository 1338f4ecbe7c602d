"""The theory `random-features-dynamics`: the learning curve of a readout of features."""

from __future__ import annotations

from collections.abc import Sequence
from typing import final

import numpy as np

from gmmdyn import OnlineSGD, OrderParameters, Trajectory, checks
from gmmdyn.errors import ConvergenceError, IncompatibleError
from gmmdyn.interfaces import DataModel, FeatureNetwork, GaussianMixture, Network, Theory
from gmmdyn_random_features.dynamics import learning_curve, modes
from gmmdyn_random_features.statistics import ORDERS, feature_statistics, to_numpy
from gmmdyn_random_features.theory import no_order_parameters, refuse, refuse_initial


@final
class RandomFeaturesDynamics(Theory):
    r"""Errors in the course of online SGD on a readout of given random features.

    The mean of the weights is exact, mode by mode of the second moment of the features; the noise
    of SGD is followed to its level, on average over runs, with corrections of order $1/P$ left
    out. Features are taken for Gaussian in each cluster. The curve starts from the readout of the
    network. It costs a diagonalisation of P by P: seconds at P = 1600.

    Args:
        order: covariances of pairs of features, `"exact"`, or to `"first"` order in the correlation
            of their fields, faster and good for large D.
        max_features: the largest P, at least 1; with more the theory refuses. Memory grows as
            C P², time as C P³.

    Raises:
        RangeError: if an argument is out of range.

    References:
        Paquette, Lee, Pedregosa, Paquette, COLT 2021, arXiv:2102.04396, the Volterra equation;
        here with several clusters, finite P and discrete time.
    """

    def __init__(self, order: str = "exact", max_features: int = 4000) -> None:
        super().__init__()
        self._order = checks.choice("order", order, ORDERS)
        self._limit = checks.whole("max_features", max_features)

    def check(self, data_model: DataModel, network: Network, algorithm: OnlineSGD) -> None:
        """Say which assumption fails; see `Theory.check`."""
        name = "random-features-dynamics"
        refuse(name, data_model, network)
        assert isinstance(network, FeatureNetwork)
        changed = sorted(algorithm.variations - {"batch_size"})
        if changed:
            raise IncompatibleError(
                f"the theory `{name}` describes the square loss on clean labels at one rate; leave "
                f"`{changed[0]}` out."
            )
        if network.size > self._limit:
            raise IncompatibleError(
                f"the theory `{name}` would diagonalise {network.size} by {network.size} matrices; "
                f"take fewer features, raise `max_features` above {self._limit}, or take the "
                "theory `random-features` for the final errors alone."
            )

    def solve(
        self,
        data_model: DataModel,
        network: Network,
        algorithm: OnlineSGD,
        *,
        times: Sequence[float] | np.ndarray,
        initial: OrderParameters | None = None,
    ) -> Trajectory:
        """Predict the learning curve; see `Theory.solve`.

        The metadata have `output_means` and `output_variances`, one row a time and one column a
        cluster, and `level`, where the pmse comes to rest (None if it grows for ever).
        """
        self.check(data_model, network, algorithm)
        refuse_initial("random-features-dynamics", initial)
        assert isinstance(data_model, GaussianMixture)
        assert isinstance(network, FeatureNetwork)
        grid = np.asarray(times, dtype=np.float64)
        counts = np.round((grid - grid[0]) * data_model.dim).astype(np.int64)
        found = modes(
            feature_statistics(data_model, network),
            to_numpy(network.readout) / np.sqrt(network.size),
            None if network.bias is None else float(network.bias.detach()),
            algorithm.weight_decay,
            self._order,
        )
        step = float(algorithm.rate(0.0)) / network.size
        with np.errstate(over="ignore", invalid="ignore"):
            curve = learning_curve(found, step, counts, algorithm.batch_size)
        if not np.isfinite(curve.pmse).all():
            raise ConvergenceError(
                "the error grows beyond all bounds at this `learning_rate`; lower it."
            )
        return Trajectory(
            grid,
            {"pmse": curve.pmse, "classification_error": curve.classification_error},
            "theory",
            metadata={
                "theory": "random-features-dynamics",
                "solver": {"order": self._order, "max_features": self._limit},
                "features": network.size,
                "output_means": curve.output_means.tolist(),
                "output_variances": curve.output_variances.tolist(),
                "level": curve.level if np.isfinite(curve.level) else None,
            },
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
        """Refuse: random features have no order parameters Q, R, v.

        Raises:
            IncompatibleError: always.
        """
        raise no_order_parameters("random-features-dynamics")
