"""The theory `random-features`: the best readout, which online SGD tends to."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, final

import numpy as np

from gmmdyn import OnlineSGD, OrderParameters, Trajectory, checks
from gmmdyn.interfaces import DataModel, FeatureNetwork, GaussianMixture, Network
from gmmdyn_random_features._feature_theory import FeatureTheory
from gmmdyn_random_features.readout import METHODS, Readout, optimal_readout
from gmmdyn_random_features.statistics import ORDERS, feature_statistics


@final
class RandomFeatures(FeatureTheory):
    r"""Errors of the best linear readout of given random features: t = ∞ at a vanishing rate.

    The pmse follows from means and covariances of the features in each cluster, in closed form.
    The classification error goes beyond Gaussian outputs; the size of the last term that is known
    is its entry in `Trajectory.errors`. The weight decay $\kappa$ of the algorithm is the ridge
    added to the covariance; there is an intercept if the network has a bias. The network's weights
    and the learning rate do not matter.

    Args:
        order: covariances of pairs of features to `"first"` order in the correlation of their
            fields, good for large D, or `"exact"`.
        method: `"woodbury"`, `"dense"` or `"auto"`; see `optimal_readout`.

    Raises:
        RangeError: if an argument is unknown.

    References:
        Refinetti et al., ICML 2021, arXiv:2102.11742.
    """

    name: ClassVar[str] = "random-features"
    describes: ClassVar[frozenset[str]] = frozenset({"schedule", "batch_size"})
    follows_time: ClassVar[bool] = False

    def __init__(self, order: str = "first", method: str = "auto") -> None:
        super().__init__()
        self._order = checks.choice("order", order, ORDERS)
        self._method = checks.choice("method", method, METHODS)

    def check(self, data_model: DataModel, network: Network, algorithm: OnlineSGD) -> None:
        """Say which assumption fails; see `Theory.check`."""
        self.feature_parts(data_model, network)

    def readout(self, mixture: GaussianMixture, network: FeatureNetwork, ridge: float) -> Readout:
        r"""Return the best readout itself.

        Args:
            mixture: the mixture.
            network: the network, whose weights do not matter.
            ridge: $\kappa$, not negative.

        Returns:
            Weights, errors, and means and variances of the output in each cluster.

        Raises:
            RangeError: if the ridge is negative.
            ShapeError: if mixture and network have different input dimensions.
        """
        return optimal_readout(
            feature_statistics(mixture, network),
            ridge=ridge,
            bias=network.bias is not None,
            order=self._order,
            method=self._method,
        )

    def solve(
        self,
        data_model: DataModel,
        network: Network,
        algorithm: OnlineSGD,
        *,
        times: Sequence[float] | np.ndarray = (np.inf,),
        initial: OrderParameters | None = None,
    ) -> Trajectory:
        """Return the errors at t = ∞; see `Theory.solve`. The times are ignored.

        The metadata have `output_means` and `output_variances` of each cluster.
        """
        mixture, features = self.parts(data_model, network, algorithm, initial)
        best = self.readout(mixture, features, algorithm.weight_decay)
        return Trajectory(
            np.array([np.inf]),
            {
                "pmse": np.array([best.pmse]),
                "classification_error": np.array([best.classification_error]),
            },
            "theory",
            errors={"classification_error": np.array([best.classification_error_se])},
            metadata={
                "theory": self.name,
                "solver": {"order": self._order, "method": self._method},
                "features": features.size,
                "output_means": best.output_means.tolist(),
                "output_variances": best.output_variances.tolist(),
            },
        )
