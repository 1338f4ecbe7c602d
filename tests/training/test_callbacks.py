"""Lightning's callbacks act at recording times, say what they ended, or are refused by name."""

from __future__ import annotations

import json
from datetime import timedelta

import numpy as np
import pytest
import pytorch_lightning as pl
from listeners import OPTIONS, TIMES, Hearing, Memory, experiment, parts, same, trainer_of_ones_own
from pytorch_lightning.callbacks import (
    DeviceStatsMonitor,
    EarlyStopping,
    LambdaCallback,
    ModelCheckpoint,
    ModelSummary,
    OnExceptionCheckpoint,
    Timer,
)

import gmmdyn as gd
from gmmdyn.errors import ConfigError, IncompatibleError, RangeError
from gmmdyn.training.callbacks import KNOWN

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore:.*:UserWarning")


def simulate(*callbacks, engine="auto", resume=None, **keywords):
    trainer = {"callbacks": list(callbacks), **keywords}
    return experiment().simulate(**OPTIONS, engine=engine, resume=resume, trainer=trainer)


@pytest.fixture(scope="module")
def whole():
    return experiment().simulate(**OPTIONS)


def start(trajectory, count):
    """The beginning of a trajectory."""
    curves = {name: value[:count] for name, value in trajectory.curves.items()}
    return gd.Trajectory(trajectory.times[:count], curves, trajectory.source)


def test_early_stopping_ends_the_curve_and_says_so(whole, tmp_path):
    """By its own rule: `patience` recording times without a lower one than the least so far."""
    means, patience = whole.classification_error.mean(1), 2
    least, waited, count = np.inf, 0, 0
    while count < len(TIMES) and waited < patience:
        waited = 0 if means[count] < least else waited + 1
        least, count = min(least, means[count]), count + 1
    assert 3 < count < len(TIMES)
    run = simulate(EarlyStopping("classification_error", patience=patience))
    same(run, start(whole, count))
    assert "EarlyStopping" in run.metadata["stopped_early"]
    assert "did not improve in the last 2 records" in run.metadata["stopped_early"]
    found = gd.Trajectory.load(run.save(tmp_path / "run.nc"))
    assert found.metadata["stopped_early"] == run.metadata["stopped_early"]
    json.dumps(run.metadata)


def test_early_stopping_looks_at_the_first_recording_time_too(whole):
    run = simulate(EarlyStopping("pmse", stopping_threshold=10.0))
    same(run, start(whole, 1))
    assert "Stopping threshold reached" in run.metadata["stopped_early"]


def test_early_stopping_that_never_stops_changes_nothing(whole):
    run = simulate(EarlyStopping("classification_error", patience=100))
    same(run, whole)
    assert run.metadata["stopped_early"] is None


def test_a_run_stopped_early_can_be_resumed(whole, tmp_path):
    path = tmp_path / "early.ckpt"
    trainer = {"callbacks": EarlyStopping("pmse", stopping_threshold=10.0)}
    experiment().simulate(**OPTIONS, trainer=trainer, checkpoint=path)
    same(experiment().simulate(**OPTIONS, resume=path), whole)


@pytest.mark.parametrize("keywords", [{}, {"max_steps": 1000}])
def test_early_stopping_decides_in_a_resumed_run_as_in_a_whole_one(tmp_path, keywords):
    """Wherever it is taken up before that; Lightning restarts otherwise with `max_steps`."""
    folders = tmp_path / "steps", tmp_path / "epochs"
    keep = [
        ModelCheckpoint(folders[0], every_n_train_steps=1, save_top_k=-1),
        ModelCheckpoint(folders[1], save_top_k=-1),
    ]
    stop = EarlyStopping("classification_error", patience=2)
    expected = simulate(stop, *keep, **keywords)
    assert expected.metadata["stopped_early"]
    paths = [path for folder in folders for path in folder.iterdir()]
    assert len(paths) == 10  # after 6 steps and 5 recording times, but the first
    paths.remove(folders[1] / keep[1].best_model_path.split("/")[-1])  # of the decision itself
    for path in paths:
        stop = EarlyStopping("classification_error", patience=2)
        same(simulate(stop, resume=path, **keywords), expected)


def test_a_metric_that_nobody_logs_cannot_be_monitored(tmp_path):
    for callback in (EarlyStopping("pmsee"), ModelCheckpoint(tmp_path, monitor="pmsee")):
        with pytest.raises(RangeError, match=r"`monitor` of .* is 'pmsee'.*did you mean `pmse`"):
            simulate(callback)
    simulate(EarlyStopping("pmsee", strict=False))  # says that it may be missing


