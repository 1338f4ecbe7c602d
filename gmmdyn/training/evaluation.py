"""The order parameters of two-layer networks, and their errors on fresh test sets."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from gmmdyn.interfaces import Activation, DataModel, GaussianMixture
from gmmdyn.linalg import covariance_factor
from gmmdyn.losses import SQUARE, Loss
from gmmdyn.order_parameters import OrderParameters


class Weights(NamedTuple):
    """Weights of some two-layer networks.

    Attributes:
        first_layer: shape `(N, K, D)`, in the dtype of the network.
        readout: shape `(N, K)`, float64.
        bias: shape `(N, K)`, float64, or None.
    """

    first_layer: Tensor
    readout: Tensor
    bias: Tensor | None

    def of(self, index: int) -> Weights:
        """Return those of one network, without the leading axis."""
        bias = None if self.bias is None else self.bias[index]
        return Weights(self.first_layer[index], self.readout[index], bias)


class TestErrors(NamedTuple):
    """Errors on a test set.

    Attributes:
        pmse: mean of ½(y − φ)², whatever the loss.
        classification_error: share of points with yφ ≤ 0.
        loss: mean of ℓ.
    """

    pmse: float
    classification_error: float
    loss: float


def errors_from_fields(
    state: OrderParameters,
    labels: Tensor,
    priors: Tensor,
    activation: Activation,
    size: int,
    generator: torch.Generator,
    loss: Loss = SQUARE,
) -> TestErrors:
    """Test on fresh points of a Gaussian mixture, drawn as local fields.

    In each cluster the local fields of a fresh input are exactly Gaussian whatever the weights, so
    drawing K fields is drawing a test input, at 1/D of the cost; every replica and every recording
    time can have a test set of its own. Clusters get their share of points (at least 2).

    Args:
        state: of one network, with `covariance`.
        labels: of the clusters, shape `(C,)`.
        priors: of the clusters, shape `(C,)`.
        activation: of the hidden units.
        size: of the test set.
        generator: the source of randomness, on the device of the state.
        loss: ℓ.

    Returns:
        The errors.
    """
    if state.covariance is None:
        raise AssertionError("the mixture measures the covariance of the fields")
    factor = covariance_factor(state.covariance).expand(len(labels), -1, -1)
    pmse = torch.zeros((), dtype=state.v.dtype, device=state.v.device)
    wrong, mean_loss = torch.zeros_like(pmse), torch.zeros_like(pmse)
    for cluster, prior in enumerate(priors.tolist()):
        if prior == 0:
            continue
        count = max(2, round(prior * size))
        z = torch.randn(
            count, len(state.v), generator=generator, dtype=state.v.dtype, device=state.v.device
        )
        fields = state.field_mean[cluster] + z @ factor[cluster]
        output = activation(fields) @ state.v
        label = labels[cluster]
        pmse += prior * SQUARE.value(output, label).mean()
        wrong += prior * (label * output <= 0).to(output.dtype).mean()
        mean_loss += prior * loss.value(output, label).mean()
    return TestErrors(float(pmse), float(wrong), float(mean_loss))


def errors_from_inputs(
    data_model: DataModel,
    first_layer: Tensor,
    readout: Tensor,
    bias: Tensor | None,
    activation: Activation,
    size: int,
    generator: torch.Generator,
    loss: Loss = SQUARE,
) -> TestErrors:
    """Test on fresh inputs of any data model.

    Args:
        data_model: where the test set comes from.
        first_layer: of one network, shape `(K, D)`.
        readout: shape `(K,)`.
        bias: shape `(K,)`, or None.
        activation: of the hidden units.
        size: of the test set.
        generator: the source of randomness.
        loss: ℓ.

    Returns:
        The errors.
    """
    sums = [0.0, 0.0, 0.0]
    left = size
    while left:
        count = min(left, max(1, 2**22 // data_model.dim))
        batch = data_model.sample(count, generator, first_layer.dtype)
        fields = batch.inputs @ first_layer.mT / data_model.dim**0.5
        if bias is not None:
            fields = fields + bias
        output = activation(fields) @ readout.to(fields.dtype)
        sums[0] += float(SQUARE.value(output, batch.labels).sum())
        sums[1] += float((batch.labels * output <= 0).sum())
        sums[2] += float(loss.value(output, batch.labels).sum())
        left -= count
    return TestErrors(*(total / size for total in sums))


def measure_weights(
    data_model: DataModel,
    activation: Activation,
    weights: Weights,
    seeds: Sequence[int],
    test_size: int,
    loss: Loss = SQUARE,
) -> dict[str, np.ndarray]:
    """Measure order parameters and errors of some networks.

    Test points are drawn as local fields for a Gaussian mixture, as inputs otherwise.

    Args:
        data_model: what the networks learn.
        activation: of the hidden units.
        weights: of N networks.
        seeds: of their test sets, N.
        test_size: points in each test set.
        loss: ℓ; its mean is a curve of its own unless it is the square loss.

    Returns:
        Curves of a trajectory by name, each of shape `(N, ...)`.
    """
    curves = {"v": array(weights.readout)}
    if weights.bias is not None:
        curves["b"] = array(weights.bias)
    if isinstance(data_model, GaussianMixture):
        state = data_model.order_parameters(*weights)
        curves["Q"], curves["R"] = array(state.Q), array(state.R)
    else:
        curves["Q"] = array(weights.first_layer @ weights.first_layer.mT / data_model.dim)
    errors = []
    for index, seed in enumerate(seeds):
        one = weights.of(index)
        if not bool(torch.isfinite(one.first_layer.sum() + one.readout.sum())):
            errors.append(TestErrors(*[float("nan")] * 3))
            continue
        generator = torch.Generator(device=one.first_layer.device).manual_seed(seed)
        if isinstance(data_model, GaussianMixture):
            found = errors_from_fields(
                data_model.order_parameters(*one),
                data_model.labels,
                data_model.priors,
                activation,
                test_size,
                generator,
                loss,
            )
        else:
            found = errors_from_inputs(data_model, *one, activation, test_size, generator, loss)
        errors.append(found)
    curves["pmse"] = np.array([error.pmse for error in errors])
    curves["classification_error"] = np.array([e.classification_error for e in errors])
    if loss is not SQUARE:
        curves["loss"] = np.array([error.loss for error in errors])
    return curves


def measure_order_parameters(
    mixture: GaussianMixture,
    activation: Activation,
    states: OrderParameters,
    seeds: Sequence[int],
    test_size: int,
    loss: Loss = SQUARE,
) -> dict[str, np.ndarray]:
    """Measure the errors of networks that are known by their order parameters.

    Args:
        mixture: what the networks learn.
        activation: of the hidden units.
        states: of N networks, shapes `(N, ...)`, with `covariance`, on the CPU.
        seeds: of their test sets, N.
        test_size: points in each test set.
        loss: ℓ; its mean is a curve of its own unless it is the square loss.

    Returns:
        Curves of a trajectory by name, each of shape `(N, ...)`.
    """
    curves = {"Q": array(states.Q), "R": array(states.R), "v": array(states.v)}
    if states.b is not None:
        curves["b"] = array(states.b)
    labels, priors = mixture.labels.cpu(), mixture.priors.cpu()
    errors = []
    for index, seed in enumerate(seeds):
        one = states.of(index)
        if not bool(torch.isfinite(one.Q.sum() + one.field_mean.sum() + one.v.sum())):
            errors.append(TestErrors(*[float("nan")] * 3))
            continue
        generator = torch.Generator().manual_seed(seed)
        errors.append(
            errors_from_fields(one, labels, priors, activation, test_size, generator, loss)
        )
    curves["pmse"] = np.array([error.pmse for error in errors])
    curves["classification_error"] = np.array([e.classification_error for e in errors])
    if loss is not SQUARE:
        curves["loss"] = np.array([error.loss for error in errors])
    return curves


def array(tensor: Tensor) -> np.ndarray:
    """Return a tensor as a float64 array.

    Args:
        tensor: any.

    Returns:
        A copy on the CPU, outside of any graph.
    """
    return np.asarray(tensor.detach().double().cpu().numpy())
