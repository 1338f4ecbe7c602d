"""The parts of an experiment that every form of the equations describes, and their numbers."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from gmmdyn import OnlineSGD, Schedule
from gmmdyn.errors import IncompatibleError, ShapeError
from gmmdyn.interfaces import DataModel, GaussianMixture, Network, TwoLayerNetwork

# The variations of SGD that are in the equations.
DESCRIBES = frozenset({"schedule", "batch_size", "label_noise", "train_readout", "loss"})


def parts_of(
    data_model: DataModel, network: Network, algorithm: OnlineSGD
) -> tuple[GaussianMixture, TwoLayerNetwork]:
    """Return the parts of an experiment, or say which assumption of all equations fails.

    Args:
        data_model: the data model.
        network: the network.
        algorithm: the learning algorithm.

    Returns:
        The mixture and the network.

    Raises:
        IncompatibleError: naming the assumption.
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
    if network.dim != data_model.dim:
        raise ShapeError(
            f"the network has input dimension {network.dim} but the mixture has "
            f"{data_model.dim}; give both the same `dim`."
        )
    return data_model, network


def settings_of(
    mixture: GaussianMixture, network: TwoLayerNetwork, algorithm: OnlineSGD
) -> dict[str, Any]:
    """Return what every form of the equations depends on, by the names of the attributes.

    Args:
        mixture: the mixture.
        network: the network.
        algorithm: the learning algorithm.

    Returns:
        All attributes of `Problem` but for the modes of the noise and the initial state.
    """
    schedule = algorithm.learning_rate
    if not isinstance(schedule, Schedule):
        schedule = Schedule([0.0], [schedule])
    return {
        "inverse_dim": _number(1 / mixture.dim),
        "priors": mixture.priors.double().cpu(),
        "knots": torch.tensor(schedule.times, dtype=torch.float64),
        "rates": torch.tensor(schedule.rates, dtype=torch.float64),
        "weight_decay": _number(algorithm.weight_decay),
        "readout_learns": _number(float(algorithm.train_readout)),
        "batch_size": _number(float(algorithm.batch_size)),
        "label_noise": _number(algorithm.label_noise),
        "labels": mixture.labels.double().cpu(),
        "activation": network.activation,
        "loss": algorithm.loss_function,
    }


def _number(value: float) -> Tensor:
    return torch.tensor(value, dtype=torch.float64)
