"""What is measured of networks: order parameters, errors, and overlaps of one's own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from gmmdyn.algorithm.losses import SQUARE, Loss
from gmmdyn.errors import ShapeError
from gmmdyn.interfaces import Activation, DataModel, GaussianMixture
from gmmdyn.training.errors_on_test_sets import (
    TestErrors,
    array,
    errors_from_fields,
    errors_from_inputs,
    names_classes,
)
from gmmdyn.trajectory import CURVES, Curve, Trajectory
from gmmdyn.trajectory.order_parameters import OrderParameters

# Local fields drawn at once on a GPU.
_GROUP_NUMBERS = 2**26


class Weights(NamedTuple):
    """Weights of some two-layer networks.

    Attributes:
        first_layer: shape `(N, K, D)`, in the dtype of the network.
        readout: shape `(N, K)`, float64; for several outputs `(N, K, O)` where they are measured,
            and `(N, O, K)` where the rule of SGD moves them.
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
