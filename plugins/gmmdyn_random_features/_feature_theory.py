"""What the theories of random features share: what they refuse."""

from __future__ import annotations

import abc
from typing import ClassVar, final

from gmmdyn import OnlineSGD, OrderParameters
from gmmdyn.errors import IncompatibleError
from gmmdyn.interfaces import DataModel, FeatureNetwork, GaussianMixture, Network, Theory


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
