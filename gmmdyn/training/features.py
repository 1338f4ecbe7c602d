"""The features engine: exact online SGD on a linear readout of fixed features.

It is the rule of a two-layer network with one linear unit whose inputs are the features, in P
dimensions, and whose readout is 1 and frozen; its bias does not decay. The features of many samples
are one matrix product with the projection, which is nearly all of the work.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import final

import numpy as np
import torch
from torch import Tensor

from gmmdyn.algorithm import OnlineSGD
from gmmdyn.errors import IncompatibleError
from gmmdyn.interfaces import (
    Activation,
    DataModel,
    FeatureNetwork,
    GaussianMixture,
    Network,
    PrincipalAxes,
)
from gmmdyn.interfaces.engine import copies
from gmmdyn.training.errors_on_test_sets import misjudged
from gmmdyn.training.evaluation import Weights
from gmmdyn.training.rule.rule import Rule
from gmmdyn.training.samples import Samples
from gmmdyn.training.stream import TEST_SET, stream_seed
from gmmdyn.training.weight_engine import WeightEngine

# Features of one replica held at once on a CPU, and of a group elsewhere.
_PIECE_NUMBERS, _GROUP_NUMBERS = 2**22, 2**27
# Rows in one product with the projection: fewer read it too often, more leave the cache.
_FEWEST_ROWS, _MOST_ROWS = 64, 512
# Multiplications in a block: the cost of a Lightning step vanishes in them.
_BLOCK_PRODUCTS = 2**30


class _Identity(Activation):
    """g(x) = x."""

    slopes = (1.0,)

    def forward(self, x: Tensor) -> Tensor:
        return x

    def derivative(self, x: Tensor) -> Tensor:
        return torch.ones_like(x)


@final
class FeatureEngine(WeightEngine):
    """The readouts of all replicas, and how blocks of samples move them.

    All replicas have the projection of the network. On a CPU replica i is the same run, to
    rounding, whatever the number of replicas, of threads and of cores. On a GPU one draw serves
    all replicas of a group; there a run is reproduced by the same seed and the same number of
    replicas.

    Args:
        data_model: where samples come from.
        network: the network at its initial weights, the same for all replicas.
        algorithm: the rates, with any of its variations but a frozen readout.
        replicas: how many independent runs, at least 1.
        seed: of the samples.
        block_size: updates in a block, at least 1; by default about a billion multiplications. A
            run is reproduced by the same seed and the same block size.
        compiled: whether to use the compiled loop where it applies.

    Raises:
        IncompatibleError: if the network has no fixed features, or its readout is not to learn.
    """

    name = "features"
    order = 30
    describes = frozenset({"schedule", "batch_size", "label_noise", "loss"})
    projection: Tensor
    centre: Tensor | None

    def __init__(
        self,
        data_model: DataModel,
        network: Network,
        algorithm: OnlineSGD,
        *,
        replicas: int = 1,
        seed: int = 0,
        block_size: int | None = None,
        compiled: bool = True,
    ) -> None:
        reason = self.obstacle(data_model, network, algorithm)
        if reason is not None or not isinstance(network, FeatureNetwork):
            raise IncompatibleError(f"the features engine {reason}.")
        products = network.dim * network.size * algorithm.batch_size
        fitting = min(65536, max(64, _BLOCK_PRODUCTS // products))
        rule = Rule.of(_Identity(), algorithm, compiled=compiled)
        rule = rule._replace(bias_decay=0.0, train_readout=False)
        super().__init__(network.dim, block_size or fitting, data_model, algorithm, rule, seed)
        self.activation = network.activation
        self._size = network.size
        # Shared with the network, and not in checkpoints: they never change.
        self.register_buffer("projection", network.projection.detach(), persistent=False)
        centre = None if network.centre is None else network.centre.detach()
        self.register_buffer("centre", centre, persistent=False)
        # In double precision: the steps are of order 1/P and their rounding must not add up.
        self.readout = copies(network.readout.double(), replicas)
        self.bias = None if network.bias is None else copies(network.bias.double(), replicas)

    @classmethod
    def obstacle_of_parts(
        cls, data_model: DataModel, network: Network, algorithm: OnlineSGD
    ) -> str | None:
        """Say why it cannot run them; see `Engine.obstacle_of_parts`."""
        if not isinstance(network, FeatureNetwork):
            return f"simulates readouts of fixed features, and {type(network).__name__} is none"
        return None

    def _held(self, replicas: range) -> Weights:
        """Return the readout as the first layer of one unit, whose own readout is 1."""
        part = slice(replicas.start, replicas.stop)
        ones = self.readout.new_ones(len(replicas), 1)
        bias = None if self.bias is None else self.bias.data[part].unsqueeze(1)
        return Weights(self.readout.data[part].unsqueeze(1), ones, bias)

    def _group_size(self) -> int:
        """Return 1 on a CPU, where features fill the cache."""
        if self.device.type == "cpu":
            return 1
        return max(1, _GROUP_NUMBERS // (_FEWEST_ROWS * self._size))

    @torch.no_grad()
    def measure(self, step: int, replicas: range, test_size: int) -> Mapping[str, np.ndarray]:
        """Measure the errors of some replicas on fresh inputs; see `Engine.measure`."""
        loss = self.algorithm.loss_function
        names = ["pmse", "classification_error", "tie_rate"]
        if not loss.quadratic:
            names.append("loss")
        curves = {name: np.full(len(replicas), np.nan) for name in names}
        rows = self._rows(1)
        for index, (replica, number) in enumerate(
            zip(replicas, self.numbers(replicas), strict=True)
        ):
            if not bool(torch.isfinite(self.readout[replica].sum())):
                continue
            seed = stream_seed(self.seed, TEST_SET, number, step)
            generator = torch.Generator(self.device).manual_seed(seed)
            sums = torch.zeros(4, dtype=torch.float64, device=self.device)
            for start in range(0, test_size, rows):
                count = min(rows, test_size - start)
                batch = self.data_model.sample(count, generator, self.projection.dtype)
                z = self._features(batch.inputs / math.sqrt(self.dim))
                y = batch.labels.double()
                weights = self.readout[replica] / math.sqrt(self._size)
                output = (z @ weights.to(z.dtype)).double()
                if self.bias is not None:
                    output = output + self.bias[replica]
                sums[0] += (0.5 * (y - output) ** 2).sum()
                wrong, tie = misjudged(output, y)
                sums[1] += wrong.sum()
                sums[2] += tie.sum()
                sums[3] += loss.value(output, y).sum()
            for name, total in zip(curves, sums.tolist(), strict=False):
                curves[name][index] = total / test_size
        return curves

    def _rows(self, replicas: int) -> int:
        """Return for how many samples of each replica the features are computed at once."""
        on_cpu = self.device.type == "cpu"
        held = (_PIECE_NUMBERS if on_cpu else _GROUP_NUMBERS // replicas) // self._size
        return max(_FEWEST_ROWS, min(held, _MOST_ROWS) if on_cpu else held)

    def samples(self, block: int, group: range) -> Iterator[Samples]:
        """Draw the samples of a block, inputs over √D; see `WeightEngine.samples`."""
        device, dtype = self.device, self.projection.dtype
        source = self._source(max(1, self._rows(len(group)) // self.rule.batch))
        root, axes = math.sqrt(self.dim), self._axes()
        if axes is not None:
            axes = PrincipalAxes(
                None, *(part.to(device, dtype) / root for part in (axes.scale, axes.centres))
            )
        for piece in source.draw(block, self.numbers(group), device, dtype, axes):
            yield piece if axes is not None else piece._replace(inputs=piece.inputs / root)

    def _axes(self) -> PrincipalAxes | None:
        """Return the axes of the inputs, if samples cost least in them; None for any other axes."""
        axes = None
        if isinstance(self.data_model, GaussianMixture):
            axes = self.data_model.principal_axes()
        return axes if axes is not None and axes.rotation is None else None

    def _seen(self, inputs: Tensor) -> Tensor:
        """Return the features, `(N, B, P)`, of inputs over √D, `(N, B, D)`."""
        return self._features(inputs.flatten(0, 1)).view(*inputs.shape[:2], self._size)

    def _features(self, inputs: Tensor) -> Tensor:
        """Return the features, `(n, P)`, of inputs over √D, `(n, D)`."""
        features: Tensor = self.activation(inputs @ self.projection)
        return features if self.centre is None else features.sub_(self.centre)
