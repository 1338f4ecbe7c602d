"""The samples of a block, drawn piece by piece from seeds of their own."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from gmmdyn.interfaces import DataModel
from gmmdyn.training.stream import SAMPLES, stream_seed

# Numbers drawn at once on a CPU: they stay in the cache, and calls are few.
_CPU_NUMBERS = 2**18
# Numbers drawn at once for a group of replicas that are worked on together.
GROUP_NUMBERS = 2**26


class Piece(NamedTuple):
    """Samples of consecutive updates.

    Attributes:
        start: the first update, counted from the start of the run.
        inputs: shape `(N, U b, D)`, for N replicas and U updates by b samples.
        labels: shape `(N, U b)`, those that the network is told.
    """

    start: int
    inputs: Tensor
    labels: Tensor


@dataclass(frozen=True)
class Pieces:
    """Draws the samples of a run; they depend on seed, block, replica and sizes alone.

    Attributes:
        data_model: where samples come from.
        seed: of the run.
        block_size: updates in a block.
        batch: b, samples of an update.
        label_noise: probability that a label is the wrong one.
    """

    data_model: DataModel
    seed: int
    block_size: int
    batch: int
    label_noise: float

    def draw(
        self, block: int, group: range, device: torch.device, dtype: torch.dtype
    ) -> Iterator[Piece]:
        """Draw the samples of a block.

        On a CPU each replica has a seed of its own; elsewhere one draw serves the whole group.

        Args:
            block: its number.
            group: of replicas.
            device: where to draw.
            dtype: of the samples.

        Yields:
            The pieces of the block, in order.
        """
        on_cpu = device.type == "cpu"
        dim = self.data_model.dim
        numbers = _CPU_NUMBERS if on_cpu else GROUP_NUMBERS // len(group)
        updates = max(1, max(16, numbers // dim) // self.batch)
        seeded = group if on_cpu else range(group.start, group.start + 1)
        generators = [
            torch.Generator(device).manual_seed(stream_seed(self.seed, SAMPLES, replica, block))
            for replica in seeded
        ]
        share = len(group) // len(generators)
        for start in range(0, self.block_size, updates):
            count = min(updates, self.block_size - start) * self.batch
            drawn = [self._sample(share * count, generator, dtype) for generator in generators]
            inputs, labels = drawn[0]
            if len(drawn) > 1:
                inputs = torch.stack([x for x, _ in drawn])
                labels = torch.stack([y for _, y in drawn])
            yield Piece(
                block * self.block_size + start,
                inputs.view(len(group), count, dim),
                labels.view(len(group), count),
            )

    def _sample(
        self, count: int, generator: torch.Generator, dtype: torch.dtype
    ) -> tuple[Tensor, Tensor]:
        batch = self.data_model.sample(count, generator, dtype)
        labels = batch.labels
        if self.label_noise > 0:
            uniform = torch.rand(count, generator=generator, device=labels.device)
            labels = torch.where(uniform < self.label_noise, -labels, labels)
        return batch.inputs, labels
