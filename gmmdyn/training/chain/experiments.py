"""Experiments whose chains move side by side: what they share, and their numbers as arrays."""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from gmmdyn.algorithm import OnlineSGD
from gmmdyn.errors import IncompatibleError
from gmmdyn.interfaces import DataModel, IsotropicMixture, Network, TwoLayerNetwork
from gmmdyn.training.chain.coordinates import axes_of
from gmmdyn.training.rule.rule import Functions, functions_of
from gmmdyn.training.threads import one_torch_thread


class ChainExperiment(NamedTuple):
    """One experiment that a chain describes.

    Attributes:
        mixture: where samples come from.
        network: at its initial weights.
        algorithm: how it learns.
        functions: activation, its derivative, and the error signal.
    """

    mixture: IsotropicMixture
    network: TwoLayerNetwork
    algorithm: OnlineSGD
    functions: Functions

    @classmethod
    def of(cls, data_model: DataModel, network: Network, algorithm: OnlineSGD) -> ChainExperiment:
        """Return an experiment that has no obstacle.

        Args:
            data_model: where samples come from.
            network: at its initial weights.
            algorithm: how it learns.

        Returns:
            The experiment.
        """
        if not isinstance(data_model, IsotropicMixture) or not isinstance(network, TwoLayerNetwork):
            raise AssertionError("the engine refuses such experiments")
        functions = functions_of(network.activation, algorithm.loss_function)
        if functions is None:
            raise AssertionError("the engine refuses such activations and losses")
        return cls(data_model, network, algorithm, functions)

    @property
    def kind(self) -> Hashable:
        """What experiments have in common that one engine can run; they differ in numbers only."""
        with one_torch_thread():
            clusters, rank = axes_of(self.mixture.means)[0].shape
        hidden, dim = self.network.first_layer.shape
        biased = self.network.bias is not None
        return dim, hidden, self.network.outputs, clusters, rank, biased, self.functions


def same_kind(experiments: Sequence[ChainExperiment]) -> None:
    """Check that one engine can run some experiments.

    Args:
        experiments: some.

    Raises:
        IncompatibleError: if they are not of one kind.
    """
    if len(experiments) > 1 and len({one.kind for one in experiments}) > 1:
        raise IncompatibleError(
            "experiments that run together in the chain engine differ in numbers only; give them "
            "the same dimension, units, clusters, rank of the means, bias, activation and loss."
        )


def parameters_of(experiments: Sequence[ChainExperiment]) -> tuple[Tensor, Tensor, Tensor]:
    """Return the numbers of some experiments.

    Args:
        experiments: P of one kind.

    Returns:
        Sigma, weight decay, probability of a wrong label and whether the readout learns, shape
        `(P, 4)`; labels of the clusters, `(P, C, O)`, and their cumulative priors, `(P, C)`;
        float64.
    """
    numbers = [
        [
            math.sqrt(one.mixture.variance),
            one.algorithm.weight_decay,
            one.algorithm.label_noise,
            float(one.algorithm.train_readout),
        ]
        for one in experiments
    ]
    labels = torch.stack([one.mixture.labels.double().cpu() for one in experiments])
    labels = labels.view(*labels.shape[:2], -1)
    priors = torch.stack([one.mixture.priors.double().cpu() for one in experiments])
    return torch.tensor(numbers, dtype=torch.float64), labels, priors.cumsum(1)
