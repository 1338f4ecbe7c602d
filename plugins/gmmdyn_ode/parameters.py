"""The parameters of clusters, network and SGD in the equations, and which experiments have them."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from gmmdyn import Loss, OnlineSGD, Schedule
from gmmdyn.errors import IncompatibleError, ShapeError
from gmmdyn.interfaces import Activation, DataModel, GaussianMixture, Network, TwoLayerNetwork

# The variations of SGD that are in the equations.
DESCRIBES = frozenset(
    {
        "schedule",
        "batch_size",
        "label_noise",
        "train_readout",
        "loss",
    }
)


@dataclass(frozen=True, eq=False, kw_only=True)
class Parameters:
    """The parameters of clusters, network and SGD that are in the equations for any noise.

    Their meaning and shapes are those of `Problem`. A tensor that can have a batch shape says how
    many dimensions it has beyond it.
    """

    inverse_dim: Tensor = field(metadata={"dims": 0})
    priors: Tensor = field(metadata={"dims": 1})
    knots: Tensor = field(metadata={"dims": 1})
    rates: Tensor = field(metadata={"dims": 1})
    weight_decay: Tensor = field(metadata={"dims": 0})
    readout_learns: Tensor = field(metadata={"dims": 0})
    batch_size: Tensor = field(metadata={"dims": 0})
    label_noise: Tensor = field(metadata={"dims": 0})
    labels: Tensor
    activation: Activation
    loss: Loss

    def _replace(self, **changes: Any) -> Self:
        """Return a copy with other values of some attributes."""
        return replace(self, **changes)

    def rate(self, time: Tensor | float) -> Tensor:
        r"""Return $\eta(t)$, linear between the knots and constant beyond them.

        Args:
            time: t, shape `()` or that of the batch.

        Returns:
            The rates, of the batch shape.
        """
        knots, rates = self.knots, self.rates
        count = knots.shape[-1]
        if count == 1:
            return rates[..., 0]
        t = torch.as_tensor(time, dtype=torch.float64, device=knots.device).unsqueeze(-1)
        right = (knots <= t).sum(-1, keepdim=True).clamp(1, count - 1)
        shape = np.broadcast_shapes(knots.shape, rates.shape, (*t.shape[:-1], count))
        knots, rates = knots.expand(shape), rates.expand(shape)
        right = right.expand(*shape[:-1], 1)
        start, stop = knots.gather(-1, right - 1), knots.gather(-1, right)
        weight = ((t - start) / (stop - start)).clamp(0, 1)
        return torch.lerp(rates.gather(-1, right - 1), rates.gather(-1, right), weight).squeeze(-1)


def parameters_of(
    mixture: GaussianMixture, network: TwoLayerNetwork, algorithm: OnlineSGD
) -> dict[str, Any]:
    """Return the `Parameters` of an experiment by name.

    Args:
        mixture: the mixture.
        network: the network.
        algorithm: the learning algorithm.

    Returns:
        Their values, on the CPU and without batch shape.
    """
    schedule = algorithm.learning_rate
    if not isinstance(schedule, Schedule):
        schedule = Schedule([0.0], [schedule])
    numbers = {
        "inverse_dim": 1 / mixture.dim,
        "knots": schedule.times,
        "rates": schedule.rates,
        "weight_decay": algorithm.weight_decay,
        "readout_learns": float(algorithm.train_readout),
        "batch_size": float(algorithm.batch_size),
        "label_noise": algorithm.label_noise,
    }
    return {
        **{name: torch.tensor(value, dtype=torch.float64) for name, value in numbers.items()},
        "priors": mixture.priors.double().cpu(),
        "labels": mixture.labels.double().cpu(),
        "activation": network.activation,
        "loss": algorithm.loss_function,
    }


def described(
    data_model: DataModel, network: Network, algorithm: OnlineSGD
) -> tuple[GaussianMixture, TwoLayerNetwork]:
    """Return the mixture and the network of an experiment that the equations describe.

    Args:
        data_model: the data model.
        network: the network.
        algorithm: the learning algorithm.

    Returns:
        The mixture and the network.

    Raises:
        IncompatibleError: naming the assumption that fails.
        ShapeError: if the input dimensions differ.
    """
    reason = algorithm.undescribed(DESCRIBES)
    if reason is not None:
        raise IncompatibleError(f"the theory `ode` {reason}.")
    if not isinstance(network, TwoLayerNetwork):
        raise IncompatibleError(
            "the theory `ode` describes two-layer networks with few hidden units, and "
            f"{type(network).__name__} is no TwoLayerNetwork."
        )
    if not isinstance(data_model, GaussianMixture):
        raise IncompatibleError(
            "the theory `ode` describes Gaussian mixtures, and "
            f"{type(data_model).__name__} is no GaussianMixture; simulate it instead."
        )
    obstacle = algorithm.loss_function.obstacle(data_model.labels)
    if obstacle is not None:
        raise IncompatibleError(f"the theory `ode`: {obstacle}")
    outputs = tuple(data_model.labels.shape[1:])
    if tuple(network.readout.shape[1:]) != outputs:
        raise ShapeError(
            f"the readout has shape {tuple(network.readout.shape)} but the labels of the mixture "
            f"have shape {tuple(data_model.labels.shape)}; give a readout of shape "
            f"{(network.hidden, *outputs)}."
        )
    if algorithm.label_noise and outputs and data_model.cluster_classes is None:
        raise IncompatibleError(
            "label noise takes another class at random, and these labels are no classes; leave "
            "`label_noise` out or give one-hot labels."
        )
    if network.dim != data_model.dim:
        raise ShapeError(
            f"the network has input dimension {network.dim} but the mixture has "
            f"{data_model.dim}; give both the same `dim`."
        )
    return data_model, network
