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
from gmmdyn.trajectory.order_parameters import OrderParameters


class Network(Component, abc.ABC):
    """A trainable function of the inputs."""

    @property
    @abc.abstractmethod
    def dim(self) -> int:
        """The input dimension `D`."""

    @property
    def outputs(self) -> int:
        """The number of outputs `O`; 1 unless a network says otherwise."""
        return 1

    @abc.abstractmethod
    def forward(self, inputs: Tensor) -> Tensor:
        """Predict labels.

        Args:
            inputs: shape `(B, D)`.

        Returns:
            Raw outputs, shape `(B,)`; the predicted class is their sign, and an output of
            exactly 0 is half an error whatever the label. Of a network with several `outputs`,
            shape `(B, O)`; the predicted class is the largest.
        """

    @abc.abstractmethod
    def parameter_groups(self, algorithm: OnlineSGD, time: float = 0.0) -> Sequence[dict[str, Any]]:
        """Scale the rates of each layer as the theory assumes.

        Args:
            algorithm: the rates of the theory.
            time: t of the update; it matters where the learning rate follows a schedule.

        Returns:
            Groups for `torch.optim.SGD` on the mean loss of a batch, each with `params`, `lr` and
            `weight_decay`.
        """


class TwoLayerNetwork(Network):
    r"""A network $\phi_o(x) = \sum_k v_{ko}\, g(w_k \cdot x/\sqrt{D} + b_k)$: the ODEs' own.

    With one output $v$ has no axis of outputs.
    """

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
        """Second-layer weights $v$, shape `(K,)`, or `(K, O)` for several outputs."""

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
    def outputs(self) -> int:
        """The number of outputs `O`."""
        return int(self.readout.shape[1]) if self.readout.ndim == 2 else 1

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
        """Measure the order parameters of the present weights.

        Args:
            mixture: the mixture to measure on.

        Returns:
            Order parameters with no leading batch shape, detached from the graph.

        Raises:
            ShapeError: if the mixture has another input dimension.
        """
        return mixture.order_parameters(self.first_layer, self.readout, self.bias)

    @final
    def parameter_groups(self, algorithm: OnlineSGD, time: float = 0.0) -> Sequence[dict[str, Any]]:
        r"""Return $\eta$ for the first layer and $\eta/D$ for readout and bias.

        One step of `torch.optim.SGD` with these groups on one batch is the update of the theory at
        that time: every weight decays by the factor $1 - \eta\kappa/D$.
        """
        rate, decay = float(algorithm.rate(time)), algorithm.weight_decay
        slow = {"lr": rate / self.dim, "weight_decay": decay}
        groups = [{"params": [self.first_layer], "lr": rate, "weight_decay": decay / self.dim}]
        if self.bias is not None:
            groups.append({"params": [self.bias], **slow})
        if algorithm.train_readout:
            groups.append({"params": [self.readout], **slow})
        return groups


class FeatureNetwork(Network):
    r"""A network $\hat y = w \cdot z/\sqrt{P} + b$ on fixed features, of which $w, b$ are trained.

    The features are $z = \psi(F^\top x/\sqrt{D}) - c$ with a projection $F$ that never learns.
    """

    @property
    @abc.abstractmethod
    def activation(self) -> Activation:
        r"""The nonlinearity $\psi$ of the features."""

    @property
    @abc.abstractmethod
    def projection(self) -> Tensor:
        """The projection $F$, shape `(D, P)`."""

    @property
    @abc.abstractmethod
    def centre(self) -> Tensor | None:
        """What is subtracted from the features, $c$, shape `(P,)`, or None."""

    @property
    @abc.abstractmethod
    def readout(self) -> Tensor:
        """The weights $w$, shape `(P,)`."""

    @property
    @abc.abstractmethod
    def bias(self) -> Tensor | None:
        """The intercept $b$, shape `()`, or None."""

    @property
    @final
    def dim(self) -> int:
        """The input dimension `D`."""
        return int(self.projection.shape[0])

    @property
    @final
    def size(self) -> int:
        """The number of features `P`."""
        return int(self.projection.shape[1])

    @final
    def features(self, inputs: Tensor) -> Tensor:
        """Compute the features.

        Args:
            inputs: shape `(B, D)`.

        Returns:
            $z$, shape `(B, P)`.
        """
        # The inputs are scaled, as they have fewer numbers than the fields.
        values: Tensor = self.activation((inputs / math.sqrt(self.dim)) @ self.projection)
        return values if self.centre is None else values - self.centre

    @final  # type: ignore[misc] # torch annotates an attribute of this name
    def forward(self, inputs: Tensor) -> Tensor:
        """Predict labels; see `Network.forward`."""
        outputs = self.features(inputs) @ self.readout / math.sqrt(self.size)
        return outputs if self.bias is None else outputs + self.bias

    @final
    def parameter_groups(self, algorithm: OnlineSGD, time: float = 0.0) -> Sequence[dict[str, Any]]:
        r"""Return $\eta$ for the readout and $\eta/P$ for the intercept, which does not decay.

        One update is $w \leftarrow (1 - \eta\kappa/P)\, w + (\eta/\sqrt{P})\, \Delta\, z$ and
        $b \leftarrow b + (\eta/P)\, \Delta$, so that the output moves by order $\eta$ and
        $\kappa$ is the ridge added to the covariance of the features.
        """
        rate, decay = float(algorithm.rate(time)), algorithm.weight_decay
        groups = [{"params": [self.readout], "lr": rate, "weight_decay": decay / self.size}]
        if self.bias is not None:
            groups.append({"params": [self.bias], "lr": rate / self.size, "weight_decay": 0.0})
        return groups
