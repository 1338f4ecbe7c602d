"""The theory `random-features-dynamics`: the learning curve of a readout of features."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, final

import numpy as np

from gmmdyn import OnlineSGD, OrderParameters, Trajectory, checks
from gmmdyn.errors import ConvergenceError, IncompatibleError
from gmmdyn.interfaces import DataModel, Network
from gmmdyn_random_features.classification import mistakes_at_variance
from gmmdyn_random_features.dynamics import learning_curve, modes
from gmmdyn_random_features.statistics import ORDERS, feature_statistics, to_numpy
from gmmdyn_random_features.theory import FeatureTheory


@final
class RandomFeaturesDynamics(FeatureTheory):
    r"""Errors in the course of online SGD on a readout of given random features.

    The mean of the weights is exact, mode by mode of the second moment of the features; the noise
    of SGD is followed to its level, on average over runs, with corrections of order $1/P$ left
    out. The noise and, for the pmse, the features are taken for Gaussian in each cluster; the
    classification error follows the nonlinearity along the output, and its entry in
    `Trajectory.errors` is what that changed. The curve starts from the readout of the
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

    name: ClassVar[str] = "random-features-dynamics"
    describes: ClassVar[frozenset[str]] = frozenset({"batch_size"})

    def __init__(self, order: str = "exact", max_features: int = 4000) -> None:
        super().__init__()
        self._order = checks.choice("order", order, ORDERS)
        self._limit = checks.whole("max_features", max_features)

    def check(self, data_model: DataModel, network: Network, algorithm: OnlineSGD) -> None:
        """Say which assumption fails; see `Theory.check`."""
        _, features = self.feature_parts(data_model, network)
        size = features.size
        if size > self._limit:
            raise IncompatibleError(
                f"the theory `{self.name}` would diagonalise {size} by {size} matrices; "
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
        mixture, features = self.parts(data_model, network, algorithm, initial)
        grid = np.asarray(times, dtype=np.float64)
        counts = np.round((grid - grid[0]) * mixture.dim).astype(np.int64)
        statistics = feature_statistics(mixture, features)
        found = modes(
            statistics,
            to_numpy(features.readout) / np.sqrt(features.size),
            None if features.bias is None else float(features.bias.detach()),
            algorithm.weight_decay,
            self._order,
        )
        step = float(algorithm.rate(0.0)) / features.size
        with np.errstate(over="ignore", invalid="ignore"):
            curve = learning_curve(found, step, counts, algorithm.batch_size)
        if not np.isfinite(curve.pmse).all():
            raise ConvergenceError(
                "the error grows beyond all bounds at this `learning_rate`; lower it."
            )
        weights = curve.weights @ found.basis.T
        biases = np.zeros(len(grid)) if features.bias is None else weights[:, -1]
        wrong = [
            mistakes_at_variance(statistics, u[: features.size], b, np.maximum(variances, 0))
            for u, b, variances in zip(weights, biases, curve.output_variances, strict=True)
        ]
        error, uncertainty = (np.array(part) @ found.priors for part in zip(*wrong, strict=True))
        return Trajectory(
            grid,
            {
                "pmse": curve.pmse,
                "classification_error": error,
                "tie_rate": curve.tie_rate,
            },
            "theory",
            errors={"classification_error": uncertainty},
            metadata={
                "theory": self.name,
                "solver": {"order": self._order, "max_features": self._limit},
                "features": features.size,
                "output_means": curve.output_means.tolist(),
                "output_variances": curve.output_variances.tolist(),
                "level": curve.level if np.isfinite(curve.level) else None,
            },
        )
