"""The samples of a block, drawn piece by piece from seeds of their own."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from gmmdyn.compiler.scalars import can_compile
from gmmdyn.interfaces import DataModel, GaussianMixture, PrincipalAxes
from gmmdyn.training.stream import SAMPLES, stream_seed

# Clusters drawn at once: the cost of a call vanishes in it.
_CLUSTERS = 2**16


class Samples(NamedTuple):
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


def generator_state(seed: int) -> np.ndarray:
    """Return the state of a compiled generator.

    Args:
        seed: not negative.

    Returns:
        Shape `(4, LANES)`, uint64; see `_normals.py`.
    """
    from gmmdyn.training.random._normals import LANES

    return np.random.SeedSequence(seed).generate_state(4 * LANES, np.uint64).reshape(4, LANES)


class Choices(NamedTuple):
    """What a replica's samples of a block are drawn from.

    Attributes:
        clusters: of the samples, shape `(n,)`.
        labels: that the network is told, shape `(n,)`.
        state: of the generator of their noise, as `draw_inputs` in `_normals.py` takes it.
    """

    clusters: Tensor
    labels: Tensor
    state: np.ndarray


@dataclass(frozen=True)
class SampleSource:
    """Draws the samples of a run; they depend on seed, block, replica and sizes alone.

    Attributes:
        data_model: where samples come from.
        seed: of the run.
        block_size: updates in a block.
        batch: b, samples of an update.
        label_noise: probability that a label is the wrong one.
        updates: whose samples are drawn at once, at least 1.
    """

    data_model: DataModel
    seed: int
    block_size: int
    batch: int
    label_noise: float
    updates: int

    def draw(
        self,
        block: int,
        group: range,
        device: torch.device,
        dtype: torch.dtype,
        axes: PrincipalAxes | None,
    ) -> Iterator[Samples]:
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
        updates = self.updates
        seeded = group if on_cpu else range(group.start, group.start + 1)
        share = len(group) // len(seeded)
        sources: list[Iterator[tuple[Tensor, Tensor]]] = []
        for replica in seeded:
            if axes is not None and on_cpu and can_compile():
                sources.append(self._compiled(updates, self.choose(block, replica, dtype), axes))
                continue
            generator = torch.Generator(device).manual_seed(self._seed_of(block, replica))
            if axes is None:
                sources.append(self._from_model(share, updates, generator, dtype))
            else:
                sources.append(self._in_axes(share, updates, generator, axes))
        for start, drawn in zip(
            range(0, self.block_size, updates), zip(*sources, strict=True), strict=True
        ):
            if len(drawn) == 1:
                inputs, labels = drawn[0]
                inputs = inputs.view(share, -1, dim)
                labels = labels.view(share, inputs.shape[1], *labels.shape[1:])
            else:
                inputs = torch.stack([x for x, _ in drawn])
                labels = torch.stack([y for _, y in drawn])
            yield Samples(block * self.block_size + start, inputs, labels)

    def choose(self, block: int, replica: int, dtype: torch.dtype, done: int = 0) -> Choices:
        """Choose the clusters of a block's samples, and the generator of their noise, on a CPU.

        Args:
            block: its number.
            replica: its number.
            dtype: of samples and labels.
            done: samples that the generator is to be moved past.

        Returns:
            The choices.
        """
        mixture = self._mixture()
        seed = self._seed_of(block, replica)
        generator = torch.Generator().manual_seed(seed)
        total = self.block_size * self.batch
        clusters = torch.multinomial(mixture.priors, total, True, generator=generator)
        labels = self._told(mixture.labels.to(dtype)[clusters], generator)
        state = generator_state(seed)
        if done > 0:
            from gmmdyn.training.random._normals import skip_rows

            skip_rows(state, done, mixture.dim, dtype.itemsize)
        return Choices(clusters, labels, state)

    def _seed_of(self, block: int, replica: int) -> int:
        return stream_seed(self.seed, SAMPLES, replica, block)

    def _mixture(self) -> GaussianMixture:
        """Return the data model, which has principal axes."""
        if not isinstance(self.data_model, GaussianMixture):
            raise AssertionError("only Gaussian mixtures have principal axes")
        return self.data_model

    def _compiled(
        self, updates: int, choices: Choices, axes: PrincipalAxes
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Draw inputs in the compiled loop: exactly those that the engine's own loop draws."""
        from gmmdyn.training.random._normals import draw_inputs

        total, rows = len(choices.labels), updates * self.batch
        # One buffer for all pieces: it stays in the cache.
        buffer = torch.empty(min(rows, total), self.data_model.dim, dtype=axes.scale.dtype)
        scale, centres = axes.scale.numpy(), axes.centres.contiguous().numpy()
        for start in range(0, total, rows):
            part = slice(start, min(start + rows, total))
            inputs = buffer[: part.stop - start]
            clusters = choices.clusters[part].numpy()
            draw_inputs(choices.state, clusters, centres, scale, inputs.numpy())
            yield inputs, choices.labels[part]

    def _from_model(
        self, share: int, updates: int, generator: torch.Generator, dtype: torch.dtype
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Ask the data model."""
        for start in range(0, self.block_size, updates):
            count = share * min(updates, self.block_size - start) * self.batch
            batch = self.data_model.sample(count, generator, dtype)
            yield batch.inputs, self._told(batch.labels, generator)

    def _in_axes(
        self, share: int, updates: int, generator: torch.Generator, axes: PrincipalAxes
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Draw clusters for many pieces at once, and normals piece by piece, on any device."""
        mixture = self._mixture()
        total = share * self.block_size * self.batch
        rows = share * updates * self.batch
        span = rows * max(1, _CLUSTERS // rows)
        buffer = axes.scale.new_empty(min(rows, total), mixture.dim)
        for first in range(0, total, span):
            count = min(span, total - first)
            clusters = torch.multinomial(mixture.priors, count, True, generator=generator)
            labels = self._told(mixture.labels.to(axes.scale)[clusters], generator)
            for start in range(0, count, rows):
                part = slice(start, min(start + rows, count))
                normals = buffer[: part.stop - start].normal_(generator=generator)
                inputs = torch.addcmul(axes.centres[clusters[part]], normals, axes.scale)
                yield inputs, labels[part]

    def _told(self, labels: Tensor, generator: torch.Generator) -> Tensor:
        """Return labels with some of them wrong: the other one, or one of the other classes."""
        if self.label_noise == 0:
            return labels
        uniform = torch.rand(len(labels), generator=generator, device=labels.device)
        if labels.ndim == 1:
            return torch.where(uniform < self.label_noise, -labels, labels)
        outputs = labels.shape[1]
        # The other classes of a label are its shifts, since its other entries are all alike.
        shift = 1 + (uniform / self.label_noise * (outputs - 1)).long().clamp(max=outputs - 2)
        shift = torch.where(uniform < self.label_noise, shift, 0).unsqueeze(1)
        places = (torch.arange(outputs, device=labels.device) - shift) % outputs
        return labels.gather(1, places)
