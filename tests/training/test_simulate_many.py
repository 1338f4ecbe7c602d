"""Many experiments in one run are the runs of each alone, whatever becomes of the others."""

from __future__ import annotations

import numpy as np
import pytest
import pytorch_lightning as pl
import torch

import gmmdyn as gd
from gmmdyn.errors import (
    ArgumentError,
    DivergenceError,
    IncompatibleError,
    RangeError,
    UnknownComponentError,
)
from gmmdyn.training import ChainEngine, Recorder, Segment
from gmmdyn.training.runner import run

OPTIONS = {"times": [0, 0.5, 2], "replicas": 2, "seed": 3, "test_size": 200}


def experiment(variance=0.1, dim=40, hidden=3, activation="relu", seed=0, rho=0.5, **settings):
    return gd.Experiment(
        gd.data_model("xor", dim=dim, variance=variance, rho=rho),
        gd.network(
            "committee", dim=dim, hidden=hidden, activation=activation, init_scale=1.0, seed=seed
        ),
        gd.OnlineSGD(**{"learning_rate": 0.5, **settings}),
    )


def same(mine, theirs):
    np.testing.assert_array_equal(mine.times, theirs.times)
    assert mine.curves.keys() == theirs.curves.keys()
    for name, value in theirs.curves.items():
        np.testing.assert_array_equal(mine[name], value, err_msg=name)
    assert mine.metadata == theirs.metadata


@pytest.fixture
def fits(monkeypatch):
    """Count the runs of Lightning."""
    seen = []
    original = pl.Trainer.fit

    def fit(self, *args, **kwargs):
        seen.append(args[0].engine.replicas)
        return original(self, *args, **kwargs)

    monkeypatch.setattr(pl.Trainer, "fit", fit)
    return seen


def test_the_runs_are_those_of_each_alone(fits):
    """Side by side where only numbers differ, bit for bit, in the order given."""
    schedule = gd.Schedule([0, 1, 2], [0.2, 0.9, 0.4])
    wide = gd.data_model("random-covariance", means=torch.eye(2, 40), labels=[-1, 1])
    grid = [
        experiment(),
        experiment(activation="erf"),  # a kind of its own
        experiment(0.3, seed=4, weight_decay=0.2, label_noise=0.2),
        experiment(dim=60),  # another, with recording times of its own
        gd.Experiment(wide, experiment().network, gd.OnlineSGD(0.3)),  # the dense engine's
        experiment(rho=0.2, learning_rate=schedule, train_readout=False),
    ]
    found = gd.simulate_many(grid, **OPTIONS)
    assert sorted(fits) == [2, 2, 2, 6]
    assert [one.metadata["engine"] for one in found] == ["chain"] * 4 + ["dense", "chain"]
    for one, result in zip(grid, found, strict=True):
        same(result, one.simulate(**OPTIONS))
    assert not np.array_equal(found[0].pmse, found[2].pmse)


def test_threads_change_nothing():
    grid = [experiment(variance) for variance in (0.1, 0.2, 0.3)]
    one = gd.simulate_many(grid, **OPTIONS)
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        three = gd.simulate_many(grid, **OPTIONS)
    finally:
        torch.set_num_threads(before)
    for mine, theirs in zip(three, one, strict=True):
        same(mine, theirs)


def test_one_that_diverges_does_not_end_the_others(fits):
    grid = [experiment(), experiment(learning_rate=2000.0), experiment(learning_rate=0.7)]
    options = {**OPTIONS, "times": [0, 0.05, 2, 40], "block_size": 100}
    good, bad, other = gd.simulate_many(grid, **options)
    assert fits == [6]
    same(good, grid[0].simulate(**options))
    same(other, grid[2].simulate(**options))
    assert isinstance(bad, DivergenceError)
    assert "between t = 0.05 and 2; lower the learning rate" in str(bad)
    with pytest.raises(DivergenceError) as alone:
        grid[1].simulate(**options)
    same(bad.partial, alone.value.partial)


