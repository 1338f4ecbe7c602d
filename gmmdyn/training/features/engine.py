"""The features engine: exact online SGD on a linear readout of fixed features.

The features of many samples are one matrix product with the projection, which is nearly all of the
work. On a CPU a compiled loop makes the updates one after the other; elsewhere they are solved in
feature space (`recursion.py`). Both are exact.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import final

import numpy as np
import torch
from torch import Tensor

from gmmdyn.algorithm import OnlineSGD
from gmmdyn.errors import IncompatibleError
from gmmdyn.interfaces import (
    DataModel,
    FeatureNetwork,
    GaussianMixture,
    Network,
    PrincipalAxes,
)
from gmmdyn.interfaces.engine import Engine, Observer, Segment, copies, nothing
from gmmdyn.training.compiled.scalars import can_compile, compiled_scalar
from gmmdyn.training.evaluation import misjudged
from gmmdyn.training.features.recursion import Propagators, error_signals, propagators
from gmmdyn.training.pieces import Piece, Pieces
from gmmdyn.training.stream import TEST_SET, stream_seed
from gmmdyn.training.threads import run_in_threads

# Features of one replica held at once on a CPU, and of a group elsewhere.
_PIECE_NUMBERS, _GROUP_NUMBERS = 2**22, 2**27
# Rows in one product with the projection: fewer read it too often, more leave the cache.
_FEWEST_ROWS, _MOST_ROWS = 64, 512
# Multiplications in a block: the cost of a Lightning step vanishes in them.
_BLOCK_PRODUCTS = 2**30
# Samples that share one Gram matrix.
_CHUNK = 64


@final
class FeatureEngine(Engine):
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
        super().__init__(network.dim, block_size or fitting)
        self.data_model = data_model
        self.algorithm = algorithm
        self.activation = network.activation
        self.seed = seed
        self._size = network.size
        scalar = algorithm.loss_function.scalar_signal() is not None
        self._compiled = compiled and can_compile() and scalar
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

    @property
    def compiled(self) -> bool:
        """Whether the compiled loop applies, here on this device."""
        return self._compiled and self.readout.device.type == "cpu"

    @property
    def finite(self) -> bool:
        """Whether all weights are finite."""
        return bool(torch.isfinite(self.readout.sum()))

    def groups(self) -> list[range]:
        """Return which replicas are worked on together; see `Engine.groups`."""
        size = 1
        if self.readout.device.type != "cpu":
            size = max(1, _GROUP_NUMBERS // (_FEWEST_ROWS * self._size))
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
        if self.readout.device.type == "cpu" and len(groups) > 1:
            run_in_threads(run, groups)
            return
        # A single replica has all threads for its large matrix products.
        for group in groups:
            run(group)

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
            generator = torch.Generator(self.readout.device).manual_seed(seed)
            sums = torch.zeros(4, dtype=torch.float64, device=self.readout.device)
            for start in range(0, test_size, rows):
                count = min(rows, test_size - start)
                batch = self.data_model.sample(count, generator, self.projection.dtype)
                z = self._features(batch.inputs / math.sqrt(self.dim))
                y = batch.labels.double()
                output = self._outputs(z, range(replica, replica + 1))
                if self.bias is not None:
                    output = output + self.bias[replica]
                output = output.squeeze(0)
                sums[0] += (0.5 * (y - output) ** 2).sum()
                wrong, tie = misjudged(output, y)
                sums[1] += wrong.sum()
                sums[2] += tie.sum()
                sums[3] += loss.value(output, y).sum()
            for name, total in zip(curves, sums.tolist(), strict=False):
                curves[name][index] = total / test_size
        return curves

    def _advance_group(
        self, group: range, segment: Segment, stops: Sequence[int], observe: Observer
    ) -> None:
        known: dict[int, Propagators] = {}
        batch = self.algorithm.batch_size
        for start, inputs, labels in self.pieces(segment.block, group):
            end = start + labels.shape[1] // batch
            position = max(start, segment.start)
            if end <= position:
                continue
            features = self._features(inputs.flatten(0, 1)).view(*labels.shape, self._size)
            for stop in sorted({*stops, end, segment.stop}):
                if position < stop <= min(end, segment.stop):
                    part = slice((position - start) * batch, (stop - start) * batch)
                    z, y = features[:, part], labels[:, part]
                    if self.compiled and len(group) == 1:
                        self._loop(group.start, position, z, y)
                    else:
                        self._blocked(group, position, z, y, known)
                    position = stop
                    if stop in stops:
                        observe(stop, group)
            if end >= segment.stop:
                return

    def _rows(self, replicas: int) -> int:
        """Return for how many samples of each replica the features are computed at once."""
        on_cpu = self.readout.device.type == "cpu"
        held = (_PIECE_NUMBERS if on_cpu else _GROUP_NUMBERS // replicas) // self._size
        return max(_FEWEST_ROWS, min(held, _MOST_ROWS) if on_cpu else held)

    def pieces(self, block: int, group: range) -> Iterator[Piece]:
        """Draw the samples of a block.

        Args:
            block: its number.
            group: of replicas.

        Returns:
            The pieces of the block, in order; inputs are over √D.
        """
        device, dtype = self.readout.device, self.projection.dtype
        batch, noise = self.algorithm.batch_size, self.algorithm.label_noise
        updates = max(1, self._rows(len(group)) // batch)
        pieces = Pieces(self.data_model, self.seed, self.block_size, batch, noise, updates)
        root, axes = math.sqrt(self.dim), self._axes()
        if axes is not None:
            axes = PrincipalAxes(
                None, *(part.to(device, dtype) / root for part in (axes.scale, axes.centres))
            )
        for piece in pieces.draw(block, self.numbers(group), device, dtype, axes):
            yield piece if axes is not None else piece._replace(inputs=piece.inputs / root)

    def _axes(self) -> PrincipalAxes | None:
        """Return the axes of the inputs, if samples cost least in them; None for any other axes."""
        axes = None
        if isinstance(self.data_model, GaussianMixture):
            axes = self.data_model.principal_axes()
        return axes if axes is not None and axes.rotation is None else None

    def _features(self, inputs: Tensor) -> Tensor:
        """Return the features, `(n, P)`, of inputs over √D, `(n, D)`."""
        features: Tensor = self.activation(inputs @ self.projection)
        return features if self.centre is None else features.sub_(self.centre)

    def _outputs(self, features: Tensor, group: range) -> Tensor:
        """Return outputs without intercept, `(N, B)`, float64, of features `(N or 1, B, P)`."""
        weights = self.readout[group.start : group.stop] / math.sqrt(self._size)
        outputs: Tensor = features @ weights.to(features.dtype).unsqueeze(-1)
        return outputs[..., 0].double()

    def _loop(self, replica: int, first: int, features: Tensor, labels: Tensor) -> None:
        """Move one replica over consecutive whole updates, one after the other."""
        from gmmdyn.training.features._kernel import advance

        algorithm = self.algorithm
        steps = first + np.arange(labels.shape[1] // algorithm.batch_size)
        signal = compiled_scalar(algorithm.loss_function.scalar_signal(), 2)
        advance(
            features[0].contiguous().numpy(),
            labels[0].double().numpy(),
            self.readout.data[replica].numpy(),
            np.empty(0) if self.bias is None else self.bias.data[replica : replica + 1].numpy(),
            algorithm.rate(steps / self.dim) / self._size,
            algorithm.weight_decay,
            algorithm.batch_size,
            signal.address,
        )

    def _blocked(
        self,
        group: range,
        first: int,
        features: Tensor,
        labels: Tensor,
        known: dict[int, Propagators],
    ) -> None:
        """Move some replicas over consecutive whole updates, the first of which is `first`."""
        batch = self.algorithm.batch_size
        length = max(1, _CHUNK // batch) * batch
        part = slice(group.start, group.stop)
        constant = "schedule" not in self.algorithm.variations
        for start in range(0, labels.shape[1], length):
            z, y = features[:, start : start + length], labels[:, start : start + length]
            updates = y.shape[1] // batch
            factors = known.get(updates)
            if factors is None:
                steps = first + start // batch + np.arange(updates)
                rates = torch.from_numpy(self.algorithm.rate(steps / self.dim) / self._size)
                rates = rates.to(self.readout.device)
                factors = propagators(rates, self.algorithm.weight_decay, batch)
                if constant:
                    known[updates] = factors
            bias = None if self.bias is None else self.bias[part]
            signals = error_signals(
                self._outputs(z, group), z @ z.mT, y, bias, factors, self.algorithm.loss_function
            )
            pull = (factors.end * signals).to(z.dtype).unsqueeze(1) @ z  # (N, 1, P)
            weights = self.readout[part]
            weights.mul_(factors.shrink).add_(pull.squeeze(1), alpha=math.sqrt(self._size))
            if bias is not None:
                bias.add_((factors.last * signals).sum(1))
