"""The order parameters of two-layer networks, and their errors on fresh test sets."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from gmmdyn.algorithm.losses import SQUARE, Loss
from gmmdyn.errors import ShapeError
from gmmdyn.gaussian import covariance_factor
from gmmdyn.interfaces import Activation, DataModel, GaussianMixture
from gmmdyn.interfaces.labels import classes_of, outputs_of
from gmmdyn.trajectory import CURVES, Curve, Trajectory
from gmmdyn.trajectory.order_parameters import OrderParameters

# Local fields drawn at once on a GPU.
_GROUP_NUMBERS = 2**26


class Weights(NamedTuple):
    """Weights of some two-layer networks.

    Attributes:
        first_layer: shape `(N, K, D)`, in the dtype of the network.
        readout: shape `(N, K)`, or `(N, K, O)` for several outputs, float64.
        bias: shape `(N, K)`, float64, or None.
    """

    first_layer: Tensor
    readout: Tensor
    bias: Tensor | None

    def of(self, index: int) -> Weights:
        """Return those of one network, without the leading axis."""
        bias = None if self.bias is None else self.bias[index]
        return Weights(self.first_layer[index], self.readout[index], bias)

    def outputs(self, inputs: Tensor, activation: Activation) -> Tensor:
        """Return the outputs, `(B,)` or `(B, O)`, of one network on inputs, shape `(B, D)`."""
        fields = inputs @ self.first_layer.mT / inputs.shape[-1] ** 0.5
        if self.bias is not None:
            fields = fields + self.bias
        outputs: Tensor = activation(fields) @ self.readout.to(fields.dtype)
        return outputs


class TestErrors(NamedTuple):
    """Errors on a test set, or on one for each of some networks.

    Attributes:
        pmse: mean of ½|y − φ|², whatever the loss; shape `(...)`.
        classification_error: share of points with yφ < 0, and half of those with φ = 0; of several
            outputs of points whose largest output is not that of their class.
        tie_rate: share of points with φ = 0; of several outputs with several largest ones.
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
        ½|y − φ|², the probability of a wrong class, whether classes tie, ℓ; without the axis of
        outputs.
    """
    if outputs == 1:
        square = SQUARE.value(output, label)
        value = square if loss.quadratic else loss.value(output, label)
        return square, *misjudged(output, label), value
    square = SQUARE.total(output, label)
    largest = (output == output.amax(-1, keepdim=True)).to(output.dtype)
    count = largest.sum(-1)
    right = largest.gather(-1, label.argmax(-1, keepdim=True).expand(*count.shape, 1)).squeeze(-1)
    tie = (count > 1).to(output.dtype)
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


def measure_outputs(
    data_model: DataModel,
    network: Callable[[Tensor], Tensor],
    seed: int,
    test_size: int,
    dtype: torch.dtype,
    loss: Loss = SQUARE,
) -> dict[str, np.ndarray]:
    """Measure the errors of a network of which nothing is known but its outputs.

    Args:
        data_model: what it learns.
        network: returns outputs, shape `(B,)` or `(B, O)`, of inputs, shape `(B, D)`; with finite
            parameters or not.
        seed: of its test set.
        test_size: points in it.
        dtype: of the inputs.
        loss: ℓ; its mean is a curve of its own unless it is the square loss.

    Returns:
        Curves of a trajectory by name, each of shape `(1,)`; NaN where an output is not finite.
    """
    device = next(data_model.buffers(), torch.empty(0)).device
    generator = torch.Generator(device=device).manual_seed(seed)
    errors = np.array(errors_from_inputs(data_model, network, test_size, generator, dtype, loss))
    # Where an output is no number, neither is a sign.
    errors = np.where(np.isfinite(errors).all(), errors, np.nan)
    return _curves_of(errors[:, None], loss, data_model)


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
            network = partial(one.outputs, activation=activation)
            errors[:, index] = errors_from_inputs(
                data_model, network, test_size, generator, one.first_layer.dtype, loss
            )
    return curves | _curves_of(errors, loss, data_model)


@torch.no_grad()
def measure_own(data_model: DataModel, weights: Weights) -> dict[str, Curve]:
    """Measure what a data model does besides errors and order parameters.

    Args:
        data_model: what the networks learn.
        weights: of N networks.

    Returns:
        By name curves at one time, the axis of networks first; NaN where weights are not finite.

    Raises:
        ShapeError: if `DataModel.measure` returns no `Curve`, one with further axes, or one of a
            name that cannot be.
    """
    found: dict[str, Curve] = {}
    for index in range(len(weights.readout)):
        one = weights.of(index)
        if not bool(torch.isfinite(one.first_layer.sum() + one.readout.sum())):
            continue
        for name, curve in data_model.measure(*one).items():
            if not isinstance(curve, Curve) or curve.values.ndim != len(curve.dims):
                raise ShapeError(
                    f"`{type(data_model).__name__}.measure` returns `{name}`, which is no `Curve` "
                    "with a name for each of its axes; give `gd.Curve(array, dims)`."
                )
            if name in CURVES:
                raise ShapeError(
                    f"`{type(data_model).__name__}.measure` returns `{name}`, which is the name "
                    "of another curve; give it a name of its own."
                )
            if name not in found:
                shape = (len(weights.readout), *curve.values.shape)
                found[name] = Curve(np.full(shape, np.nan), curve.dims)
            found[name].values[index] = curve.values
    # Before hours of work, not after.
    Trajectory(
        np.zeros(1), {n: Curve(c.values[None], c.dims) for n, c in found.items()}, "simulation"
    )
    return found


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
        together = max(1, _GROUP_NUMBERS // (test_size * states.Q.shape[-1]))
    generator = torch.Generator(device).manual_seed(seeds[0])
    finite = torch.isfinite(states.Q.sum((-1, -2)) + states.field_mean.sum((-1, -2)))
    finite &= torch.isfinite(states.v.flatten(1).sum(-1))
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
    return curves | _curves_of(errors, loss, mixture)


def _curves_of(errors: np.ndarray, loss: Loss, data_model: DataModel) -> dict[str, np.ndarray]:
    """Return errors, in the order of `TestErrors`, by the names of their curves."""
    curves = dict(zip(TestErrors._fields, errors, strict=True))
    if loss.quadratic:
        del curves["loss"]
    if not names_classes(data_model):
        del curves["classification_error"], curves["tie_rate"]
    return curves


def array(tensor: Tensor) -> np.ndarray:
    """Return a tensor as a float64 array.

    Args:
        tensor: any.

    Returns:
        A copy on the CPU, outside of any graph.
    """
    return np.asarray(tensor.detach().double().cpu().numpy())