def test_one_that_no_engine_describes_does_not_keep_the_others_from_running():
    wide = gd.data_model("random-covariance", means=torch.eye(2, 40), labels=[-1, 1])
    grid = [
        experiment(),
        gd.Experiment(wide, experiment().network, gd.OnlineSGD(0.3)),
        experiment(batch_size=2),
    ]
    found = gd.simulate_many(grid, engine="chain", **OPTIONS)
    same(found[0], grid[0].simulate(engine="chain", **OPTIONS))
    assert isinstance(found[1], IncompatibleError)
    assert "isotropic mixtures" in str(found[1])
    assert isinstance(found[2], IncompatibleError)


def test_a_trainer_that_no_engine_can_use_is_the_error_of_each():
    trainer = {"strategy": "ddp_spawn", "devices": 2, "accelerator": "cpu"}
    both = gd.simulate_many([experiment(0.1), experiment(0.2)], **OPTIONS, trainer=trainer)
    assert [type(error) for error in both] == [IncompatibleError] * 2


def test_all_may_diverge_beside_a_logger(tmp_path):
    fast = [experiment(variance, learning_rate=1e4) for variance in (0.1, 0.2)]
    trainer = {"logger": True, "default_root_dir": str(tmp_path)}
    both = gd.simulate_many(fast, **OPTIONS, trainer=trainer)
    assert [type(error) for error in both] == [DivergenceError] * 2


@pytest.mark.parametrize("many", [False, True])
def test_order_parameters_that_overflow_have_diverged(many):
    """The weights are finite, and their squares are not."""
    huge = gd.network(
        "committee", first_layer=1e160 * torch.eye(2, 40, dtype=torch.float64), readout=[0.0, 0.0]
    )
    one = gd.Experiment(experiment().data_model, huge, gd.OnlineSGD(0.1, train_readout=False))
    if many:
        found = gd.simulate_many([one, experiment()], **OPTIONS)[0]
        assert isinstance(found, DivergenceError)
        return
    with pytest.raises(DivergenceError, match="beyond all bounds"):
        one.simulate(**OPTIONS)


def test_what_is_wrong_with_the_call_is_raised():
    grid = [experiment(), experiment(0.2)]
    for change in ({"replicas": 0}, {"times": [1, 0]}, {"test_size": 0}):
        with pytest.raises(RangeError):
            gd.simulate_many(grid, **{**OPTIONS, **change})
    with pytest.raises(UnknownComponentError, match="no engine is called `fast`"):
        gd.simulate_many(grid, **{**OPTIONS, "engine": "fast"})
    with pytest.raises(ArgumentError, match="unknown keyword `accelerater`"):
        gd.simulate_many(grid, **OPTIONS, trainer={"accelerater": "cpu"})
    assert gd.simulate_many([], **OPTIONS) == []


def several(**options):
    first, *others = [experiment(variance, seed=i) for i, variance in enumerate((0.1, 0.2, 0.3))]
    parts = [(one.data_model, one.network, one.algorithm) for one in (first, *others)]
    return ChainEngine(*parts[0], others=parts[1:], replicas=2, seed=3, block_size=30, **options)


def test_a_run_of_several_is_resumed_bit_for_bit(tmp_path):
    def go(times, **options):
        engine = several()
        recorder = Recorder(engine, times, 100)
        run(engine, recorder, progress=False, trainer=None, **options)
        return recorder.trajectory({})

    whole = go([0.5, 1.1, 3])
    go([0.5, 1.1], checkpoint=tmp_path / "half.ckpt")
    same(go([0.5, 1.1, 3], resume=tmp_path / "half.ckpt"), whole)
    assert whole["Q"].shape == (3, 6, 3, 3)


def test_processes_divide_the_chains_of_all_experiments():
    """The share of a process begins and ends anywhere."""
    whole, part = several(), several()
    part.keep(range(1, 4))
    for engine in (whole, part):
        engine.advance(Segment(0, 0, 30))
    for mine, theirs in zip(part.parameters(), whole.parameters(), strict=True):
        assert torch.equal(mine, theirs[1:4])
    seen = [part.measure(30, group, 100) for group in part.groups()]
    expected = [whole.measure(30, group, 100) for group in whole.groups()][1:4]
    for mine, theirs in zip(seen, expected, strict=True):
        for name in theirs:
            np.testing.assert_array_equal(mine[name], theirs[name])
