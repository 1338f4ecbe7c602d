"""The theory `random-features`: the best readout, which online SGD tends to."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, final

import numpy as np

from gmmdyn import OnlineSGD, OrderParameters, Trajectory, checks
from gmmdyn.errors import IncompatibleError
from gmmdyn.interfaces import DataModel, FeatureNetwork, GaussianMixture, Network, Theory
from gmmdyn_random_features.readout import METHODS, Readout, optimal_readout
from gmmdyn_random_features.statistics import ORDERS, feature_statistics


@final
class RandomFeatures(Theory):
    r"""Errors of the best linear readout of given random features: t = ∞ at a vanishing rate.

    Each cluster is taken for Gaussian in feature space, with its mean and covariance in closed
    form. The weight decay $\kappa$ of the algorithm is the ridge added to the covariance; there is
    an intercept if the network has a bias. The network's weights and the learning rate
    do not matter.

    Args:
        order: covariances of pairs of features to `"first"` order in the correlation of their
            fields, good for large D, or `"exact"`.
        method: `"woodbury"`, `"dense"` or `"auto"`; see `optimal_readout`.

    Raises:
        RangeError: if an argument is unknown.

    References:
        Refinetti et al., ICML 2021, arXiv:2102.11742.
    """

    follows_time: ClassVar[bool] = False

    def __init__(self, order: str = "first", method: str = "auto") -> None:
        super().__init__()
        self._order = checks.choice("order", order, ORDERS)
        self._method = checks.choice("method", method, METHODS)

    def check(self, data_model: DataModel, network: Network, algorithm: OnlineSGD) -> None:
        """Say which assumption fails; see `Theory.check`."""
        refuse("random-features", data_model, network)
        changed = sorted(algorithm.variations & {"loss", "label_noise"})
        if changed:
            raise IncompatibleError(
                f"the theory `random-features` describes the square loss on clean labels; leave "
                f"`{changed[0]}` at its default."
            )

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
        self.check(data_model, network, algorithm)
        refuse_initial("random-features", initial)
        assert isinstance(data_model, GaussianMixture)
        assert isinstance(network, FeatureNetwork)
        best = self.readout(data_model, network, algorithm.weight_decay)
        return Trajectory(
            np.array([np.inf]),
            {
                "pmse": np.array([best.pmse]),
                "classification_error": np.array([best.classification_error]),
            },
            "theory",
            metadata={
                "theory": "random-features",
                "solver": {"order": self._order, "method": self._method},
                "features": network.size,
                "output_means": best.output_means.tolist(),
                "output_variances": best.output_variances.tolist(),
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
        raise no_order_parameters("random-features")


def refuse(name: str, data_model: DataModel, network: Network) -> None:
    """Refuse a data model or network that is not for random features.

    Args:
        name: of the theory, for the message.
        data_model: the data model.
        network: the network.

    Raises:
        IncompatibleError: naming what is wrong.
    """
    if not isinstance(network, FeatureNetwork):
        raise IncompatibleError(
            f"the theory `{name}` describes a readout of fixed features and not a "
            f"{type(network).__name__}; take the network `random-features`."
        )
    if not isinstance(data_model, GaussianMixture):
        raise IncompatibleError(
            f"the theory `{name}` describes Gaussian mixtures and not {type(data_model).__name__}."
        )


def refuse_initial(name: str, initial: OrderParameters | None) -> None:
    """Refuse a start given by order parameters.

    Args:
        name: of the theory, for the message.
        initial: what was given.

    Raises:
        IncompatibleError: if there is one.
    """
    if initial is not None:
        raise no_order_parameters(name)


def no_order_parameters(name: str) -> IncompatibleError:
    """Return the error about order parameters.

    Args:
        name: of the theory, for the message.

    Returns:
        The error.
    """
    return IncompatibleError(
        f"the theory `{name}` has no order parameters Q, R and v; it starts from the readout of "
        "the network, so leave `initial` out."
    )
