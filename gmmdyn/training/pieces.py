"""The samples of a block, drawn piece by piece from seeds of their own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from gmmdyn.interfaces import DataModel, GaussianMixture, PrincipalAxes
from gmmdyn.training.stream import SAMPLES, stream_seed

# Numbers drawn at once for a group of replicas that are worked on together on a device.
GROUP_NUMBERS = 2**26
# Clusters drawn at once: the cost of a call vanishes in it.
_CLUSTERS = 2**16


class Piece(NamedTuple):
    """Samples of consecutive updates.

    Attributes:
        start: the first update, counted from the start of the run.
        inputs: shape `(N, U b, D)`, for N replicas and U updates by b samples; in principal axes
            if the engine has them, and valid until the next piece is drawn.
        labels: shape `(N, U b)`, those that the network is told.
    """

    start: int
    inputs: Tensor
    labels: Tensor


# From normals (which it may overwrite), the clusters of the rows, scales and centres to inputs.
Placing = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]


def place(normals: Tensor, clusters: Tensor, scale: Tensor, centres: Tensor) -> Tensor:
    r"""Return $c_\alpha + s \odot \xi$; a `Placing` for any device.

    Args:
        normals: xi, shape `(n, D)`.
        clusters: alpha, shape `(n,)`.
        scale: s, shape `(D,)`.
        centres: c, shape `(C, D)`.

    Returns:
        The inputs, shape `(n, D)`.
    """
    return torch.addcmul(centres[clusters], normals, scale)


@dataclass(frozen=True)
class Pieces:
    """Draws the samples of a run; they depend on seed, block, replica and sizes alone.

    Attributes:
        data_model: where samples come from.
        seed: of the run.
        block_size: updates in a block.
        batch: b, samples of an update.
        label_noise: probability that a label is the wrong one.
        numbers: how many to draw at once on a CPU.
        place: how inputs are made of normals.
    """

    data_model: DataModel
    seed: int
    block_size: int
    batch: int
    label_noise: float
    numbers: int
    place: Placing = place

    def draw(
        self,
        block: int,
        group: range,
        device: torch.device,
        dtype: torch.dtype,
        axes: PrincipalAxes | None,
    ) -> Iterator[Piece]:
        """Draw the samples of a block.

        On a CPU each replica has a seed of its own; elsewhere one draw serves the whole group.

        Args:
            block: its number.
            group: of replicas.
            device: where to draw.
            dtype: of the samples.
            axes: in which a Gaussian mixture is drawn, in this dtype and on this device; None to
                ask the data model for its samples.

        Yields:
            The pieces of the block, in order.
        """
        on_cpu = device.type == "cpu"
        dim = self.data_model.dim
        numbers = self.numbers if on_cpu else GROUP_NUMBERS // len(group)
        updates = max(1, numbers // (dim * self.batch))
        seeded = group if on_cpu else range(group.start, group.start + 1)
        share = len(group) // len(seeded)
        draw = self._from_model if axes is None else self._in_axes
        sources = []
        for replica in seeded:
            seed = stream_seed(self.seed, SAMPLES, replica, block)
            generator = torch.Generator(device).manual_seed(seed)
            sources.append(draw(share, updates, generator, dtype, axes))
        for start, drawn in zip(
            range(0, self.block_size, updates), zip(*sources, strict=True), strict=True
        ):
            if len(drawn) == 1:
                inputs, labels = drawn[0][0].view(share, -1, dim), drawn[0][1].view(share, -1)
            else:
                inputs = torch.stack([x for x, _ in drawn])
                labels = torch.stack([y for _, y in drawn])
            yield Piece(block * self.block_size + start, inputs, labels)

    def _from_model(
        self,
        share: int,
        updates: int,
        generator: torch.Generator,
        dtype: torch.dtype,
        axes: PrincipalAxes | None,
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Ask the data model."""
        for start in range(0, self.block_size, updates):
            count = share * min(updates, self.block_size - start) * self.batch
            batch = self.data_model.sample(count, generator, dtype)
            yield batch.inputs, self._told(batch.labels, generator)

    def _in_axes(
        self,
        share: int,
        updates: int,
        generator: torch.Generator,
        dtype: torch.dtype,
        axes: PrincipalAxes | None,
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Draw clusters for many pieces at once, and normals piece by piece."""
        mixture = self.data_model
        if axes is None or not isinstance(mixture, GaussianMixture):
            raise AssertionError("only Gaussian mixtures have principal axes")
        total = share * self.block_size * self.batch
        rows = share * updates * self.batch
        span = rows * max(1, _CLUSTERS // rows)
        device = axes.scale.device
        # One buffer for all pieces: it stays in the cache.
        buffer = torch.empty(min(rows, total), mixture.dim, dtype=dtype, device=device)
        for first in range(0, total, span):
            count = min(span, total - first)
            clusters = torch.multinomial(mixture.priors, count, True, generator=generator)
            labels = self._told(mixture.labels.to(dtype)[clusters], generator)
            for start in range(0, count, rows):
                part = slice(start, min(start + rows, count))
                normals = buffer[: part.stop - start].normal_(generator=generator)
                yield self.place(normals, clusters[part], axes.scale, axes.centres), labels[part]

    def _told(self, labels: Tensor, generator: torch.Generator) -> Tensor:
        """Return labels with some of them wrong."""
        if self.label_noise == 0:
            return labels
        uniform = torch.rand(len(labels), generator=generator, device=labels.device)
        return torch.where(uniform < self.label_noise, -labels, labels)
