"""Engines that hold weights, and move them by samples."""

from __future__ import annotations

import abc
from collections.abc import Iterator, Sequence
from typing import final

import numpy as np
import torch
from torch import Tensor

from gmmdyn.algorithm import OnlineSGD
from gmmdyn.interfaces import DataModel
from gmmdyn.interfaces.engine import Engine, Observer, Segment, nothing
from gmmdyn.training.evaluation import Weights
from gmmdyn.training.rule.blocked import BlockedForm
from gmmdyn.training.rule.loop import CompiledLoop
from gmmdyn.training.rule.rule import Rule
from gmmdyn.training.samples import Samples, SampleSource
from gmmdyn.training.threads import run_in_threads


class WeightEngine(Engine, abc.ABC):
    """The weights of all replicas, and how blocks of samples move them, by the rule of SGD.

    Two ways to the same weights, equal to rounding. On a CPU, where the rule has functions, a
    compiled loop does one update after the other (`rule/loop.py`). Otherwise, on any device and for
    any activation, the exact blocked form (`rule/blocked.py`) does all work that grows with the
    number of weights in three matrix products.

    Args:
        dim: the input dimension `D`.
        block_size: updates in a block, at least 1.
        data_model: where samples come from.
        algorithm: how the networks learn.
        rule: the same, of the weights that are held here.
        seed: of the samples.
    """

    # Whether one replica alone is worked on in a single thread too.
    _always_in_threads = False

    def __init__(
        self,
        dim: int,
        block_size: int,
        data_model: DataModel,
        algorithm: OnlineSGD,
        rule: Rule,
        seed: int,
    ) -> None:
        super().__init__(dim, block_size)
        self.data_model = data_model
        self.algorithm = algorithm
        self.rule = rule
        self.seed = seed

    @abc.abstractmethod
    def _held(self, replicas: range) -> Weights:
        """Return views of the weights as they are held."""

    @abc.abstractmethod
    def _group_size(self) -> int:
        """Return how many replicas are worked on together."""

    @abc.abstractmethod
    def samples(self, block: int, group: range) -> Iterator[Samples]:
        """Draw the samples of a block.

        Args:
            block: its number.
            group: of replicas.

        Returns:
            The samples, in order, some at a time.
        """

    @abc.abstractmethod
    def _seen(self, inputs: Tensor) -> Tensor:
        """Return what the weights are multiplied with, `(N, B, ...)`, of inputs `(N, B, D)`."""

    @property
    @final
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.parameters(recurse=False)).device

    @property
    def compiled(self) -> bool:
        """Whether the compiled loop applies, here on this device."""
        return self.rule.functions is not None and self.device.type == "cpu"

    @property
    @final
    def finite(self) -> bool:
        """Whether all weights are finite."""
        states = self.parameters(recurse=False)
        return bool(torch.isfinite(torch.stack([state.sum().double() for state in states])).all())

    def groups(self) -> list[range]:
        """Return which replicas are worked on together; see `Engine.groups`."""
        size, replicas = self._group_size(), self.replicas
        return [range(first, min(first + size, replicas)) for first in range(0, replicas, size)]

    @final
    @torch.no_grad()
    def advance(
        self, segment: Segment, stops: Sequence[int] = (), observe: Observer = nothing
    ) -> None:
        """Move all replicas over a segment; see `Engine.advance`."""

        def run(group: range) -> None:
            self._advance_group(group, segment, stops, observe)

        groups = self.groups()
        if self.device.type == "cpu" and (len(groups) > 1 or self._always_in_threads):
            run_in_threads(run, groups)
            return
        # A single replica has all threads for its large matrix products.
        for group in groups:
            run(group)

    def _advance_group(
        self, group: range, segment: Segment, stops: Sequence[int], observe: Observer
    ) -> None:
        """Move some replicas; a default, by the samples that are drawn for them."""
        batch, rates, first = self.rule.batch, self._rates(segment), segment.block * self.block_size
        held = self._held(group)
        mover: CompiledLoop | BlockedForm | None = None
        if self.compiled and len(group) == 1:
            mover = CompiledLoop(self.rule, held.of(0))
        for start, inputs, labels in self.samples(segment.block, group):
            end = start + labels.shape[1] // batch
            parts = segment.parts(start, end, stops)
            seen = self._seen(inputs) if parts else inputs
            mover = mover or BlockedForm(self.rule, held, seen.dtype)
            for begin, stop in parts:
                part = slice((begin - start) * batch, (stop - start) * batch)
                mover.move(seen[:, part], labels[:, part], rates[begin - first : stop - first])
                if stop in stops:
                    observe(stop, group)
            if end >= segment.stop:
                return

    @final
    def _rates(self, segment: Segment) -> np.ndarray:
        """Return eta at each update of a segment's block."""
        first = segment.block * self.block_size
        return self.algorithm.rate((first + np.arange(self.block_size)) / self.dim)

    @final
    def _source(self, updates: int) -> SampleSource:
        """Return what draws the samples of so many updates at once."""
        noise, batch = self.algorithm.label_noise, self.rule.batch
        return SampleSource(self.data_model, self.seed, self.block_size, batch, noise, updates)
