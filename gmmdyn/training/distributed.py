"""Replicas over processes and devices: each has its share, and no gradient is ever averaged."""

from __future__ import annotations

from typing import Any, final

import pytorch_lightning as pl
import torch.distributed
from pytorch_lightning.strategies import DDPStrategy, SingleDeviceStrategy

from gmmdyn.errors import IncompatibleError


@final
class ReplicaStrategy(DDPStrategy):
    """Lightning's `ddp` without its wrapper: processes, ranks and devices, but no gradients.

    `Experiment.simulate` takes it where `ddp` is asked for; give it to a trainer of your own. Each
    process simulates its share of the replicas, which are the same runs as in one process.

    Args:
        **options: as of Lightning's `DDPStrategy`, such as `process_group_backend` and `timeout`.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)

    def configure_ddp(self) -> None:
        """Leave the module unwrapped: there are no gradients to reduce (Lightning's hook)."""


def check_strategy(trainer: pl.Trainer) -> None:
    """Refuse strategies that divide the work of one gradient.

    Args:
        trainer: that is to run an engine.

    Raises:
        IncompatibleError: if its strategy is not for replicas.
    """
    strategy = trainer.strategy
    if type(strategy) not in (SingleDeviceStrategy, ReplicaStrategy):
        raise IncompatibleError(
            f"{type(strategy).__name__} averages gradients over devices, or is not known to hand "
            "back the replicas of all processes; use the strategy `ddp`, or "
            "`gmmdyn.training.ReplicaStrategy()` with a trainer of your own."
        )


def share(total: int, rank: int, processes: int) -> range:
    """Return which replicas one process works on; shares differ by one at most.

    Args:
        total: how many replicas there are.
        rank: of the process.
        processes: how many there are.

    Returns:
        Their numbers, consecutive.

    Raises:
        IncompatibleError: if there are fewer replicas than processes.
    """
    if total < processes:
        raise IncompatibleError(
            f"{total} replicas cannot be divided among {processes} processes; give at least one "
            "replica for each."
        )
    return range(total * rank // processes, total * (rank + 1) // processes)


def first_process() -> bool:
    """Return whether this is the only process, or the first of several."""
    return not torch.distributed.is_initialized() or torch.distributed.get_rank() == 0


def gathered(value: Any) -> list[Any]:
    """Return the values of all processes, by rank; all of them must ask for it.

    Args:
        value: of this process, anything that can be pickled.

    Returns:
        As many as there are processes.
    """
    values: list[Any] = [None] * torch.distributed.get_world_size()
    torch.distributed.all_gather_object(values, value)
    return values
