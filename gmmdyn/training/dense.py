r"""The dense engine: exact online SGD of many replicas, for any data model.

With principal axes of the noise, the compiled loop draws samples on the way, which never leave the
cache.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import final

import numpy as np
from torch import Tensor

from gmmdyn.algorithm import OnlineSGD
from gmmdyn.errors import IncompatibleError
from gmmdyn.interfaces import DataModel, GaussianMixture, Network, PrincipalAxes, TwoLayerNetwork
from gmmdyn.interfaces.engine import Observer, Segment, copies
from gmmdyn.training.evaluation import Weights, measure_own, measure_weights
from gmmdyn.training.rule.blocked import CHUNK
from gmmdyn.training.rule.loop import CompiledLoop
from gmmdyn.training.rule.rule import Rule, by_output
from gmmdyn.training.samples import Samples
from gmmdyn.training.stream import TEST_SET, stream_seed
from gmmdyn.training.weight_engine import WeightEngine
from gmmdyn.trajectory import Curve

# Numbers of one replica in a block: the cost of a Lightning step vanishes in it.
_BLOCK_NUMBERS = 2**23
# Numbers drawn at once for a group of replicas that are worked on together on a device.
_GROUP_NUMBERS = 2**26
# Numbers drawn at once on a CPU for the compiled loop: they stay in the cache. For matrix products
# more of them, and whole chunks; for a data model that is asked for its samples many, since one
# product for each covariance needs many rows to be fast.
_LOOP_NUMBERS, _PRODUCT_NUMBERS, _MODEL_NUMBERS = 2**17, 2**18, 2**20


@final
class DenseEngine(WeightEngine):
    """The weights of all replicas, and how blocks of samples move them.

    Where the data model has principal axes, samples are drawn in them, and the first layer is held
    in them, rotated once.

    On a CPU replica i is the same run whatever the number of replicas, of threads and of cores. On
    a GPU one draw serves all replicas of a group, which is faster; there a run is reproduced by
    the same seed and the same number of replicas.

    Args:
        data_model: where samples come from.
        network: the network at its initial weights, the same for all replicas.
        algorithm: the rates.
        replicas: how many independent runs, at least 1.
        seed: of the samples.
        block_size: updates in a block, at least 1; by default some 8 million numbers. A run is
            reproduced by the same seed and the same block size.
        compiled: whether to use the compiled loop where it applies.

    Raises:
        IncompatibleError: if the network has not two layers.
    """

    name = "dense"
    has_first_layer = True
    several_outputs = True
    order = 20
    describes = frozenset({"schedule", "batch_size", "label_noise", "train_readout", "loss"})
    _always_in_threads = True
    _rotation: Tensor | None
    _scale: Tensor | None
    _centres: Tensor | None

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
        if reason is not None or not isinstance(network, TwoLayerNetwork):
            raise IncompatibleError(f"the dense engine {reason}.")
        if block_size is None:
            samples = min(65536, max(256, _BLOCK_NUMBERS // network.dim))
            block_size = max(1, samples // algorithm.batch_size)
        rule = Rule.of(network.activation, algorithm, compiled=compiled)
        super().__init__(network.dim, block_size, data_model, algorithm, rule, seed)
        self.activation = network.activation
        axes = data_model.principal_axes() if isinstance(data_model, GaussianMixture) else None
        # Other eigenvectors are other samples: those of a run are in its checkpoints.
        kept = axes is not None and axes.rotation is not None
        for name in PrincipalAxes._fields:
            value = None if axes is None else getattr(axes, name)
            self.register_buffer(f"_{name}", value, persistent=kept)
        first_layer = network.first_layer.detach()
        if axes is not None and axes.rotation is not None:
            first_layer = (first_layer.to(axes.rotation) @ axes.rotation).to(first_layer)

        self.first_layer = copies(first_layer, replicas)
        # Few numbers that move by eta/D: in double precision their rounding never adds up.
        self.readout = copies(by_output(network.readout.double()), replicas)
        self.bias = None if network.bias is None else copies(network.bias.double(), replicas)

    @classmethod
    def obstacle_of_parts(
        cls, data_model: DataModel, network: Network, algorithm: OnlineSGD
    ) -> str | None:
        """Say why it cannot run them; see `Engine.obstacle_of_parts`."""
        if not isinstance(network, TwoLayerNetwork):
            return f"simulates two-layer networks, and {type(network).__name__} is none"
        return None

    def weights(self, replicas: range) -> Weights:
        """Return the present weights, in the coordinates of the inputs.

        Args:
            replicas: which, consecutive.

        Returns:
            Views of them; where they are held in principal axes, a copy of the first layer, in the
            dtype of the means.
        """
        held = self._held(replicas)
        if held.readout.ndim == 3:
            held = held._replace(readout=held.readout.mT)
        if self._rotation is None:
            return held
        return held._replace(first_layer=held.first_layer.to(self._rotation) @ self._rotation.mT)

    def _held(self, replicas: range) -> Weights:
        """Return views of the weights as they are held."""
        part = slice(replicas.start, replicas.stop)
        bias = None if self.bias is None else self.bias[part]
        return Weights(self.first_layer[part], self.readout[part], bias)

    def _group_size(self) -> int:
        """Return 1 for the compiled loop; matrix products like many, as far as memory goes."""
        return 1 if self.compiled else max(1, _GROUP_NUMBERS // (CHUNK * self.dim))

    def _seen(self, inputs: Tensor) -> Tensor:
        """Return the inputs."""
        return inputs

    def measure(
        self, step: int, replicas: range, test_size: int
    ) -> Mapping[str, np.ndarray | Curve]:
        """Measure some replicas; see `Engine.measure`."""
        numbers = self.numbers(replicas)
        seeds = [stream_seed(self.seed, TEST_SET, number, step) for number in numbers]
        weights, loss = self.weights(replicas), self.algorithm.loss_function
        parts = self.data_model, self.activation, weights
        known = measure_weights(*parts, seeds, test_size, loss)
        return {**known, **measure_own(self.data_model, weights)}

    def _advance_group(
        self, group: range, segment: Segment, stops: Sequence[int], observe: Observer
    ) -> None:
        """Move some replicas, by samples that are drawn on the way if that can be."""
        axes = self._axes()
        if axes is None or not self.compiled:
            super()._advance_group(group, segment, stops, observe)
            return
        loop, rates = CompiledLoop(self.rule, self._held(group).of(0)), self._rates(segment)
        begin, number = segment.block * self.block_size, self.numbers(group).start
        done = (segment.start - begin) * self.rule.batch
        choices = self._source(1).choose(segment.block, number, axes.scale.dtype, done)
        for first, stop in segment.parts(segment.start, segment.stop, stops):
            loop.draw_and_move(choices, first - begin, rates[first - begin : stop - begin], axes)
            if stop in stops:
                observe(stop, group)

    def samples(self, block: int, group: range) -> Iterator[Samples]:
        """Draw the samples of a block, in the coordinates of `first_layer`.

        See `WeightEngine.samples`.
        """
        dtype, axes, numbers = self.first_layer.dtype, self._axes(), _LOOP_NUMBERS
        if axes is None:
            numbers = _MODEL_NUMBERS
        elif not self.compiled:
            numbers = max(_PRODUCT_NUMBERS, CHUNK * self.dim)
        if self.device.type != "cpu":
            numbers = _GROUP_NUMBERS // len(group)
        source = self._source(max(1, numbers // (self.dim * self.rule.batch)))
        return source.draw(block, self.numbers(group), self.device, dtype, axes)

    def _axes(self) -> PrincipalAxes | None:
        """Return scale and centres in the dtype of the weights, or None to ask the data model."""
        if self._scale is None or self._centres is None:
            return None
        dtype = self.first_layer.dtype
        return PrincipalAxes(None, self._scale.to(dtype), self._centres.to(dtype))
