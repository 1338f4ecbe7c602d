"""A progress bar that counts updates, not Lightning's batches."""

from __future__ import annotations

from typing import Any, final

import pytorch_lightning as pl
from rich.console import Console
from rich.progress import BarColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar


@final
class Progress(pl.Callback):
    """Shows time t, the rate in updates per second and the time left, on standard error.

    Args:
        stop: the number of updates at which the run ends.
    """

    def __init__(self, stop: int) -> None:
        super().__init__()
        self._stop = stop
        self._bar: Bar | None = None

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Start the bar, in one process (Lightning's hook)."""
        if not trainer.is_global_zero:
            return
        self._bar = Bar(
            TextColumn("simulating"),
            BarColumn(),
            TextColumn("t = {task.fields[time]:.4g}"),
            TextColumn("{task.fields[rate]:.3g} updates/s"),
            TimeRemainingColumn(),
            console=Console(stderr=True),
            transient=True,
        )
        self._bar.add_task(
            "", total=self._stop, completed=self._seen(pl_module), time=0.0, rate=0.0
        )
        self._bar.start()

    def on_train_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """Move the bar (Lightning's hook)."""
        if self._bar is not None:
            seen = self._seen(pl_module)
            replicas = int(pl_module.engine.total)  # type: ignore[union-attr, arg-type]
            task = self._bar.tasks[0]
            self._bar.update(
                task.id,
                completed=seen,
                time=float(pl_module.time),  # type: ignore[arg-type]
                rate=(task.speed or 0.0) * replicas,
            )

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Take the bar away (Lightning's hook)."""
        self._close()

    def on_exception(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException
    ) -> None:
        """Take the bar away (Lightning's hook)."""
        self._close()

    def _close(self) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    @staticmethod
    def _seen(module: pl.LightningModule) -> int:
        return int(module.updates_done)  # type: ignore[arg-type]
