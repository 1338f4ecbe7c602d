"""What a run makes of the settings of a Lightning trainer: each is honoured, or refused by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import pytorch_lightning as pl
from pytorch_lightning.accelerators import CPUAccelerator, CUDAAccelerator
from pytorch_lightning.plugins import (  # type: ignore[attr-defined]
    CheckpointIO,
    ClusterEnvironment,
    Precision,
)

from gmmdyn import checks
from gmmdyn.errors import ArgumentError, IncompatibleError
from gmmdyn.training.callbacks import check_callbacks
from gmmdyn.training.distributed import check_strategy

# Keywords of Lightning's `Trainer` that do here what Lightning documents.
HONOURED = frozenset(
    {
        "accelerator",
        "barebones",
        "benchmark",
        "callbacks",
        "default_root_dir",
        "deterministic",
        "devices",
        "enable_autolog_hparams",
        "enable_checkpointing",
        "enable_model_summary",
        "enable_progress_bar",
        "log_every_n_steps",
        "logger",
        "max_steps",
        "max_time",
        "num_nodes",
        "profiler",
        "strategy",
        "use_distributed_sampler",
    }
)


class Refusal(NamedTuple):
    """Why a keyword is refused, unless its value says what happens anyway.

    Attributes:
        idle: tells such values; those of Lightning's defaults are among them.
        found: reads the value off a trainer.
        reason: a sentence that ends with what to do.
    """

    idle: Callable[[Any], bool]
    found: Callable[[Any], Any]
    reason: str


def _one_of(*values: Any) -> Callable[[Any], bool]:
    """Return a test for some values; 1 and 1.0 are different ones, as they are to Lightning."""
    return lambda given: any(type(given) is type(value) and given == value for value in values)


def _validation_interval(trainer: Any) -> Any:
    timed = trainer._val_check_time_interval
    return trainer.val_check_interval if timed is None else timed


def _idle_plugins(given: Any) -> bool:
    plugins = given if isinstance(given, list | tuple) else [given]
    known = (CheckpointIO, ClusterEnvironment, type(None))
    return all(isinstance(plugin, known) for plugin in plugins)


def _plugins(trainer: Any) -> list[Any]:
    """Return the plugins of a trainer that change numbers, but have no keyword of their own."""
    precision = trainer.precision_plugin
    own = type(precision) is not Precision and trainer.precision == Precision.precision
    return [precision] if own else []


_VALIDATION = (
    "there is no validation, since errors are measured on fresh test sets at recording times; "
    "give the `times` that you want."
)
_LEAST = (
    "a run ends at its last recording time; to keep early stopping back, give its callback a "
    "`patience`."
)
_GRADIENTS = "the updates are exact and without backward passes, so there is no gradient to "

REFUSED: Mapping[str, Refusal] = {
    # First those that set others.
    "fast_dev_run": Refusal(
        _one_of(False, 0, None),
        lambda trainer: trainer.fast_dev_run,
        "it would cut the curve off after some blocks; to try something out, simulate a short "
        "`duration`.",
    ),
    "overfit_batches": Refusal(
        lambda given: given is None or given == 0,
        lambda trainer: trainer.overfit_batches,
        "every sample is a new one, and seen once; leave it out.",
    ),
    "sync_batchnorm": Refusal(
        _one_of(False),
        lambda trainer: trainer._accelerator_connector._layer_sync is not None,
        "there are no batch norms; leave it out.",
    ),
    "precision": Refusal(
        _one_of(None, 32, "32", "32-true"),
        lambda trainer: trainer.precision,
        "numbers have the dtype of the network; give `dtype` to the network, such as "
        '`dtype="float64"`.',
    ),
    "plugins": Refusal(
        _idle_plugins,
        _plugins,
        "only a `ClusterEnvironment` and a `CheckpointIO` are known to leave the numbers of a run "
        "alone; leave the others out.",
    ),
    "max_epochs": Refusal(
        _one_of(None, -1),
        lambda trainer: -1,  # what is too few depends on the run: `check_epochs`
        "a run has no epochs of samples, since each is seen once; give `times` or `duration`, or "
        "`max_steps`.",
    ),
    "min_steps": Refusal(_one_of(None, 0), lambda trainer: trainer.min_steps, _LEAST),
    "min_epochs": Refusal(_one_of(None, 0), lambda trainer: trainer.min_epochs, _LEAST),
    "limit_train_batches": Refusal(
        _one_of(None, 1.0),
        lambda trainer: trainer.limit_train_batches,
        "the stream of samples has no end to take a part of; give `times` or `duration`, or "
        "`max_steps`.",
    ),
    "limit_val_batches": Refusal(
        _one_of(None, 0, 0.0, 1.0), lambda trainer: trainer.limit_val_batches, _VALIDATION
    ),
    "limit_test_batches": Refusal(
        _one_of(None, 0, 0.0, 1.0), lambda trainer: trainer.limit_test_batches, _VALIDATION
    ),
    "limit_predict_batches": Refusal(
        _one_of(None, 0, 0.0, 1.0), lambda trainer: trainer.limit_predict_batches, _VALIDATION
    ),
    "num_sanity_val_steps": Refusal(
        _one_of(None, 0, 2), lambda trainer: trainer.num_sanity_val_steps, _VALIDATION
    ),
    "val_check_interval": Refusal(_one_of(None, 1.0), _validation_interval, _VALIDATION),
    "check_val_every_n_epoch": Refusal(
        _one_of(1), lambda trainer: trainer.check_val_every_n_epoch, _VALIDATION
    ),
    "inference_mode": Refusal(
        _one_of(True), lambda trainer: trainer.validate_loop.inference_mode, _VALIDATION
    ),
    "accumulate_grad_batches": Refusal(
        _one_of(None, 1),
        lambda trainer: trainer.accumulate_grad_batches,
        _GRADIENTS + "accumulate; to average over samples, give `batch_size` to `OnlineSGD`.",
    ),
    "gradient_clip_val": Refusal(
        lambda given: given is None or given == 0,
        lambda trainer: trainer.gradient_clip_val,
        _GRADIENTS + "clip; leave it out.",
    ),
    "gradient_clip_algorithm": Refusal(
        _one_of(None),
        lambda trainer: trainer.gradient_clip_algorithm,
        _GRADIENTS + "clip; leave it out.",
    ),
    "detect_anomaly": Refusal(
        _one_of(False),
        lambda trainer: trainer._detect_anomaly,
        _GRADIENTS + "look into; weights that diverge are an error anyway.",
    ),
    "reload_dataloaders_every_n_epochs": Refusal(
        _one_of(0),
        lambda trainer: trainer.reload_dataloaders_every_n_epochs,
        "the stream of samples is one for the whole run; leave it out.",
    ),
    "model_registry": Refusal(
        _one_of(None),
        lambda trainer: trainer._model_registry,
        "checkpoints are files; use `checkpoint` and `resume`, or a `ModelCheckpoint`.",
    ),
}


def check_keywords(options: Mapping[str, Any], known: Mapping[str, Any]) -> None:
    """Refuse keywords for a trainer that would be ignored, or change what is simulated.

    Args:
        options: keywords and values.
        known: the keywords that the installed Lightning has.

    Raises:
        ArgumentError: if Lightning's trainer has no such keyword.
        IncompatibleError: if it has, and it is not known to be right here.
    """
    for name, value in options.items():
        if name not in known:
            near = checks.suggestion(name, known)
            raise ArgumentError(f"`trainer` has the unknown keyword `{name}`; {near}")
        if name in HONOURED:
            continue
        if name not in REFUSED:
            raise IncompatibleError(
                f"`trainer` has the keyword `{name}` of Lightning's Trainer, which is not known to "
                "be right for these runs; leave it out."
            )
        _refuse(name, value)


def check_trainer(trainer: pl.Trainer) -> None:
    """Refuse a trainer that was set up for what a run does not do.

    Args:
        trainer: that is to run an engine.

    Raises:
        IncompatibleError: naming the keyword or the callback.
    """
    for name, refusal in REFUSED.items():
        _refuse(name, refusal.found(trainer))
    accelerator = trainer.accelerator
    if type(accelerator) not in (CPUAccelerator, CUDAAccelerator):
        raise IncompatibleError(
            f"`accelerator` of the trainer is a {type(accelerator).__name__}: runs need double "
            "precision, and are known to be right on CPUs and on CUDA; give "
            '`accelerator="cpu"` or `"gpu"`.'
        )
    check_strategy(trainer)
    check_callbacks(trainer)


def _refuse(name: str, value: Any) -> None:
    refusal = REFUSED[name]
    if not refusal.idle(value):
        raise IncompatibleError(f"`{name}` of the trainer is {value!r}: {refusal.reason}")


def check_epochs(trainer: pl.Trainer, ahead: int) -> None:
    """Refuse a trainer whose epochs would be over before the run is.

    Args:
        trainer: that is about to run an engine.
        ahead: recording times that the run has not passed; an epoch lies between two of them.

    Raises:
        IncompatibleError: if there are too few epochs.
    """
    most = trainer.max_epochs
    if most is not None and most != -1 and most - trainer.current_epoch <= ahead:
        raise IncompatibleError(
            f"`max_epochs` of the trainer is {most}: an epoch lies between two recording times, of "
            f"which {ahead} are ahead; give it `max_epochs=-1`, and the run ends with its stream, "
            "or `max_steps`."
        )
