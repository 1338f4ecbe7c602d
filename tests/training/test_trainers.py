"""Each keyword of Lightning's Trainer does what Lightning says, or is refused by name."""

from __future__ import annotations

import inspect
import logging
import re
import time
from datetime import timedelta
from pathlib import Path

import pytest
import pytorch_lightning as pl
import torch
from listeners import OPTIONS, TIMES, Memory, experiment, parts, same, trainer_of_ones_own
from pytorch_lightning.accelerators import CPUAccelerator
from pytorch_lightning.plugins import (
    AsyncCheckpointIO,
    MixedPrecision,
    Precision,
    TorchCheckpointIO,
    TorchSyncBatchNorm,
)
from pytorch_lightning.plugins.environments import LightningEnvironment
from pytorch_lightning.strategies import SingleDeviceStrategy

import gmmdyn as gd
from gmmdyn.errors import ArgumentError, ConfigError, IncompatibleError
from gmmdyn.training.trainers import HONOURED, REFUSED, check_keywords

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore:.*:UserWarning")


class Rounded(Precision):
    """A precision of one's own."""


# Values that ask for something, and the name of what is refused where it is another keyword.
ASKING = [
    ("precision", "16-mixed"),
    ("precision", "bf16-true"),
    ("precision", 64),
    ("fast_dev_run", True),
    ("fast_dev_run", 3),
    ("overfit_batches", 2),
    ("sync_batchnorm", True),
    ("plugins", [Rounded()]),
    ("max_epochs", 3),
    ("min_epochs", 2),
    ("min_steps", 5),
    ("limit_train_batches", 2),
    ("limit_train_batches", 1),
    ("limit_train_batches", 0),
    ("limit_val_batches", 2),
    ("limit_val_batches", 1),
    ("limit_test_batches", 0.5),
    ("limit_predict_batches", 3),
    ("num_sanity_val_steps", 1),
    ("val_check_interval", 5),
    ("val_check_interval", timedelta(seconds=3)),
    ("check_val_every_n_epoch", 2),
    ("inference_mode", False),
    ("accumulate_grad_batches", 4),
    ("gradient_clip_val", 0.5),
    ("gradient_clip_algorithm", "norm"),
    ("detect_anomaly", True),
    ("reload_dataloaders_every_n_epochs", 1),
    ("model_registry", "somewhere"),
]


@pytest.fixture(scope="module")
def whole():
    return experiment().simulate(**OPTIONS)


def test_every_keyword_of_lightning_is_honoured_or_refused():
    """One that a later Lightning has is refused until it is looked at."""
    keywords = set(inspect.signature(pl.Trainer).parameters)
    assert keywords == HONOURED | set(REFUSED)
    assert not HONOURED & set(REFUSED)
    assert {name for name, _ in ASKING} == set(REFUSED)
    with pytest.raises(IncompatibleError, match=r"`telepathy` of Lightning's Trainer.*not known"):
        check_keywords({"telepathy": 1}, {"telepathy": None})


def without_addresses(value):
    """Name a case the same in every process: an address in memory is not."""
    return re.sub(r" object at 0x[0-9a-f]+", "", str(value))


@pytest.mark.parametrize(("name", "value"), ASKING)
def test_a_keyword_that_would_be_ignored_or_change_the_run_is_refused(name, value):
    with pytest.raises(IncompatibleError, match=f"^`{name}` of the trainer is ") as refused:
        experiment().simulate(**OPTIONS, trainer={name: value})
    assert str(refused.value).endswith(".")


@pytest.mark.parametrize(("name", "value"), ASKING)
def test_a_trainer_of_ones_own_is_refused_for_the_same(name, value):
    module, recorder = parts()
    trainer = trainer_of_ones_own(recorder, **{name: value})
    with pytest.raises(IncompatibleError, match=f"^`{name}` of the trainer is "):
        trainer.fit(module, module.stream(200))
    assert int(module.updates_done) == 0


