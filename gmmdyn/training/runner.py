"""Lightning's trainer on an engine."""

from __future__ import annotations

import inspect
import logging
import signal
import sys
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from threading import current_thread, main_thread
from typing import Any

import pytorch_lightning as pl
import torch

from gmmdyn import checks
from gmmdyn.errors import ArgumentError, ConfigError, OutputError
from gmmdyn.training.distributed import ReplicaStrategy, check_strategy
from gmmdyn.training.engine import Engine
from gmmdyn.training.module import OnlineLearning
from gmmdyn.training.progress import Progress
from gmmdyn.training.recorder import Recorder


def run(
    engine: Engine,
    recorder: Recorder,
    *,
    progress: bool | None,
    trainer: Mapping[str, Any] | None,
    checkpoint: str | Path | None = None,
    resume: str | Path | None = None,
) -> None:
    """Run an engine to the last recording time; the arguments are those of `Experiment.simulate`.

    Args:
        engine: at the initial weights.
        recorder: of the engine.
        progress: whether to show a progress bar; None shows it on a terminal.
        trainer: keywords for Lightning's `Trainer`.
        checkpoint: file for a checkpoint of the end of the run.
        resume: checkpoint to go on from.

    Raises:
        ConfigError: if there is no such checkpoint.
        ArgumentError: if the trainer has no such keyword.
        IncompatibleError: if its strategy is not for replicas.
        DivergenceError: if the weights diverge; without what was recorded.
        OutputError: if the checkpoint cannot be written.
    """
    module = OnlineLearning(engine)
    stop = recorder.last
    callbacks: list[pl.Callback] = [recorder, _StopAt(stop)]
    if sys.stderr.isatty() if progress is None else progress:
        callbacks.append(Progress(stop))
    if resume is not None and not Path(resume).is_file():
        raise ConfigError(f"there is no checkpoint `{resume}` to resume from.")
    options: dict[str, Any] = {
        # Apple's GPUs have no double precision, which the few readout weights are kept in.
        "accelerator": "cpu" if torch.backends.mps.is_available() else engine.accelerator,
        "devices": 1,
        "max_epochs": -1,
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        **(trainer or {}),
    }
    known = inspect.signature(pl.Trainer).parameters
    for option in options:
        if option not in known:
            near = checks.suggestion(option, known)
            raise ArgumentError(f"`trainer` has the unknown keyword `{option}`; {near}")
    if _several(options):
        options["strategy"] = ReplicaStrategy()
    options["callbacks"] = [*callbacks, *(options.get("callbacks") or [])]
    handler = None
    if current_thread() is main_thread():
        handler = signal.getsignal(signal.SIGINT)
    with _quiet():
        runner = pl.Trainer(**options)
        check_strategy(runner)
        try:
            runner.fit(
                module,
                train_dataloaders=module.stream(stop),
                ckpt_path=None if resume is None else str(resume),
                weights_only=None if resume is None else True,
            )
        except SystemExit as leaving:
            # Lightning makes an exit of an interrupt, and leaves the process deaf to more of them.
            if not isinstance(leaving.__context__, KeyboardInterrupt):
                raise
            if handler is not None:
                signal.signal(signal.SIGINT, handler)
            raise KeyboardInterrupt from None
        if checkpoint is not None:
            try:
                runner.save_checkpoint(checkpoint)
            except OSError as error:
                raise OutputError(
                    f"cannot write the checkpoint `{checkpoint}`: {error}."
                ) from error


def _several(options: Mapping[str, Any]) -> bool:
    """Return whether keywords of a trainer ask for processes and leave it to us how."""
    strategy = options.get("strategy", "auto")
    devices = options["devices"]
    count = len(devices) if isinstance(devices, list | tuple) else devices
    alone = count in (1, "1") and options.get("num_nodes", 1) == 1
    return strategy == "ddp" or (strategy == "auto" and not alone)


class _StopAt(pl.Callback):
    """End the fit when the run has done enough updates."""

    def __init__(self, stop: int) -> None:
        super().__init__()
        self._stop = stop

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._look(trainer, pl_module)

    def on_train_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        self._look(trainer, pl_module)

    def _look(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        if int(module.updates_done) >= self._stop:  # type: ignore[arg-type]
            trainer.should_stop = True


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence what Lightning says about data loaders and devices: none of it applies here."""
    loggers = [logging.getLogger(name) for name in ("pytorch_lightning", "lightning_fabric")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module=r"pytorch_lightning")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
