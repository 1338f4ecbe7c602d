"""Online SGD as a LightningModule."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, final

import pytorch_lightning as pl
import torch
from torch import Tensor

from gmmdyn.errors import DivergenceError
from gmmdyn.training.distributed import check_strategy, gathered, share
from gmmdyn.training.engine import Engine
from gmmdyn.training.recorder import Recorder
from gmmdyn.training.stream import BlockStream, Segment


@final
class BlockSGD(torch.optim.Optimizer):
    """One step is all the updates of one segment.

    An optimizer, so that Lightning's `global_step`, `max_steps` and checkpoints count blocks.

    Args:
        engine: holds the states of the replicas and moves them.
    """

    def __init__(self, engine: Engine) -> None:
        super().__init__(engine.parameters(), {})
        self._engine = engine

    def step(  # type: ignore[override]
        self,
        closure: Callable[[], Any] | None = None,
        *,
        segment: Segment,
        recorder: Recorder | None = None,
    ) -> None:
        """Move the weights over a segment.

        Args:
            closure: ignored; Lightning always gives one.
            segment: which updates.
            recorder: looks at the weights at its recording times.
        """
        if recorder is None:
            self._engine.advance(segment)
        else:
            stops = recorder.stops(segment)
            self._engine.advance(segment, stops, recorder.observe)


@final
class OnlineLearning(pl.LightningModule):
    """Online SGD of independent replicas, fed by a `BlockStream`.

    Compose it with a trainer of your own:
    `Trainer(...).fit(module, train_dataloaders=module.stream())`. It counts updates itself, in
    `updates_done`; a `Recorder` among the trainer's callbacks measures.

    Args:
        engine: holds the states of the replicas and moves them.
    """

    updates_done: Tensor

    def __init__(self, engine: Engine) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.engine = engine
        self.register_buffer("updates_done", torch.zeros((), dtype=torch.int64))

    @property
    def time(self) -> float:
        """Where the run stands: t = updates/D."""
        return int(self.updates_done) / self.engine.dim

    def stream(self, stop: int | None = None) -> BlockStream:
        """Return the stream of blocks that this module expects.

        Args:
            stop: the number of updates at which it ends; without, it never does.

        Returns:
            An iterable for `Trainer.fit`; it begins where the module stands.
        """
        return BlockStream(self.engine.block_size, lambda: int(self.updates_done), stop)

    def setup(self, stage: str) -> None:
        """Keep the replicas of this process, if there are several (Lightning's hook).

        Args:
            stage: of the trainer, not used.

        Raises:
            IncompatibleError: if the trainer's strategy is not for replicas, or there are fewer
                replicas than processes.
        """
        check_strategy(self.trainer)
        processes = self.trainer.world_size
        if processes > 1 and not self.engine.divided:
            self.engine.keep(share(self.engine.total, self.trainer.global_rank, processes))

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Gather the replicas of all processes: a checkpoint has them all (Lightning's hook).

        Args:
            checkpoint: to be written.
        """
        if self.engine.divided:
            own = {name: state.cpu() for name, state in self.engine.named_parameters(recurse=False)}
            parts = gathered(own)
            for name in own:
                whole = torch.cat([part[name] for part in parts])
                checkpoint["state_dict"][f"engine.{name}"] = whole

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Pick the replicas of this process (Lightning's hook).

        Args:
            checkpoint: that was read.
        """
        if self.engine.divided:
            here = self.engine.numbers(range(self.engine.replicas))
            states = checkpoint["state_dict"]
            for name, _ in self.engine.named_parameters(recurse=False):
                states[f"engine.{name}"] = states[f"engine.{name}"][here.start : here.stop]

    def configure_optimizers(self) -> BlockSGD:
        """Return the optimizer that runs the engine."""
        return BlockSGD(self.engine)

    def training_step(self, segment: Segment, batch_idx: int) -> None:
        """Run the updates of one segment.

        Args:
            segment: from the stream.
            batch_idx: counted by Lightning, not used.

        Raises:
            DivergenceError: if a weight is no longer finite.
            RuntimeError: if the segment does not begin where the module stands.
        """
        segment = Segment(*(int(number) for number in segment))
        if segment.start != int(self.updates_done):
            raise RuntimeError(
                f"the segment begins at update {segment.start} but the run stands at "
                f"{int(self.updates_done)}; feed the module its own `stream()`."
            )
        recorder = None
        for callback in self.trainer.callbacks:  # type: ignore[attr-defined]
            if isinstance(callback, Recorder):
                recorder = callback
        optimizer = self.optimizers()
        optimizer.step(segment=segment, recorder=recorder)  # type: ignore[union-attr]
        self.updates_done.fill_(segment.stop)
        # All processes stop together: one that went on would wait for the others for ever.
        if not self.trainer.strategy.reduce_boolean_decision(self.engine.finite):
            begin = segment.start / self.engine.dim
            raise DivergenceError(
                f"the weights grew beyond all bounds between t = {begin:.6g} and {self.time:.6g}; "
                "lower the learning rate."
            )
