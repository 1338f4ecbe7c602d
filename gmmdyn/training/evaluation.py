"""The order parameters of two-layer networks, and their errors on fresh test sets."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from gmmdyn.algorithm.losses import SQUARE, Loss
from gmmdyn.interfaces import Activation, DataModel, GaussianMixture
from gmmdyn.linalg import covariance_factor
from gmmdyn.trajectory.order_parameters import OrderParameters

# Local fields drawn at once on a GPU.
_GROUP_NUMBERS = 2**26


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
    """Errors on a test set, or on one for each of some networks.

    Attributes:
        pmse: mean of ½(y − φ)², whatever the loss; shape `(...)`.
        classification_error: share of points with yφ < 0, and half of those with φ = 0.
        tie_rate: share of points with φ = 0.
        loss: mean of ℓ.
    """

    pmse: np.ndarray
    classification_error: np.ndarray
    tie_rate: np.ndarray
    loss: np.ndarray


def misjudged(output: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Judge outputs by their sign.

    Args:
        output: φ, any shape.
        labels: y, −1 or +1, of a shape that broadcasts to it.

    Returns:
        1 where yφ < 0 and ½ where φ = 0; and 1 where φ = 0. Elsewhere both are 0.
    """
    tie = (output == 0).to(output.dtype)
    # The sign, since a product of small numbers may be rounded to 0.
    return (output.sign() == -labels).to(output.dtype) + 0.5 * tie, tie


