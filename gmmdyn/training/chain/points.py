"""Experiments whose chains move side by side: what they share, and their numbers as arrays."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from gmmdyn.algorithm import OnlineSGD
from gmmdyn.errors import IncompatibleError
from gmmdyn.interfaces import DataModel, IsotropicMixture, Network, TwoLayerNetwork
from gmmdyn.training.chain.coordinates import axes_of
from gmmdyn.training.compiled.scalars import scalar_functions_of
from gmmdyn.training.threads import one_torch_thread


class Point(NamedTuple):
    """One experiment: a point in the space of parameters.

    Attributes:
        mixture: where samples come from.
        network: at its initial weights.
        algorithm: how it learns.
        scalars: activation, its derivative, and the error signal of output and label.
    """

    mixture: IsotropicMixture
    network: TwoLayerNetwork
    algorithm: OnlineSGD
    scalars: tuple[Callable[..., float], ...]

    @classmethod
    def of(cls, data_model: DataModel, network: Network, algorithm: OnlineSGD) -> Point:
        """Return an experiment that has no obstacle.

        Args:
            data_model: where samples come from.
            network: at its initial weights.
            algorithm: how it learns.

        Returns:
            The point.
        """
        if not isinstance(data_model, IsotropicMixture) or not isinstance(network, TwoLayerNetwork):
            raise AssertionError("the engine refuses such experiments")
        functions = scalar_functions_of(network.activation).functions
        if functions is None:
            raise AssertionError("the engine refuses such activations")
        signal = algorithm.loss_function.scalar_signal()
        if signal is None:
            raise AssertionError("the engine refuses such losses")
        return cls(data_model, network, algorithm, (*functions, signal))

    @property
    def kind(self) -> Hashable:
        """What experiments have in common that one engine can run; they differ in numbers only."""
        with one_torch_thread():
            clusters, rank = axes_of(self.mixture.means)[0].shape
        hidden, dim = self.network.first_layer.shape
        biased = self.network.bias is not None
        return dim, hidden, clusters, rank, biased, self.scalars, self.algorithm.loss


def same_kind(points: Sequence[Point]) -> None:
    """Check that one engine can run some experiments.

    Args:
        points: the experiments.

    Raises:
        IncompatibleError: if they are not of one kind.
    """
    if len(points) > 1 and len({point.kind for point in points}) > 1:
        raise IncompatibleError(
            "experiments that run together in the chain engine differ in numbers only; give them "
            "the same dimension, units, clusters, rank of the means, bias, activation and loss."
        )


def parameters_of(points: Sequence[Point]) -> tuple[Tensor, Tensor, Tensor]:
    """Return the numbers of some experiments.

    Args:
        points: P experiments of one kind.

    Returns:
        Sigma, weight decay, probability of a wrong label and whether the readout learns, shape
        `(P, 4)`; labels of the clusters and their cumulative priors, shapes `(P, C)`; float64.
    """
    numbers = [
        [
            math.sqrt(point.mixture.variance),
            point.algorithm.weight_decay,
            point.algorithm.label_noise,
            float(point.algorithm.train_readout),
        ]
        for point in points
    ]
    labels = torch.stack([point.mixture.labels.double().cpu() for point in points])
    priors = torch.stack([point.mixture.priors.double().cpu() for point in points])
    return torch.tensor(numbers, dtype=torch.float64), labels, priors.cumsum(1)