def test_what_an_environment_variable_asks_for_is_refused(monkeypatch):
    monkeypatch.setenv("PL_TRAINER_LIMIT_TRAIN_BATCHES", "2")
    with pytest.raises(IncompatibleError, match="`limit_train_batches` of the trainer is 2"):
        experiment().simulate(**OPTIONS)


@pytest.mark.parametrize("plugin", [MixedPrecision("bf16-mixed", "cpu"), TorchSyncBatchNorm()])
def test_plugins_that_change_numbers_are_refused(plugin):
    with pytest.raises(IncompatibleError, match="`plugins` of the trainer"):
        experiment().simulate(**OPTIONS, trainer={"plugins": plugin})


@pytest.mark.parametrize(
    "keywords",
    [
        {"precision": None},
        {"precision": "32-true"},
        {"max_epochs": None},
        {"max_epochs": -1},
        {"max_steps": -1},
        {"max_steps": 1000},
        {"limit_train_batches": 1.0},
        {"limit_val_batches": 0, "num_sanity_val_steps": 0},
        {"gradient_clip_val": 0},
        {"accelerator": "cpu"},
        {"accelerator": "auto"} if not torch.cuda.is_available() else {},
        {"strategy": "auto", "num_nodes": 1, "devices": 1},
        {"strategy": SingleDeviceStrategy(device="cpu")},
        {"barebones": True},
        {"benchmark": True},
        {"use_distributed_sampler": False},
        {"enable_autolog_hparams": False},
        {"log_every_n_steps": 1},
        {"plugins": [LightningEnvironment()]},
        {"plugins": TorchCheckpointIO()},
        {"enable_progress_bar": True},
        {"max_time": {"hours": 1}},
    ],
    ids=without_addresses,
)
def test_keywords_that_are_honoured_change_no_number(keywords, whole):
    run = experiment().simulate(**OPTIONS, trainer=keywords)
    same(run, whole)
    assert run.metadata == whole.metadata


@pytest.mark.parametrize("engine", ["chain", "dense", "features"])
def test_deterministic_algorithms_are_there_for_every_engine(engine):
    alone = experiment(engine).simulate(**OPTIONS, engine=engine)
    try:
        same(
            experiment(engine).simulate(**OPTIONS, engine=engine, trainer={"deterministic": True}),
            alone,
        )
        assert torch.are_deterministic_algorithms_enabled()
    finally:
        torch.use_deterministic_algorithms(False)


def test_a_number_of_steps_ends_the_curve_and_says_so(whole):
    """A step ends with its block, and at recording times: 15, 25, 37, 65, 74, 100 updates.

    With a logger they are the same ones.
    """
    for logger in (False, Memory()):
        run = experiment().simulate(**OPTIONS, trainer={"max_steps": 5, "logger": logger})
        assert run.times.tolist() == [0, 0.3, 0.5, 1.3]
        assert (run["Q"] == whole["Q"][:4]).all()
        assert run.metadata["stopped_early"] == "max_steps=5"


def test_a_time_that_is_up_ends_the_curve_and_says_so():
    class Slow(pl.Callback):
        def on_train_batch_start(self, *arguments):
            time.sleep(0.3)

    keywords = {"max_time": timedelta(seconds=0.7), "callbacks": Slow()}
    run = experiment().simulate(**OPTIONS, trainer=keywords)
    assert 1 < len(run.times) < len(TIMES)
    assert run.metadata["stopped_early"] == "max_time: the time was up"


def test_a_logger_that_is_true_is_lightnings_default(tmp_path):
    keywords = {"logger": True, "default_root_dir": tmp_path}
    experiment().simulate(**OPTIONS, trainer=keywords)
    assert (tmp_path / "lightning_logs" / "version_0").is_dir()


def test_rows_are_logged_whatever_the_interval_of_steps(whole):
    for interval in (0, 1, 50):
        memory = Memory()
        trainer = {"logger": memory, "log_every_n_steps": interval}
        experiment().simulate(**OPTIONS, trainer=trainer)
        assert [row["t"] for _, row in memory.rows] == pytest.approx(TIMES, rel=1e-15)