def errors_from_fields(
    state: OrderParameters,
    labels: Tensor,
    priors: Tensor,
    activation: Activation,
    size: int,
    generator: torch.Generator,
    loss: Loss = SQUARE,
) -> TestErrors:
    """Test some networks on fresh points of a Gaussian mixture, drawn as local fields.

    In each cluster the local fields of a fresh input are exactly Gaussian whatever the weights, so
    drawing K fields is drawing a test input, at 1/D of the cost; every replica and every recording
    time can have a test set of its own. Clusters get their share of points (at least 2).

    Args:
        state: of networks, shapes `(..., K)` and so on, with `covariance`.
        labels: of the clusters, shape `(C,)`.
        priors: of the clusters, shape `(C,)`.
        activation: of the hidden units.
        size: of each test set.
        generator: the source of randomness, on the device of the state.
        loss: ℓ.

    Returns:
        The errors, each of shape `(...)`.
    """
    if state.covariance is None:
        raise AssertionError("the mixture measures the covariance of the fields")
    lead, hidden = state.v.shape[:-1], state.v.shape[-1]
    factor = covariance_factor(state.covariance).expand(*lead, len(labels), hidden, hidden)
    sums = state.v.new_zeros(len(TestErrors._fields), *lead)
    for cluster, (prior, label) in enumerate(zip(priors.tolist(), labels.tolist(), strict=True)):
        if prior == 0:
            continue
        shape = *lead, max(2, round(prior * size)), hidden
        z = torch.randn(shape, generator=generator, dtype=state.v.dtype, device=state.v.device)
        fields = state.field_mean[..., cluster, None, :] + z @ factor[..., cluster, :, :]
        output = (activation(fields) @ state.v.unsqueeze(-1)).squeeze(-1)
        y = output.new_tensor(label)
        pmse = SQUARE.value(output, y).mean(-1)
        wrong, tie = (part.mean(-1) for part in misjudged(output, y))
        mean_loss = pmse if loss.quadratic else loss.value(output, y).mean(-1)
        sums += prior * torch.stack([pmse, wrong, tie, mean_loss])
    return TestErrors(*array(sums))


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
    sums = [0.0] * len(TestErrors._fields)
    left = size
    while left:
        count = min(left, max(1, 2**22 // data_model.dim))
        batch = data_model.sample(count, generator, first_layer.dtype)
        fields = batch.inputs @ first_layer.mT / data_model.dim**0.5
        if bias is not None:
            fields = fields + bias
        output = activation(fields) @ readout.to(fields.dtype)
        parts = (
            SQUARE.value(output, batch.labels),
            *misjudged(output, batch.labels),
            loss.value(output, batch.labels),
        )
        sums = [total + float(part.sum()) for total, part in zip(sums, parts, strict=True)]
        left -= count
    return TestErrors(*(np.array(total / size) for total in sums))


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
    if isinstance(data_model, GaussianMixture):
        states = data_model.order_parameters(*weights)
        return measure_order_parameters(data_model, activation, states, seeds, test_size, loss)
    curves = {"v": array(weights.readout)}
    if weights.bias is not None:
        curves["b"] = array(weights.bias)
    curves["Q"] = array(weights.first_layer @ weights.first_layer.mT / data_model.dim)
    errors = np.full((len(TestErrors._fields), len(seeds)), np.nan)
    for index, seed in enumerate(seeds):
        one = weights.of(index)
        if bool(torch.isfinite(one.first_layer.sum() + one.readout.sum())):
            generator = torch.Generator(device=one.first_layer.device).manual_seed(seed)
            errors[:, index] = errors_from_inputs(
                data_model, *one, activation, test_size, generator, loss
            )
    return curves | _curves_of(errors, loss)


def measure_order_parameters(
    mixture: GaussianMixture,
    activation: Activation,
    states: OrderParameters,
    seeds: Sequence[int],
    test_size: int,
    loss: Loss = SQUARE,
) -> dict[str, np.ndarray]:
    """Measure the errors of networks that are known by their order parameters.

    On a CPU the test set of each network depends on its own seed alone. On a GPU they are drawn
    together, from the first of the seeds.

    Args:
        mixture: what the networks learn.
        activation: of the hidden units, on the device of the states.
        states: of N networks, shapes `(N, ...)`, with `covariance`.
        seeds: of their test sets, N.
        test_size: points in each test set.
        loss: ℓ; its mean is a curve of its own unless it is the square loss.

    Returns:
        Curves of a trajectory by name, each of shape `(N, ...)`.
    """
    curves = {"Q": array(states.Q), "R": array(states.R), "v": array(states.v)}
    if states.b is not None:
        curves["b"] = array(states.b)
    device, count = states.v.device, len(seeds)
    labels, priors = mixture.labels.cpu(), mixture.priors.cpu()
    together = 1
    if device.type != "cpu":
        together = max(1, _GROUP_NUMBERS // (test_size * states.v.shape[-1]))
    generator = torch.Generator(device).manual_seed(seeds[0])
    finite = torch.isfinite(states.Q.sum((-1, -2)) + states.field_mean.sum((-1, -2)))
    finite &= torch.isfinite(states.v.sum(-1))
    if states.covariance is not None:
        finite &= torch.isfinite(states.covariance.sum((-1, -2, -3)))
    usable = finite.nonzero()[:, 0]
    errors = np.full((len(TestErrors._fields), count), np.nan)
    for first in range(0, len(usable), together):
        some = usable[first : first + together]
        if device.type == "cpu":
            generator.manual_seed(seeds[int(some)])
        errors[:, some.cpu().numpy()] = errors_from_fields(
            states.of(some), labels, priors, activation, test_size, generator, loss
        )
    return curves | _curves_of(errors, loss)


def _curves_of(errors: np.ndarray, loss: Loss) -> dict[str, np.ndarray]:
    """Return errors, in the order of `TestErrors`, by the names of their curves."""
    names = TestErrors._fields[: -1 if loss.quadratic else None]
    return dict(zip(names, errors, strict=False))


def array(tensor: Tensor) -> np.ndarray:
    """Return a tensor as a float64 array.

    Args:
        tensor: any.

    Returns:
        A copy on the CPU, outside of any graph.
    """
    return np.asarray(tensor.detach().double().cpu().numpy())
