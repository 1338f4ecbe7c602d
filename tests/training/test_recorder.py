"""What is recorded is told to loggers and callbacks at each recording time, and changes no bit."""

from __future__ import annotations

import csv

import numpy as np
import pytest
import pytorch_lightning as pl
from listeners import (
    DIM,
    OPTIONS,
    TIMES,
    Hearing,
    Memory,
    experiment,
    parts,
    same,
    trainer_of_ones_own,
)

import gmmdyn as gd
from gmmdyn.training import ChainEngine, OnlineLearning, Recorder

# Lightning's own words about data loaders, which a stream is not.
pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore:.*:UserWarning")


@pytest.mark.parametrize("engine", ["chain", "dense", "features"])
def test_a_run_is_bit_for_bit_the_same_with_and_without_a_logger(engine):
    """The steps end at recording times, in the middle of blocks."""
    alone = experiment(engine).simulate(engine=engine, **OPTIONS)
    memory = Memory()
    heard = experiment(engine).simulate(engine=engine, **OPTIONS, trainer={"logger": memory})
    same(heard, alone)
    assert len(memory.rows) == len(TIMES)
    assert heard.metadata == alone.metadata
    assert heard.metadata["stopped_early"] is None


def test_a_logger_has_one_row_for_each_recording_time():
    """On the x-axis the number of updates, t D, as it must be whole."""
    memory = Memory()
    run = experiment().simulate(**OPTIONS, trainer={"logger": memory})
    assert [step for step, _ in memory.rows] == [round(t * DIM) for t in TIMES]
    assert [row["t"] for _, row in memory.rows] == pytest.approx(TIMES, rel=1e-15)
    for name in ("pmse", "classification_error"):
        logged = [row[name] for _, row in memory.rows]
        np.testing.assert_allclose(logged, run[name].mean(1), rtol=1e-14)


def test_a_file_of_a_csv_logger_has_the_curves_on_t(tmp_path):
    logger = pl.loggers.CSVLogger(tmp_path)
    run = experiment().simulate(**OPTIONS, trainer={"logger": logger})
    with open(tmp_path / "lightning_logs/version_0/metrics.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    np.testing.assert_allclose([float(row["t"]) for row in rows], TIMES, rtol=1e-15)
    np.testing.assert_allclose([float(row["pmse"]) for row in rows], run.pmse.mean(1), rtol=1e-14)
    assert [int(row["step"]) for row in rows] == [round(t * DIM) for t in TIMES]


def test_every_error_that_is_recorded_is_logged():
    memory = Memory()
    one = experiment()
    logistic = gd.Experiment(one.data_model, one.network, gd.OnlineSGD(0.3, loss="logistic"))
    run = logistic.simulate(**OPTIONS, trainer={"logger": [memory]})
    logged = [row["loss"] for _, row in memory.rows]
    np.testing.assert_allclose(logged, run["loss"].mean(1), rtol=1e-14)


@pytest.mark.parametrize("first", [True, False])
def test_callbacks_hear_of_each_recording_time_wherever_they_stand(first):
    module, recorder = parts()
    hearing = Hearing()
    trainer = trainer_of_ones_own(*([hearing, recorder] if first else [recorder, hearing]))
    trainer.fit(module, module.stream())
    assert [row["t"] for row in hearing.rows] == pytest.approx(TIMES, rel=1e-15)
    run = experiment().simulate(**OPTIONS)
    np.testing.assert_allclose([row["pmse"] for row in hearing.rows], run.pmse.mean(1), rtol=1e-14)


def test_steps_end_at_recording_times_only_where_somebody_listens():
    """200 updates are 6 blocks of 37; recording times that are not their ends cut 5 more."""
    steps = {}

    class Count(pl.profilers.Profiler):
        """No callback, and so no listener."""

        def __init__(self):
            super().__init__()
            self.count = 0

        def start(self, action):
            self.count += action == "run_training_batch"

        def stop(self, action):
            pass

    for name, keywords in {"alone": {}, "logger": {"logger": Memory()}}.items():
        profiler = Count()
        experiment().simulate(**OPTIONS, trainer={"profiler": profiler, **keywords})
        steps[name] = profiler.count
    assert steps == {"alone": 6, "logger": 11}


def test_replicas_that_are_not_finite_are_left_out_of_the_logged_mean():
    slow, fast = experiment(), experiment()
    fast = gd.Experiment(fast.data_model, fast.network, gd.OnlineSGD(2000.0))
    engine = ChainEngine(
        slow.data_model,
        slow.network,
        slow.algorithm,
        seed=3,
        others=[(fast.data_model, fast.network, fast.algorithm)],
    )
    recorder, memory = Recorder(engine, [0, 20.0], 500), Memory()
    trainer = trainer_of_ones_own(recorder, logger=memory)
    module = OnlineLearning(engine)
    trainer.fit(module, module.stream())
    run = slow.simulate(times=[0, 20.0], seed=3, test_size=500)
    assert memory.rows[-1][1]["pmse"] == pytest.approx(run.pmse[-1].mean(), rel=1e-14)
