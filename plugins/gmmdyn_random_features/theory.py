"""What the theories of random features share, and the theory `random-features` itself."""

from __future__ import annotations

import abc
from collections.abc import Sequence
from typing import ClassVar, final

import numpy as np

from gmmdyn import OnlineSGD, OrderParameters, Trajectory, checks
from gmmdyn.errors import IncompatibleError
from gmmdyn.interfaces import DataModel, FeatureNetwork, GaussianMixture, Network, Theory
from gmmdyn_random_features.readout import METHODS, Readout, optimal_readout
from gmmdyn_random_features.statistics import ORDERS, feature_statistics


class FeatureTheory(Theory, abc.ABC):
    """A prediction for a readout of fixed features of a Gaussian mixture.

    Attributes:
        name: under which it is registered, for messages.
    """

    name: ClassVar[str]

    @final
    def parts(
        self,
        data_model: DataModel,
        network: Network,
        algorithm: OnlineSGD,
        initial: OrderParameters | None,
    ) -> tuple[GaussianMixture, FeatureNetwork]:
        """Check what `solve` was given.

        Args:
            data_model: the data model.
            network: the network.
            algorithm: the learning algorithm.
            initial: must be None.

        Returns:
            The mixture and the network.

        Raises:
            IncompatibleError: as `check`, and if there is a start in order parameters.
        """
        self.check(data_model, network, algorithm)
        if initial is not None:
            raise self._no_order_parameters()
        return self.feature_parts(data_model, network)

    @final
    def feature_parts(
        self, data_model: DataModel, network: Network
    ) -> tuple[GaussianMixture, FeatureNetwork]:
        """Refuse a data model or network that is not for random features.

        Args:
            data_model: the data model.
            network: the network.

        Returns:
            Both.

        Raises:
            IncompatibleError: naming what is wrong.
        """
        if not isinstance(network, FeatureNetwork):
            raise IncompatibleError(
                f"the theory `{self.name}` describes a readout of fixed features and not a "
                f"{type(network).__name__}; take the network `random-features`."
            )
        if not isinstance(data_model, GaussianMixture):
            raise IncompatibleError(
                f"the theory `{self.name}` describes Gaussian mixtures and not "
                f"{type(data_model).__name__}."
            )
        return data_model, network

    @final
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
        raise self._no_order_parameters()

    def _no_order_parameters(self) -> IncompatibleError:
        return IncompatibleError(
            f"the theory `{self.name}` has no order parameters Q, R and v; it starts from the "
            "readout of the network, so leave `initial` out."
        )


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
