"""Which of Lightning's callbacks a run can have, and what they stopped it for."""

from __future__ import annotations

from typing import Any

import pytorch_lightning as pl
from pytorch_lightning import callbacks
from pytorch_lightning.callbacks.early_stopping import EarlyStoppingReason

from gmmdyn import checks
from gmmdyn.errors import IncompatibleError, RangeError

# Others of Lightning's would change the weights, the rates or the samples behind the engine's back,
# or wait for what never comes. What users write themselves is theirs.
KNOWN: tuple[type[Any], ...] = (
    callbacks.Callback,
    callbacks.Checkpoint,
    callbacks.DeviceStatsMonitor,
    callbacks.EarlyStopping,
    callbacks.LambdaCallback,
    callbacks.ModelCheckpoint,
    callbacks.ModelSummary,
    callbacks.OnExceptionCheckpoint,
    callbacks.ProgressBar,
    callbacks.RichModelSummary,
    callbacks.RichProgressBar,
    callbacks.TQDMProgressBar,
    callbacks.Timer,
)
# Private attributes that hold the flags of Lightning's callbacks which need a validation loop, or
# which Lightning ignores under manual optimisation, and the values that ask for nothing.
_FLAGS = {
    "train_time_interval": ("_train_time_interval", (None,)),
    "save_on_train_epoch_end": ("_save_on_train_epoch_end", (None, True)),
    "check_on_train_epoch_end": ("_check_on_train_epoch_end", (None, True)),
}


def check_callbacks(trainer: pl.Trainer) -> None:
    """Refuse callbacks of Lightning that are not known to be right.

    Args:
        trainer: that has them.

    Raises:
        IncompatibleError: naming the callback.
    """
    for callback in trainer.callbacks:  # type: ignore[attr-defined]
        name = type(callback).__name__
        for ancestor in type(callback).__mro__:
            ours = not ancestor.__module__.startswith("pytorch_lightning.callbacks")
            if not ours and ancestor not in KNOWN:
                names = ", ".join(sorted(known.__name__ for known in KNOWN))
                kind = name if ancestor is type(callback) else f"{name}, a {ancestor.__name__},"
                raise IncompatibleError(
                    f"the callback {kind} is not known to leave online SGD as it is; of "
                    f"Lightning's callbacks there are: {names}."
                )
        for flag, (attribute, idle) in _FLAGS.items():
            value = getattr(callback, attribute, None)
            if value not in idle:
                raise IncompatibleError(
                    f"`{flag}` of the callback {name} is {value!r}, by which it would never act "
                    "here; leave it out, and it acts at each recording time."
                )


def check_monitors(trainer: pl.Trainer) -> None:
    """Refuse callbacks that monitor what nobody logs.

    Args:
        trainer: at the end of an epoch, after all has been logged.

    Raises:
        RangeError: naming the callback and what there is.
    """
    for callback in trainer.callbacks:  # type: ignore[attr-defined]
        monitor = getattr(callback, "monitor", None)
        wanted = isinstance(callback, callbacks.EarlyStopping | callbacks.ModelCheckpoint)
        if not wanted or monitor is None or not getattr(callback, "strict", True):
            continue
        if monitor not in trainer.callback_metrics:
            near = checks.suggestion(monitor, trainer.callback_metrics)
            raise RangeError(
                f"`monitor` of {type(callback).__name__} is {monitor!r}, which is not logged; "
                f"{near}"
            )


def why_stopped(trainer: pl.Trainer) -> str:
    """Say what ended a fit before the last recording time.

    Args:
        trainer: of the fit of an `OnlineLearning`.

    Returns:
        A clause that names a keyword or a callback.
    """
    for callback in trainer.callbacks:  # type: ignore[attr-defined]
        if (
            isinstance(callback, callbacks.EarlyStopping)
            and callback.stopping_reason is not EarlyStoppingReason.NOT_STOPPED
        ):
            return f"{type(callback).__name__}: {callback.stopping_reason_message}"
        if isinstance(callback, callbacks.Timer):
            left = callback.time_remaining()
            if left is not None and left <= 0:
                return "max_time: the time was up"
    if trainer.max_steps != -1 and trainer.global_step >= trainer.max_steps:
        return f"max_steps={trainer.max_steps}"
    module: Any = trainer.lightning_module
    return "the stream of samples ended" if module.over else "a callback stopped the trainer"