def test_a_metric_that_a_users_callback_logs_can_be_monitored(whole):
    class Distance(pl.Callback):
        def on_train_epoch_end(self, trainer, module):
            module.log("distance", module.time)

    run = simulate(Distance(), EarlyStopping("distance", mode="max", stopping_threshold=1.9))
    same(run, start(whole, TIMES.index(2.0) + 1))


@pytest.mark.parametrize("engine", ["chain", "dense"])
@pytest.mark.parametrize("monitor", [None, "pmse"])
def test_a_default_model_checkpoint_resumes_bit_for_bit(tmp_path, engine, monitor):
    """Its last one is that of the end, so a run that is cut short is resumed."""
    keep = ModelCheckpoint(tmp_path, monitor=monitor)
    expected = experiment().simulate(**OPTIONS, engine=engine)
    part = simulate(keep, engine=engine, max_steps=6)
    assert len(part.times) < len(TIMES)
    assert len(list(tmp_path.iterdir())) == 1
    same(simulate(ModelCheckpoint(tmp_path), engine=engine, resume=keep.best_model_path), expected)
    same(experiment().simulate(**OPTIONS, engine=engine, resume=keep.best_model_path), expected)


def test_a_model_checkpoint_is_written_at_each_recording_time_and_the_best_is_kept(tmp_path, whole):
    every = ModelCheckpoint(tmp_path / "all", save_top_k=-1)
    best = ModelCheckpoint(tmp_path / "best", monitor="pmse")
    simulate(every, best)
    # None at t = 0, where Lightning sees that no step was taken.
    assert len(list((tmp_path / "all").iterdir())) == len(TIMES) - 1
    assert float(best.best_model_score) == whole.pmse.mean(1)[1:].min()


def test_checkpointing_without_a_callback_is_lightnings_default(tmp_path, whole):
    trainer = {"enable_checkpointing": True, "default_root_dir": tmp_path}
    same(experiment().simulate(**OPTIONS, trainer=trainer), whole)
    (path,) = (tmp_path / "checkpoints").iterdir()
    same(experiment().simulate(**OPTIONS, resume=path), whole)


def test_what_is_logged_goes_on_where_it_was(tmp_path):
    keep = ModelCheckpoint(tmp_path)
    before, after = Memory(), Memory()
    simulate(keep, max_steps=6, logger=before)
    simulate(logger=after, resume=keep.best_model_path)
    whole = Memory()
    simulate(logger=whole)
    assert before.rows + after.rows == whole.rows


def test_a_stream_ends_the_fit_of_a_trainer_without_epochs(whole):
    """With a stop, and without one at the last recording time; and another fit does nothing."""
    for stop in (200, None):
        module, recorder = parts()
        trainer = trainer_of_ones_own(recorder)
        trainer.fit(module, module.stream(stop))
        same(recorder.trajectory({}), whole)
        trainer.fit(module, module.stream(stop))
        assert int(module.updates_done) == 200


def test_a_stream_that_stops_sooner_or_later_is_recorded_so_far(whole):
    module, recorder = parts()
    trainer_of_ones_own(recorder, logger=Memory()).fit(module, module.stream(100))
    run = recorder.trajectory({"note": "mine"})
    same(run, start(whole, TIMES.index(2.0) + 1))
    assert run.metadata == {"note": "mine", "stopped_early": "the stream of samples ended"}
    module, recorder = parts(TIMES[:5])
    trainer_of_ones_own(recorder, logger=Memory()).fit(module, module.stream(150))
    assert int(module.updates_done) == 150
    assert recorder.trajectory({}).metadata["stopped_early"] is None


def test_early_stopping_in_a_trainer_of_ones_own(whole):
    module, recorder = parts()
    trainer = trainer_of_ones_own(EarlyStopping("pmse", stopping_threshold=10.0), recorder)
    trainer.fit(module, module.stream())
    run = recorder.trajectory({})
    same(run, start(whole, 1))
    assert "EarlyStopping" in run.metadata["stopped_early"]


def test_a_checkpoint_of_a_trainer_of_ones_own_is_resumed_by_it(tmp_path, whole):
    keep = ModelCheckpoint(tmp_path)
    module, recorder = parts()
    trainer_of_ones_own(recorder, keep, max_steps=6).fit(module, module.stream(200))
    module, recorder = parts()
    trainer_of_ones_own(recorder).fit(module, module.stream(200), ckpt_path=keep.best_model_path)
    same(recorder.trajectory({}), whole)


