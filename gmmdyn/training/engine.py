"""What an engine is: it holds the states of all replicas, moves them, and measures them."""

from __future__ import annotations

import abc
from collections.abc import Callable, Mapping, Sequence
from typing import ClassVar, final

import numpy as np
import torch
from torch import Tensor, nn

from gmmdyn.algorithm import OnlineSGD
from gmmdyn.interfaces import DataModel, Network
from gmmdyn.training.stream import Segment

# Called with the number of updates done and the replicas that are there; from several threads at
# once, each with other replicas.
Observer = Callable[[int, range], None]


def nothing(step: int, replicas: range) -> None:
    """Observe nothing.

    Args:
        step: updates done.
        replicas: which.
    """


def copies(tensor: Tensor, replicas: int) -> nn.Parameter:
    """Return the same initial state for all replicas.

    Args:
        tensor: the state of one.
        replicas: how many.

    Returns:
        Their states, with the axis of replicas first; no gradients.
    """
    stacked = tensor.detach().expand(replicas, *tensor.shape)
    return nn.Parameter(stacked.clone(memory_format=torch.contiguous_format), requires_grad=False)


class Engine(nn.Module, abc.ABC):
    """The states of all replicas, and how blocks of samples move them.

    What a checkpoint must hold is in its parameters and buffers. Its noise depends on its seed, the
    replica and the block alone, never on when it is looked at. A subclass's constructor takes a
    data model, a network and an algorithm, and by keyword `replicas`, `seed` and `block_size`.

    Its own parameters have an axis of replicas first. Replicas are numbered from 0 in this process;
    seeds are made of their `numbers`.

    Args:
        dim: the input dimension `D`.
        block_size: updates in a block, at least 1.

    Attributes:
        name: what `Experiment.simulate` calls it.
        describes: the `OnlineSGD.variations` that it simulates; it refuses all others.
        several_outputs: whether it simulates networks of several outputs.
        accelerator: what `Experiment.simulate` runs it on unless told, as Lightning's trainer
            names it.
        dim: the input dimension `D`: one unit of time is `D` updates.
        block_size: updates in a block.
        first_replica: the number of the first one here among all of them.
    """

    name: ClassVar[str]
    describes: ClassVar[frozenset[str]] = frozenset()
    several_outputs: ClassVar[bool] = False
    accelerator: ClassVar[str] = "auto"
    first_replica: int = 0
    _total: int | None = None

    def __init__(self, dim: int, block_size: int) -> None:
        super().__init__()
        self.dim = dim
        self.block_size = block_size

    @property
    @final
    def replicas(self) -> int:
        """How many independent runs are here."""
        return len(next(self.parameters(recurse=False)))

    @property
    @final
    def total(self) -> int:
        """How many replicas there are in all processes."""
        return self.replicas if self._total is None else self._total

    @property
    @final
    def divided(self) -> bool:
        """Whether there are replicas in other processes."""
        return self.total > self.replicas

    @final
    def keep(self, replicas: range) -> None:
        """Keep some replicas, the share of this process, and forget the others.

        Args:
            replicas: which, consecutive.
        """
        self._total = self.total
        self.first_replica += replicas.start
        for state in self.parameters(recurse=False):
            state.data = state.data[replicas.start : replicas.stop].clone()

    @final
    def numbers(self, replicas: range) -> range:
        """Return the numbers of some replicas among all of them, which their seeds are made of.

        Args:
            replicas: which of this process.

        Returns:
            As many numbers.
        """
        return range(self.first_replica + replicas.start, self.first_replica + replicas.stop)

    @classmethod
    @final
    def obstacle(cls, data_model: DataModel, network: Network, algorithm: OnlineSGD) -> str | None:
        """Say why this engine cannot run an experiment.

        Args:
            data_model: where samples come from.
            network: at its initial weights.
            algorithm: how it learns.

        Returns:
            A clause that goes on from "the … engine", or None if it can.
        """
        if network.outputs > 1 and not cls.several_outputs:
            return f"simulates networks of one output, and this one has {network.outputs}"
        reason = algorithm.undescribed(cls.describes)
        return cls.obstacle_of_parts(data_model, network) if reason is None else reason

    @classmethod
    @abc.abstractmethod
    def obstacle_of_parts(cls, data_model: DataModel, network: Network) -> str | None:
        """Say why this engine cannot run a data model and a network, whatever the algorithm.

        Args:
            data_model: where samples come from.
            network: at its initial weights.

        Returns:
            A clause that goes on from "the … engine", or None if it can.
        """

    @property
    @abc.abstractmethod
    def finite(self) -> bool:
        """Whether all states are finite."""

    @abc.abstractmethod
    def groups(self) -> list[range]:
        """Return which replicas are worked on, and measured, together."""

    @abc.abstractmethod
    def advance(
        self, segment: Segment, stops: Sequence[int] = (), observe: Observer = nothing
    ) -> None:
        """Move all replicas over a segment.

        Args:
            segment: which updates.
            stops: numbers of updates done at which to look at the states, each above
                `segment.start` and at most `segment.stop`.
            observe: called at each stop, once for each group of replicas.
        """

    @abc.abstractmethod
    def measure(self, step: int, replicas: range, test_size: int) -> Mapping[str, np.ndarray]:
        """Measure some replicas as they are now.

        Args:
            step: updates done; it seeds the test sets.
            replicas: which, one of `groups()`.
            test_size: points in each test set.

        Returns:
            Curves of a trajectory at one time by name, each of shape `(len(replicas), ...)`; NaN
            where the state is not finite.
        """