def test_what_was_asked_for_is_said_and_nothing_else(tmp_path, caplog, capsys):
    logger = logging.getLogger("pytorch_lightning")
    before, logger.propagate = logger.propagate, True
    try:
        experiment().simulate(**OPTIONS)
        assert not caplog.records
        experiment().simulate(**OPTIONS, trainer={"enable_model_summary": True})
        assert "Trainable params" in capsys.readouterr().out
        experiment().simulate(**OPTIONS, trainer={"callbacks": pl.callbacks.ModelSummary()})
        assert "Trainable params" in caplog.text
        assert "GPU available" not in caplog.text
        caplog.clear()
        experiment().simulate(**OPTIONS, trainer={"profiler": "simple"})
        assert "run_training_batch" in caplog.text
        caplog.clear()
        verbose = pl.callbacks.EarlyStopping("pmse", verbose=True)
        keep = pl.callbacks.ModelCheckpoint(tmp_path, monitor="pmse", verbose=True)
        experiment().simulate(**OPTIONS, trainer={"callbacks": [verbose, keep]})
        assert "Metric pmse improved" in caplog.text
        assert "saving model to" in caplog.text
    finally:
        logger.propagate = before


def test_a_checkpoint_io_of_ones_own_writes_the_checkpoint(tmp_path, whole):
    trainer = {"plugins": [AsyncCheckpointIO(TorchCheckpointIO())]}
    half = {**OPTIONS, "times": TIMES[:4]}
    experiment().simulate(**half, trainer=trainer, checkpoint=tmp_path / "half.ckpt")
    same(experiment().simulate(**OPTIONS, resume=tmp_path / "half.ckpt"), whole)


@pytest.mark.parametrize(
    ("keywords", "error", "words"),
    [
        ({"max_step": 3}, ArgumentError, "`max_step`; did you mean `max_steps`"),
        ({"max_steps": -5}, ConfigError, "`max_steps` must be"),
        ({"accelerator": "abacus"}, ConfigError, "accelerator='abacus'"),
        ({"strategy": "deepest"}, ConfigError, "strategy='deepest'"),
        ({"barebones": True, "logger": True}, ConfigError, "barebones=True"),
    ],
)
def test_what_lightning_refuses_is_an_error_of_ours(keywords, error, words):
    with pytest.raises(error, match=words):
        experiment().simulate(**OPTIONS, trainer=keywords)


def test_experiments_together_share_no_loggers_and_callbacks(tmp_path):
    """What early stopping keeps of one would stop the next; a log would be a mean over both."""
    both, options = [experiment(), experiment()], {**OPTIONS, "times": [0, 0.5]}
    for keywords in (
        {"logger": Memory()},
        {"callbacks": [pl.callbacks.EarlyStopping("pmse")]},
    ):
        with pytest.raises(IncompatibleError, match="simulate the experiments one by one"):
            gd.simulate_many(both, **options, trainer=keywords)
        gd.simulate_many(both[:1], **options, trainer=keywords)
    keywords = {"logger": True, "default_root_dir": tmp_path}
    gd.simulate_many(both, **options, trainer=keywords)
    assert len(list((tmp_path / "lightning_logs").iterdir())) == 2


def test_an_accelerator_that_is_not_known_is_refused():
    class Other(CPUAccelerator):
        """Stands for a device that is not known."""

    module, recorder = parts()
    with pytest.raises(IncompatibleError, match="`accelerator` of the trainer is a Other"):
        trainer_of_ones_own(recorder, accelerator=Other()).fit(module, module.stream(200))


def test_the_page_lists_every_keyword():
    page = Path(__file__).parents[2] / "docs/how-to/train-with-your-own-trainer.md"
    rows = [line.split("|")[1:3] for line in page.read_text().splitlines() if line[:3] == "| `"]
    listed = {}
    for names, does in rows:
        for name in names.replace("`", "").split(","):
            listed[name.strip()] = does.strip()
    keywords = {name for name in listed if name in HONOURED | set(REFUSED)}
    assert keywords == HONOURED | set(REFUSED)
    for name in keywords:
        assert listed[name].startswith("refused") == (name in REFUSED), name
