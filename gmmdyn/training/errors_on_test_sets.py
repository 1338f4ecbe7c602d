"""Errors of networks on fresh test sets."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from gmmdyn.algorithm.losses import SQUARE, Loss
from gmmdyn.gaussian import covariance_factor
from gmmdyn.interfaces import Activation, DataModel, GaussianMixture
from gmmdyn.interfaces.labels import classes_of, outputs_of
from gmmdyn.trajectory.order_parameters import OrderParameters


class TestErrors(NamedTuple):
    """Errors on a test set, or on one for each of some networks.

    Attributes:
        pmse: mean of ½|y − φ|², whatever the loss; shape `(...)`.
        classification_error: share of points with yφ < 0, and half of those with φ = 0; of several
            outputs of points whose largest output is not that of their class.
        tie_rate: share of points with φ = 0; of several outputs with that of the class largest
            together with others.
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


def judge(output: Tensor, label: Tensor, loss: Loss, outputs: int = 1) -> tuple[Tensor, ...]:
    """Return what each point contributes to `TestErrors`, in their order.

    Args:
        output: φ, any shape; the last axis is that of several outputs.
        label: y, of a shape that broadcasts to it.
        loss: ℓ.
        outputs: O. The class that several predict is that of the largest, one at random among equal
            ones; that of a label is its largest entry.

    Returns:
        ½|y − φ|², the probability of a wrong class, whether the right one ties with another, ℓ;
        without the axis of outputs.
    """
    if outputs == 1:
        square = SQUARE.value(output, label)
        value = square if loss.quadratic else loss.value(output, label)
        return square, *misjudged(output, label), value
    square = SQUARE.total(output, label)
    largest = (output == output.amax(-1, keepdim=True)).to(output.dtype)
    count = largest.sum(-1)
    right = largest.gather(-1, label.argmax(-1, keepdim=True).expand(*count.shape, 1)).squeeze(-1)
    tie = right * (count > 1)
    total = square if loss.quadratic else loss.total(output, label)
    return square, 1 - right / count, tie, total


def names_classes(data_model: DataModel) -> bool:
    """Say whether the labels of a data model are classes, so that one can be wrong."""
    if isinstance(data_model, GaussianMixture):
        return data_model.cluster_classes is not None
    device = next(data_model.buffers(), torch.empty(0)).device
    batch = data_model.sample(16, torch.Generator(device).manual_seed(0), torch.float32)
    return classes_of(batch.labels) is not None


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
        labels: of the clusters, shape `(C,)` or `(C, O)`.
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
    lead, hidden = state.Q.shape[:-2], state.Q.shape[-1]
    outputs = outputs_of(labels)
    readout = state.v.unsqueeze(-1) if outputs == 1 else state.v
    factor = covariance_factor(state.covariance).expand(*lead, len(labels), hidden, hidden)
    sums = state.v.new_zeros(len(TestErrors._fields), *lead)
    for cluster, (prior, label) in enumerate(zip(priors.tolist(), labels, strict=True)):
        if prior == 0:
            continue
        shape = *lead, max(2, round(prior * size)), hidden
        z = torch.randn(shape, generator=generator, dtype=state.v.dtype, device=state.v.device)
        fields = state.field_mean[..., cluster, None, :] + z @ factor[..., cluster, :, :]
        output = activation(fields) @ readout
        if outputs == 1:
            output = output.squeeze(-1)
        judged = judge(output, label.to(output), loss, outputs)
        sums += prior * torch.stack([part.mean(-1) for part in judged])
    return TestErrors(*array(sums))


def errors_from_inputs(
    data_model: DataModel,
    network: Callable[[Tensor], Tensor],
    size: int,
    generator: torch.Generator,
    dtype: torch.dtype,
    loss: Loss = SQUARE,
) -> TestErrors:
    """Test on fresh inputs of any data model.

    Args:
        data_model: where the test set comes from.
        network: returns outputs, shape `(B,)` or `(B, O)`, of inputs, shape `(B, D)`.
        size: of the test set.
        generator: the source of randomness.
        dtype: of the inputs.
        loss: ℓ.

    Returns:
        The errors.
    """
    sums = [0.0] * len(TestErrors._fields)
    left = size
    while left:
        count = min(left, max(1, 2**22 // data_model.dim))
        batch = data_model.sample(count, generator, dtype)
        output = network(batch.inputs)
        judged = judge(output, batch.labels, loss, outputs_of(batch.labels))
        sums = [total + float(part.sum()) for total, part in zip(sums, judged, strict=True)]
        left -= count
    return TestErrors(*(np.array(total / size) for total in sums))


def array(tensor: Tensor) -> np.ndarray:
    """Return a tensor as a float64 array.

    Args:
        tensor: any.

    Returns:
        A copy on the CPU, outside of any graph.
    """
    return np.asarray(tensor.detach().double().cpu().numpy())