def test_epochs_that_would_be_over_before_the_run_are_refused():
    """Lightning's 1000, where none are given, are enough for these seven times."""
    module, recorder = parts()
    trainer_of_ones_own(recorder, max_epochs=None, logger=Memory()).fit(module, module.stream(200))
    assert recorder.trajectory({}).metadata["stopped_early"] is None
    for most in (1, 7):
        module, recorder = parts()
        with pytest.raises(
            IncompatibleError, match=f"`max_epochs` of the trainer is {most}.*7 are"
        ):
            trainer_of_ones_own(recorder, max_epochs=most).fit(module, module.stream(200))


def test_a_callback_may_stop_the_run(whole):
    class Enough(pl.Callback):
        def on_train_batch_end(self, trainer, module, *rest):
            trainer.should_stop = module.time > 1

    run = simulate(Enough())
    same(run, start(whole, TIMES.index(1.3) + 1))
    assert run.metadata["stopped_early"] == "a callback stopped the trainer"


def test_a_run_that_is_stopped_before_its_first_recording_time_is_an_error():
    options = {**OPTIONS, "times": [3.0, 4.0]}
    with pytest.raises(ConfigError, match="before the first recording time"):
        experiment().simulate(**options, trainer={"max_steps": 1})


@pytest.mark.parametrize(
    "callback",
    [
        Hearing,
        ModelSummary,
        Timer,
        lambda: LambdaCallback(on_train_start=lambda trainer, module: None),
        pl.callbacks.RichModelSummary,
        pl.callbacks.TQDMProgressBar,
        pl.callbacks.RichProgressBar,
    ],
)
def test_callbacks_that_watch_change_nothing(callback, whole):
    same(simulate(callback()), whole)


def test_stats_of_the_device_go_to_the_logger(whole):
    pytest.importorskip("psutil")
    memory = Memory()
    same(simulate(DeviceStatsMonitor(cpu_stats=True), logger=memory, log_every_n_steps=1), whole)
    assert any("DeviceStatsMonitor" in name for _, row in memory.rows for name in row)


def test_a_checkpoint_on_exception_resumes_bit_for_bit(tmp_path, whole):
    class Fails(pl.Callback):
        def on_train_batch_end(self, trainer, module, *rest):
            if module.time > 1:
                raise ArithmeticError

    with pytest.raises(ArithmeticError):
        simulate(Fails(), OnExceptionCheckpoint(tmp_path))
    same(experiment().simulate(**OPTIONS, resume=tmp_path / "on_exception.ckpt"), whole)


@pytest.mark.parametrize(
    "name", sorted({*pl.callbacks.__all__} - {callback.__name__ for callback in KNOWN})
)
def test_other_callbacks_of_lightning_are_refused_by_name(name):
    kind = getattr(pl.callbacks, name)
    made = kind.__new__(kind)  # they want arguments of many kinds
    vars(made).update(_lr_find=None)
    with pytest.raises(IncompatibleError, match=f"the callback {name} is not known"):
        simulate(made)
    module, recorder = parts()
    with pytest.raises(IncompatibleError, match=f"the callback {name} is not known"):
        trainer_of_ones_own(recorder, made).fit(module, module.stream(200))


def test_a_subclass_of_a_refused_callback_is_refused():
    class Mine(pl.callbacks.StochasticWeightAveraging):
        pass

    with pytest.raises(IncompatibleError, match="Mine, a StochasticWeightAveraging, is not known"):
        simulate(Mine(0.1))


@pytest.mark.parametrize(
    ("callback", "flag"),
    [
        (ModelCheckpoint(train_time_interval=timedelta(seconds=1)), "train_time_interval"),
        (ModelCheckpoint(save_on_train_epoch_end=False), "save_on_train_epoch_end"),
        (EarlyStopping("pmse", check_on_train_epoch_end=False), "check_on_train_epoch_end"),
    ],
)
def test_flags_by_which_a_callback_would_never_act_are_refused(callback, flag):
    with pytest.raises(IncompatibleError, match=f"`{flag}` of the callback"):
        simulate(callback)


def test_a_recorder_of_another_engine_is_refused():
    (module, _), (_, other) = parts(), parts()
    with pytest.raises(IncompatibleError, match="give one of the module's"):
        trainer_of_ones_own(other).fit(module, module.stream(200))
    with pytest.raises(ConfigError, match="more than one stateful callback of type `Recorder`"):
        simulate(other)
