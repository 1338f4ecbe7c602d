"""Lightning's trainer on an engine."""

from __future__ import annotations

import inspect
import signal
import sys
from collections.abc import Mapping
from pathlib import Path
from threading import current_thread, main_thread
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Checkpoint, ModelSummary, ProgressBar
from pytorch_lightning.utilities.exceptions import (  # type: ignore[attr-defined]
    MisconfigurationException,
)

from gmmdyn.errors import ConfigError, OutputError
from gmmdyn.interfaces import Engine
from gmmdyn.training.distributed import ReplicaStrategy
from gmmdyn.training.module import OnlineLearning
from gmmdyn.training.progress import Progress
from gmmdyn.training.quiet import quiet
from gmmdyn.training.recorder import Recorder
from gmmdyn.training.trainers import check_keywords, check_trainer

# Callbacks that Lightning's trainer has a switch for.
_SWITCHED = {
    "checkpointing": Checkpoint,
    "progress_bar": ProgressBar,
    "model_summary": ModelSummary,
}


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
        ConfigError: if there is no such checkpoint, or Lightning refuses the trainer's keywords.
        ArgumentError: if the trainer has no such keyword.
        IncompatibleError: if a keyword or a callback is not right for these runs.
        DivergenceError: if the weights diverge; without what was recorded.
        OutputError: if the checkpoint cannot be written.
    """
    module = OnlineLearning(engine)
    stop = recorder.last
    callbacks: list[pl.Callback] = [recorder]
    if sys.stderr.isatty() if progress is None else progress:
        callbacks.append(Progress(stop))
    if resume is not None and not Path(resume).is_file():
        raise ConfigError(f"there is no checkpoint `{resume}` to resume from.")
    given = dict(trainer or {})
    check_keywords(given, inspect.signature(pl.Trainer).parameters)
    more = given.pop("callbacks", None) or []
    more = [more] if isinstance(more, pl.Callback) else list(more)
    options: dict[str, Any] = {
        # Apple's GPUs have no double precision, which the few readout weights are kept in.
        "accelerator": "cpu" if torch.backends.mps.is_available() else engine.accelerator,
        "devices": 1,
        "logger": False,
        # A callback that was given is to do its work.
        **{
            f"enable_{name}": any(isinstance(one, kind) for one in more)
            for name, kind in _SWITCHED.items()
        },
        **given,
        "callbacks": [*callbacks, *more],
        "max_epochs": -1,
    }
    if _several(options):
        options["strategy"] = ReplicaStrategy()
    handler = None
    if current_thread() is main_thread():
        handler = signal.getsignal(signal.SIGINT)
    with quiet():
        try:
            runner = pl.Trainer(**options)
        except (MisconfigurationException, TypeError, ValueError, RuntimeError) as error:
            raise ConfigError(f"Lightning's Trainer refuses its keywords: {error}") from error
        check_trainer(runner)
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
