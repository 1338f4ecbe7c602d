"""Networks whose learning a theory can follow."""

from __future__ import annotations

import abc
import math
from collections.abc import Sequence
from typing import Any, final

from torch import Tensor

from gmmdyn.algorithm import OnlineSGD
from gmmdyn.interfaces.activation import Activation
from gmmdyn.interfaces.component import Component
from gmmdyn.interfaces.data_model import GaussianMixture
from gmmdyn.order_parameters import OrderParameters


class Network(Component, abc.ABC):
    """A trainable function of the inputs."""

    @property
    @abc.abstractmethod
    def dim(self) -> int:
        """The input dimension `D`."""

    @abc.abstractmethod
    def forward(self, inputs: Tensor) -> Tensor:
        """Predict labels.

        Args:
            inputs: shape `(B, D)`.

        Returns:
            Raw outputs, shape `(B,)`; the predicted class is their sign, and an output of
            exactly 0 is an error whatever the label.
        """

    @abc.abstractmethod
    def order_parameters(self, mixture: GaussianMixture) -> OrderParameters:
        """Measure the order parameters of the present weights.

        Args:
            mixture: the mixture to measure on.

        Returns:
            Order parameters with no leading batch shape, detached from the graph.

        Raises:
            ShapeError: if the mixture has another input dimension.
        """

    @abc.abstractmethod
    def parameter_groups(self, algorithm: OnlineSGD) -> Sequence[dict[str, Any]]:
        """Scale the rates of each layer as the theory assumes.

        Args:
            algorithm: the rates of the theory.

        Returns:
            Groups for `torch.optim.SGD` on the loss ½Δ², each with `params`, `lr` and
            `weight_decay`.
        """


class TwoLayerNetwork(Network):
    r"""A network $\phi(x) = \sum_k v_k\, g(w_k \cdot x/\sqrt{D} + b_k)$: the ODEs' own."""

    @property
    @abc.abstractmethod
    def activation(self) -> Activation:
        """The nonlinearity of the hidden units."""

    @property
    @abc.abstractmethod
    def first_layer(self) -> Tensor:
        """First-layer weights $w_k$, shape `(K, D)`."""

    @property
    @abc.abstractmethod
    def readout(self) -> Tensor:
        """Second-layer weights $v_k$, shape `(K,)`."""

    @property
    @abc.abstractmethod
    def bias(self) -> Tensor | None:
        """First-layer bias $b_k$, shape `(K,)`, or None."""

    @property
    @final
    def dim(self) -> int:
        """The input dimension `D`."""
        return int(self.first_layer.shape[1])

    @property
    @final
    def hidden(self) -> int:
        """The number of hidden units `K`."""
        return int(self.first_layer.shape[0])

    @final  # type: ignore[misc] # torch annotates an attribute of this name
    def forward(self, inputs: Tensor) -> Tensor:
        """Predict labels; see `Network.forward`."""
        fields = inputs @ self.first_layer.T / math.sqrt(self.dim)
        if self.bias is not None:
            fields = fields + self.bias
        outputs: Tensor = self.activation(fields) @ self.readout
        return outputs

    @final
    def order_parameters(self, mixture: GaussianMixture) -> OrderParameters:
        """Measure the order parameters; see `Network.order_parameters`."""
        return mixture.order_parameters(self.first_layer, self.readout, self.bias)

    @final
    def parameter_groups(self, algorithm: OnlineSGD) -> Sequence[dict[str, Any]]:
        r"""Return $\eta$ for the first layer and $\eta/D$ for readout and bias.

        One step of `torch.optim.SGD` with these groups on one sample is one update of the theory:
        every weight decays by the factor $1 - \eta\kappa/D$.
        """
        rate, decay = algorithm.learning_rate, algorithm.weight_decay
        slow = {"lr": rate / self.dim, "weight_decay": decay}
        groups = [{"params": [self.first_layer], "lr": rate, "weight_decay": decay / self.dim}]
        if self.bias is not None:
            groups.append({"params": [self.bias], **slow})
        if algorithm.train_readout:
            groups.append({"params": [self.readout], **slow})
        return groups
