"""Online SGD as a LightningModule."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, final

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import ModelSummary, ProgressBar, Timer
from torch import Tensor

from gmmdyn.errors import DivergenceError, IncompatibleError
from gmmdyn.interfaces import Engine, Segment
from gmmdyn.training.callbacks import check_monitors
from gmmdyn.training.distributed import gathered, share
from gmmdyn.training.progress import Progress
from gmmdyn.training.recorder import Recorder
from gmmdyn.training.stream import BlockStream
from gmmdyn.training.trainers import check_epochs, check_trainer

# Callbacks that do not care when a step ends.
_DEAF = (Recorder, Progress, ModelSummary, ProgressBar)


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

    A Lightning step is a block of updates, and all of them are one epoch. Where loggers or
    callbacks listen, or `max_steps` counts, steps and epochs end at recording times too, which
    changes no number: the noise of a block knows nothing of steps. So whatever acts at the end of
    an epoch, as `EarlyStopping` and `ModelCheckpoint` do, acts at each recording time.

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
            stop: the number of updates at which it ends, and the fit with it. Without, it ends when
                the trainer stops, and with a trainer that has no limit of steps or time at the last
                recording time; if nothing is recorded either, never.

        Returns:
            An iterable for `Trainer.fit`; it begins where the module stands.
        """
        return BlockStream(
            self.engine.block_size, lambda: int(self.updates_done), stop, self._end_of_epoch
        )

    @property
    def recorder(self) -> Recorder | None:
        """The recorder among the trainer's callbacks."""
        for callback in self.trainer.callbacks:  # type: ignore[attr-defined]
            if isinstance(callback, Recorder):
                return callback
        return None

    @property
    def listening(self) -> bool:
        """Whether steps are to end at recording times: somebody listens, or counts them."""
        trainer: Any = self.trainer
        return (
            bool(trainer.loggers)
            or trainer.max_steps != -1
            or any(not isinstance(callback, _DEAF) for callback in trainer.callbacks)
        )

    def _end_of_epoch(self) -> int | None:
        """Return at how many updates the epoch that begins now is to end, if anywhere."""
        recorder = self.recorder
        if recorder is not None and self.listening and recorder.unheard:
            return recorder.unheard[0]
        return self._end()

    def _end(self) -> int | None:
        """Return at how many updates the run ends, if it is not stopped before."""
        trainer: Any = self.trainer
        stream = trainer.train_dataloader
        stop = stream.stop if isinstance(stream, BlockStream) else None
        limited = trainer.max_steps != -1 or any(
            isinstance(callback, Timer) for callback in trainer.callbacks
        )
        if stop is None and not limited and self.recorder is not None:
            return self.recorder.last
        return stop

    @property
    def over(self) -> bool:
        """Whether there are no more updates to do."""
        end = self._end()
        return end is not None and int(self.updates_done) >= end

    def _stop_at_the_end(self) -> None:
        """Stop the trainer, which would run empty epochs for ever."""
        recorder = self.recorder
        unheard = recorder.unheard if recorder is not None and self.listening else []
        if self.over and not any(step <= int(self.updates_done) for step in unheard):
            self.trainer.should_stop = True

    def configure_callbacks(self) -> list[pl.Callback]:
        """Refuse what the trainer cannot be asked for, before anything begins (Lightning's hook).

        Returns:
            No callbacks of its own.

        Raises:
            IncompatibleError: naming a keyword of the trainer or one of its callbacks.
        """
        check_trainer(self.trainer)
        if self.recorder is not None and self.recorder.engine is not self.engine:
            raise IncompatibleError(
                "the trainer's Recorder is of another engine; give one of the module's."
            )
        return []

    def setup(self, stage: str) -> None:
        """Keep the replicas of this process, if there are several (Lightning's hook).

        Args:
            stage: of the trainer, not used.

        Raises:
            IncompatibleError: if there are fewer replicas than processes.
        """
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
        """Pick the replicas of this process, and where epochs go on (Lightning's hook).

        Args:
            checkpoint: that was read.
        """
        # The stream begins where the run stands, so no batch was the last one. Lightning would end
        # an epoch once more that was over when the checkpoint was written, unless it is complete.
        loop = checkpoint["loops"]["fit_loop"]
        loop["epoch_loop.batch_progress"]["is_last_batch"] = False
        for epochs in loop["epoch_progress"].values():
            if epochs["processed"] == epochs["ready"]:
                epochs["completed"] = epochs["processed"]
        if self.engine.divided:
            here = self.engine.numbers(range(self.engine.replicas))
            states = checkpoint["state_dict"]
            for name, _ in self.engine.named_parameters(recurse=False):
                states[f"engine.{name}"] = states[f"engine.{name}"][here.start : here.stop]

    def on_train_start(self) -> None:
        """Look whether there is anything to do (Lightning's hook).

        Raises:
            IncompatibleError: if the trainer's epochs would be over before the run is.
        """
        check_epochs(self.trainer, 0 if self.recorder is None else len(self.recorder.unheard))
        self._stop_at_the_end()

    def on_train_epoch_end(self) -> None:
        """Look whether the run is over (Lightning's hook).

        Raises:
            RangeError: if a callback monitors what nobody logs.
        """
        if self.recorder is not None and self.listening:
            check_monitors(self.trainer)
        self._stop_at_the_end()

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
        optimizer = self.optimizers()
        optimizer.step(segment=segment, recorder=self.recorder)  # type: ignore[union-attr]
        self.updates_done.fill_(segment.stop)
        # All processes stop together: one that went on would wait for the others for ever.
        if not self.trainer.strategy.reduce_boolean_decision(self.engine.finite):
            begin = segment.start / self.engine.dim
            raise DivergenceError(
                f"the weights grew beyond all bounds between t = {begin:.6g} and {self.time:.6g}; "
                "lower the learning rate."
            )
