"""Sweeps: the same numbers as one by one, wherever they run, and after a kill."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import gmmdyn as gd
from gmmdyn.errors import ArgumentError, ConfigError, GmmdynError, RangeError

OVER = {"lr": [0.5, 1.0], "variance": [0.05, 0.2, 0.4]}


def experiment(lr=0.5, variance=0.05, dim=60):
    return gd.Experiment(
        gd.data_model("xor", dim=dim, variance=variance),
        gd.network("committee", dim=dim, hidden=2, activation="erf", seed=1),
        gd.OnlineSGD(lr, 0.01),
    )


def test_a_sweep_of_theory_is_the_solutions_one_by_one():
    swept = gd.sweep(experiment(), OVER, times=[0, 1, 2], integrator="sobol", workers=1)
    assert swept["pmse"].dims == ("learning_rate", "variance", "time")
    assert swept["R"].dims == ("learning_rate", "variance", "time", "cluster", "unit")
    assert swept["message"].to_numpy().tolist() == [[""] * 3] * 2
    for lr in OVER["lr"]:
        for variance in OVER["variance"]:
            one = experiment(lr, variance).solve("ode", times=[0, 1, 2], integrator="sobol")
            there = swept.sel(learning_rate=lr, variance=variance)
            for name in ("pmse", "classification_error", "Q", "R", "v"):
                np.testing.assert_allclose(there[name], one[name], rtol=1e-4, atol=1e-6)


def test_a_sweep_of_simulations_is_the_runs_one_by_one():
    options = {"times": [0, 1], "replicas": 2, "seed": 3, "test_size": 100, "engine": "dense"}
    swept = gd.sweep(experiment(), {"lr": [0.5, 1.0]}, run="simulate", workers=1, **options)
    assert swept["pmse"].dims == ("learning_rate", "time", "replica")
    one = experiment(1.0).simulate(**options)
    np.testing.assert_array_equal(swept.sel(learning_rate=1.0)["pmse"], one.pmse)
    np.testing.assert_array_equal(swept.sel(learning_rate=1.0)["Q"], one["Q"])


def test_points_without_ties_have_a_tie_rate_of_0():
    options = {"times": [0, 1], "replicas": 2, "test_size": 100, "engine": "dense"}
    over = {"activation": ["erf", "relu"]}
    swept = gd.sweep(experiment(), over, run="simulate", workers=1, **options)
    assert (swept["tie_rate"].sel(activation="erf") == 0).all()
    assert (swept["tie_rate"].sel(activation="relu") > 0.05).all()


def test_curves_of_different_shapes_are_filled_up():
    swept = gd.sweep(
        experiment(), {"hidden": [1, 3], "data_model.dim": [20, 60]}, duration=1, workers=1
    )
    assert swept["v"].sizes["unit"] == 3
    assert np.isnan(swept["v"].sel(hidden=1)[..., 1:]).all()
    assert np.isfinite(swept["v"].sel(hidden=3, dim=60)).all()
    # The recording times depend on D, so they belong to the points.
    assert "time" not in swept.coords
    times = swept["t"].sel(hidden=1, dim=20)
    assert float(times.max()) == 1
    last = int(np.isfinite(times).sum()) - 1
    pmse = swept["pmse"].sel(hidden=1, dim=20)
    assert np.isfinite(pmse[: last + 1]).all()
    assert np.isnan(pmse[last + 1 :]).all()


def test_a_failure_is_recorded_and_fatal_to_nobody():
    swept = gd.sweep(experiment(), {"variance": [0.1, -1.0]}, times=[0, 1], workers=1)
    assert swept["message"].to_numpy().tolist()[0] == ""
    assert "`variance` is -1" in str(swept["message"].to_numpy()[1])
    assert np.isfinite(swept["pmse"][0]).all()
    assert np.isnan(swept["pmse"][1]).all()


def curve(a, b=0.0):
    if a < 0:
        raise ZeroDivisionError("no such curve")
    return gd.Trajectory([0, 1], {"pmse": np.array([a, a + b])}, "theory")


def test_any_function_can_be_swept():
    swept = gd.sweep(curve, {"a": [1, 2, -1], "b": [0.5, 0.25]}, workers=1)
    assert swept["pmse"].sel(a=2, b=0.25).to_numpy().tolist() == [2, 2.25]
    assert swept["message"].sel(a=-1, b=0.5).item() == "ZeroDivisionError: no such curve"


def test_finished_points_are_not_run_again(tmp_path):
    calls = []

    def counted(a):
        calls.append(a)
        if a == 3 and len(calls) < 4:
            raise KeyboardInterrupt  # a kill in the middle
        return curve(a) if a != 2 else curve(-1)

    with pytest.raises(KeyboardInterrupt):
        gd.sweep(counted, {"a": [1, 2, 3, 4]}, folder=tmp_path, workers=1)
    assert calls == [1, 2, 3]
    swept = gd.sweep(counted, {"a": [1, 2, 3, 4]}, folder=tmp_path, workers=1)
    assert calls == [1, 2, 3, 3, 4]
    assert swept["pmse"].isel(time=0).to_numpy()[[0, 2, 3]].tolist() == [1, 3, 4]
    assert "no such curve" in str(swept["message"].to_numpy()[1])
    # Other values of the same sweep use what is there; what failed is run again on request.
    gd.sweep(counted, {"a": [4, 5]}, folder=tmp_path, workers=1)
    assert calls[5:] == [5]
    gd.sweep(counted, {"a": [1, 2]}, folder=tmp_path, workers=1, retry_failed=True)
    assert calls[6:] == [2]


def test_a_spoilt_file_is_run_again(tmp_path):
    before = gd.sweep(curve, {"a": [1, 2]}, folder=tmp_path, workers=1)
    for path in (tmp_path / "points").iterdir():
        path.write_bytes(path.read_bytes()[:40])
    after = gd.sweep(curve, {"a": [1, 2]}, folder=tmp_path, workers=1)
    np.testing.assert_array_equal(after["pmse"], before["pmse"])


def test_processes_and_threads_give_the_same_numbers():
    options = {"times": [0, 1], "replicas": 2, "test_size": 100, "run": "simulate"}
    over = {"lr": [0.5, 1.0, 1.5]}
    here = gd.sweep(experiment(), over, workers=1, **options)
    processes = gd.sweep(experiment(), over, workers=2, **options)
    np.testing.assert_array_equal(here["pmse"], processes["pmse"])
    solved = gd.sweep(experiment(), over, times=[0, 1], workers=1)
    # Threads are for theories: Lightning's trainers share the warnings and signals of a process.
    with ThreadPoolExecutor(2) as threads:
        threaded = gd.sweep(experiment(), over, times=[0, 1], executor=threads)
    np.testing.assert_allclose(solved["pmse"], threaded["pmse"], rtol=1e-6)


def test_dask_is_an_engine_for_many_machines():
    distributed = pytest.importorskip("distributed")
    # Threads of this process keep the test short; the tasks travel through the scheduler.
    with (
        distributed.LocalCluster(
            n_workers=1, threads_per_worker=2, processes=False, dashboard_address=":0"
        ) as cluster,
        distributed.Client(cluster) as client,
    ):
        swept = gd.sweep(
            experiment(), {"lr": [0.5, -1.0]}, times=[0, 1], executor=client.get_executor()
        )
        address = cluster.scheduler_address
        by_address = gd.sweep(experiment(), {"lr": [0.5]}, times=[0, 1], scheduler=address)
    one = experiment().solve("ode", times=[0, 1])
    np.testing.assert_allclose(swept.sel(learning_rate=0.5)["pmse"], one.pmse, rtol=1e-6)
    np.testing.assert_allclose(by_address["pmse"][0], one.pmse, rtol=1e-6)
    assert "`learning_rate` is -1" in str(swept["message"].to_numpy()[1])


@pytest.mark.science
def test_a_cluster_of_processes_on_this_machine():
    pytest.importorskip("distributed")
    swept = gd.sweep(experiment(), {"lr": [0.5, 1.0]}, times=[0, 1], scheduler="local")
    one = experiment(1.0).solve("ode", times=[0, 1])
    np.testing.assert_allclose(swept.sel(learning_rate=1.0)["pmse"], one.pmse, rtol=1e-6)


@pytest.mark.parametrize(
    ("over", "options", "error", "match"),
    [
        ({}, {}, ConfigError, "no values"),
        ({"lr": []}, {}, ConfigError, "no values"),
        ({"rate": [1]}, {}, ConfigError, "no option `rate`"),
        ({"lr": [1], "algorithm.learning_rate": [1]}, {}, ConfigError, "twice"),
        ({"lr": [1]}, {"run": "paint"}, RangeError, "`run`"),
        ({"lr": [1]}, {"run": "simulate", "replica": 3}, ArgumentError, "no keyword `replica`"),
        ({"lr": [1]}, {"workers": 1, "scheduler": "local"}, ConfigError, "not several"),
    ],
)
def test_bad_sweeps_are_refused_before_any_work(over, options, error, match):
    with pytest.raises(error, match=match):
        gd.sweep(experiment(), over, **options)
    assert issubclass(error, GmmdynError)


def test_the_dataset_says_what_was_swept(tmp_path):
    swept = gd.sweep(experiment(), {"network.activation": ["erf", "relu"]}, times=[0, 1], workers=1)
    assert swept["activation"].to_numpy().tolist() == ["erf", "relu"]
    about = json.loads(swept.attrs["sweep"])
    assert about["over"] == {"activation": ["erf", "relu"]}
    assert about["base"]["algorithm"]["learning_rate"] == 0.5
    swept.to_netcdf(tmp_path / "swept.nc", engine="h5netcdf")


def test_simulations_on_a_gpu_are_tasks_of_many_points(monkeypatch, tmp_path):
    """With the accelerator of this machine in its place, the numbers are those one by one."""
    from gmmdyn.sweeping import grid, points

    over = {"lr": [0.5, 1.0, 1.5], "variance": [0.1, 0.2, -1.0]}
    options = {"times": [0, 1], "replicas": 2, "test_size": 100, "run": "simulate"}
    expected = gd.sweep(experiment(), over, workers=1, **options)
    sizes, together = [], points.simulate_many

    def on_cpu(experiments, trainer, **settings):
        assert trainer == {"accelerator": "gpu"}
        sizes.append(len(experiments))
        return together(experiments, **settings)

    monkeypatch.setattr(points, "simulate_many", on_cpu)
    monkeypatch.setattr(grid, "_CHAINS", 10)
    gpu = {**options, "trainer": {"accelerator": "gpu"}}
    swept = gd.sweep(experiment(), over, folder=tmp_path, **gpu)
    # Tasks of five and four points; one and two of them have a variance that there is not.
    assert sizes == [4, 2]
    for name in ("pmse", "Q", "message"):
        np.testing.assert_array_equal(swept[name], expected[name])
    again = gd.sweep(experiment(), over, folder=tmp_path, **gpu)
    assert sizes == [4, 2]
    np.testing.assert_array_equal(again["pmse"], swept["pmse"])


def test_what_no_chain_simulates_is_a_task_for_each_point():
    from gmmdyn.sweeping.points import Point, side_by_side

    def size(**simulation):
        job = experiment().configuration().updated("simulation", simulation)
        return side_by_side([Point((0,), job.to_mapping())], 1000)

    assert size(times=[0, 1], replicas=10) == 100
    assert size(times=[0, 1], replicas=10, engine="dense") == 1
    assert size(times=[0, 1], replicas=5000) == 1
    assert size(times=[0, 1], replicas=0) == 1  # refused where the point is run


def test_one_point_that_breaks_a_call_does_not_take_the_others_with_it(monkeypatch):
    from gmmdyn.sweeping import points

    def broken(experiments, trainer, **settings):
        if any(one.algorithm.learning_rate == 1.0 for one in experiments):
            raise RuntimeError("out of memory")
        return gd.simulate_many(experiments, **settings)

    monkeypatch.setattr(points, "simulate_many", broken)
    options = {"times": [0, 1], "test_size": 100, "trainer": {"accelerator": "gpu"}}
    swept = gd.sweep(experiment(), {"lr": [0.5, 1.0, 1.5]}, run="simulate", **options)
    assert list(swept["message"].values) == ["", "RuntimeError: out of memory", ""]
    assert np.isfinite(swept["pmse"].values[[0, 2]]).all()
