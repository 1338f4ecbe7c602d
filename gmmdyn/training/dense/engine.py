r"""The dense engine: exact online SGD of many replicas, for any data model.

Two ways to the same weights, equal to rounding. On a CPU, for an activation with scalar functions,
a compiled loop does one update after the other (`loop.py`); with principal axes of the noise, it
draws their samples on the way. Otherwise, on any device and for any activation, the exact blocked
form (`blocked.py`) does all work of order D in three matrix products.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import final

import numpy as np
import torch
from torch import Tensor

from gmmdyn.algorithm import OnlineSGD
from gmmdyn.errors import IncompatibleError
from gmmdyn.interfaces import DataModel, GaussianMixture, Network, PrincipalAxes, TwoLayerNetwork
from gmmdyn.interfaces.engine import Engine, Observer, Segment, copies, nothing
from gmmdyn.training.compiled.scalars import can_compile, scalar_functions_of
from gmmdyn.training.dense.blocked import CHUNK, BlockedForm
from gmmdyn.training.dense.loop import CompiledLoop
from gmmdyn.training.evaluation import Weights, measure_weights
from gmmdyn.training.pieces import Piece, Pieces
from gmmdyn.training.stream import TEST_SET, stream_seed
from gmmdyn.training.threads import run_in_threads

# Numbers of one replica in a block: the cost of a Lightning step vanishes in it.
_BLOCK_NUMBERS = 2**23
# Numbers drawn at once for a group of replicas that are worked on together on a device.
_GROUP_NUMBERS = 2**26
# Numbers drawn at once on a CPU for the compiled loop: they stay in the cache. For matrix products
# more of them, and whole chunks; for a data model that is asked for its samples many, since one
# product for each covariance needs many rows to be fast.
_LOOP_NUMBERS, _PRODUCT_NUMBERS, _MODEL_NUMBERS = 2**17, 2**18, 2**20


@final
class DenseEngine(Engine):
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
    order = 20
    describes = frozenset({"schedule", "batch_size", "label_noise", "train_readout", "loss"})
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
        super().__init__(network.dim, block_size)
        self.data_model = data_model
        self.algorithm = algorithm
        self.activation = network.activation
        self.seed = seed
        self._batch = algorithm.batch_size
        scalar = algorithm.loss_function.scalar_signal() is not None
        compiled = compiled and can_compile() and scalar
        self._functions = scalar_functions_of(self.activation).functions if compiled else None
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
        self.readout = copies(network.readout.double(), replicas)
        self.bias = None if network.bias is None else copies(network.bias.double(), replicas)

    @classmethod
    def obstacle_of_parts(
        cls, data_model: DataModel, network: Network, algorithm: OnlineSGD
    ) -> str | None:
        """Say why it cannot run them; see `Engine.obstacle_of_parts`."""
        if not isinstance(network, TwoLayerNetwork):
            return f"simulates two-layer networks, and {type(network).__name__} is none"
        return None

    @property
    def compiled(self) -> bool:
        """Whether the compiled loop applies, here on this device."""
        return self._functions is not None and self.first_layer.device.type == "cpu"

    @property
    def finite(self) -> bool:
        """Whether all weights are finite."""
        states = self.parameters(recurse=False)
        return bool(torch.isfinite(torch.stack([state.sum().double() for state in states])).all())

    def weights(self, replicas: range) -> Weights:
        """Return the present weights, in the coordinates of the inputs.

        Args:
            replicas: which, consecutive.

        Returns:
            Views of them; where they are held in principal axes, a copy of the first layer, in the
            dtype of the means.
        """
        held = self._held(replicas)
        if self._rotation is None:
            return held
        return held._replace(first_layer=held.first_layer.to(self._rotation) @ self._rotation.mT)

    def _held(self, replicas: range) -> Weights:
        """Return views of the weights as they are held."""
        part = slice(replicas.start, replicas.stop)
        bias = None if self.bias is None else self.bias[part]
        return Weights(self.first_layer[part], self.readout[part], bias)

    def groups(self) -> list[range]:
        """Return which replicas are worked on together; see `Engine.groups`.

        One by one in the compiled loop; matrix products like many at once, as far as memory goes.
        """
        size = 1 if self.compiled else max(1, _GROUP_NUMBERS // (CHUNK * self.dim))
        return [
            range(first, min(first + size, self.replicas))
            for first in range(0, self.replicas, size)
        ]

    @torch.no_grad()
    def advance(
        self, segment: Segment, stops: Sequence[int] = (), observe: Observer = nothing
    ) -> None:
        """Move all replicas over a segment; see `Engine.advance`."""

        def run(group: range) -> None:
            self._advance_group(group, segment, stops, observe)

        groups = self.groups()
        on_cpu = self.first_layer.device.type == "cpu"
        if on_cpu and (len(groups) > 1 or self.compiled):
            run_in_threads(run, groups)
            return
        for group in groups:
            run(group)

    def measure(self, step: int, replicas: range, test_size: int) -> Mapping[str, np.ndarray]:
        """Measure some replicas; see `Engine.measure`."""
        numbers = self.numbers(replicas)
        seeds = [stream_seed(self.seed, TEST_SET, number, step) for number in numbers]
        return measure_weights(
            self.data_model,
            self.activation,
            self.weights(replicas),
            seeds,
            test_size,
            self.algorithm.loss_function,
        )

    def _advance_group(
        self, group: range, segment: Segment, stops: Sequence[int], observe: Observer
    ) -> None:
        begin = segment.block * self.block_size
        rates = self.algorithm.rate((begin + np.arange(self.block_size)) / self.dim)
        if self._functions is not None and self.compiled:
            loop = CompiledLoop(self._functions, self.algorithm, self._held(group).of(0))
            axes = self._axes()
            if axes is not None:
                self._draw_and_move(group, segment, stops, observe, loop, rates, axes)
                return
            mover: CompiledLoop | BlockedForm = loop
        else:
            held = self._held(group)
            mover = BlockedForm(self.activation, self.algorithm, held, self._functions)
        for start, inputs, labels in self.pieces(segment.block, group):
            end = start + labels.shape[1] // self._batch
            position = max(start, segment.start)
            for stop in sorted({*stops, end, segment.stop}):
                if position < stop <= min(end, segment.stop):
                    part = slice((position - start) * self._batch, (stop - start) * self._batch)
                    now = rates[position - begin : stop - begin]
                    mover.move(inputs[:, part], labels[:, part], now)
                    position = stop
                    if stop in stops:
                        observe(stop, group)
            if end >= segment.stop:
                return

    def _draw_and_move(
        self,
        group: range,
        segment: Segment,
        stops: Sequence[int],
        observe: Observer,
        loop: CompiledLoop,
        rates: np.ndarray,
        axes: PrincipalAxes,
    ) -> None:
        """Move one replica over a segment by samples that never leave the cache."""
        begin, position = segment.block * self.block_size, segment.start
        number = self.numbers(group).start
        done = (position - begin) * self._batch
        choices = self._pieces(1).choose(segment.block, number, axes.scale.dtype, done)
        for stop in sorted({*stops, segment.stop}):
            first, last = position - begin, stop - begin
            loop.draw_and_move(choices, first, rates[first:last], axes)
            position = stop
            if stop in stops:
                observe(stop, group)

    def pieces(self, block: int, group: range) -> Iterator[Piece]:
        """Draw the samples of a block.

        Args:
            block: its number.
            group: of replicas.

        Returns:
            The pieces of the block, in order; inputs are in the coordinates of `first_layer`.
        """
        device, dtype = self.first_layer.device, self.first_layer.dtype
        axes, numbers = self._axes(), _LOOP_NUMBERS
        if axes is None:
            numbers = _MODEL_NUMBERS
        elif not self.compiled:
            numbers = max(_PRODUCT_NUMBERS, CHUNK * self.dim)
        if device.type != "cpu":
            numbers = _GROUP_NUMBERS // len(group)
        updates = max(1, numbers // (self.dim * self._batch))
        return self._pieces(updates).draw(block, self.numbers(group), device, dtype, axes)

    def _pieces(self, updates: int) -> Pieces:
        """Return what draws the samples of so many updates at once."""
        noise = self.algorithm.label_noise
        return Pieces(self.data_model, self.seed, self.block_size, self._batch, noise, updates)

    def _axes(self) -> PrincipalAxes | None:
        """Return scale and centres in the dtype of the weights, or None to ask the data model."""
        if self._scale is None or self._centres is None:
            return None
        dtype = self.first_layer.dtype
        return PrincipalAxes(None, self._scale.to(dtype), self._centres.to(dtype))
