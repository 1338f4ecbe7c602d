"""The values that pass between parts: algorithm, order parameters, trajectory, times."""

from __future__ import annotations

import copy
import pickle
from dataclasses import replace

import numpy as np
import pytest
import torch
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st

import gmmdyn as gd
from gmmdyn.errors import DataError, OutputError, RangeError, ShapeError, UnknownCurveError
from gmmdyn.trajectory import CURVES


@pytest.mark.parametrize(
    ("options", "name"),
    [
        ({"learning_rate": 0}, "learning_rate"),
        ({"learning_rate": -0.1}, "learning_rate"),
        ({"learning_rate": "fast"}, "learning_rate"),
        ({"learning_rate": float("nan")}, "learning_rate"),
        ({"learning_rate": True}, "learning_rate"),
        ({"learning_rate": 0.1, "weight_decay": -1}, "weight_decay"),
        ({"learning_rate": 0.1, "train_readout": "no"}, "train_readout"),
        ({"learning_rate": {"time": [0], "rates": [1]}}, "learning_rate"),
        ({"learning_rate": 0.1, "loss": 3}, "loss"),
        ({"learning_rate": 0.1, "loss": gd.SquareLoss}, "loss"),
        ({"learning_rate": 0.1, "loss": {"delta": 1.0}}, "loss"),
        ({"learning_rate": 0.1, "batch_size": 0}, "batch_size"),
        ({"learning_rate": 0.1, "label_noise": 0.6}, "label_noise"),
    ],
)
def test_bad_rates_are_named(options, name):
    with pytest.raises(RangeError, match=f"`{name}` is"):
        gd.OnlineSGD(**options)


def test_order_parameters_take_arrays_and_check_shapes():
    state = gd.OrderParameters(Q=np.eye(2), R=[[1, 2], [3, 4], [5, 6]], v=[1, 1], b=[0.5, 0])
    assert state.Q.dtype == torch.float64
    assert state.field_mean.tolist() == [[1.5, 2], [3.5, 4], [5.5, 6]]
    for wrong in (
        {"Q": np.eye(3)},
        {"R": np.ones((3, 3))},
        {"R": np.ones(2)},
        {"b": np.ones(3)},
        {"covariance": np.ones((2, 2, 2))},
    ):
        with pytest.raises(ShapeError, match=next(iter(wrong))):
            gd.OrderParameters(**{"Q": np.eye(2), "R": np.ones((3, 2)), "v": np.ones(2), **wrong})


def trajectory(replicas=None, times=3):
    rng = np.random.default_rng(0)
    runs = () if replicas is None else (replicas,)
    t = np.arange(times, dtype=float)
    shapes = {"pmse": (), "classification_error": (), "Q": (2, 2), "R": (3, 2), "v": (2,)}
    curves = {name: rng.random((times, *runs, *shape)) for name, shape in shapes.items()}
    source = "theory" if replicas is None else "simulation"
    errors = {"pmse": np.full(times, 0.1)} if replicas is None else {}
    return gd.Trajectory(t, curves, source, errors, {"seed": 3, "none": None})


@pytest.mark.parametrize("replicas", [None, 1, 4])
def test_what_is_saved_is_loaded(tmp_path, replicas):
    before = trajectory(replicas)
    after = gd.Trajectory.load(before.save(tmp_path / "new" / "run.nc"))
    assert after.source == before.source
    assert after.metadata == before.metadata
    assert after.replicas == replicas
    np.testing.assert_array_equal(after.times, before.times)
    for group in ("curves", "errors"):
        ours, theirs = getattr(after, group), getattr(before, group)
        assert set(ours) == set(theirs)
        for name in theirs:
            np.testing.assert_array_equal(ours[name], theirs[name])
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["run.nc"]


def test_the_dataset_is_labelled():
    dataset = trajectory(4).to_xarray()
    assert dataset["time"].attrs["long_name"] == "updates / D"
    assert dataset["Q"].dims == ("time", "replica", "unit", "unit_")
    assert dataset["R"].dims == ("time", "replica", "cluster", "unit")
    assert dataset["v"].dims == ("time", "replica", "unit")
    assert trajectory().to_xarray()["pmse_se"].dims == ("time",)


def test_means_and_standard_errors_over_replicas():
    run = trajectory(4)
    mean = run.mean()
    np.testing.assert_allclose(mean.pmse, run.pmse.mean(1))
    np.testing.assert_allclose(mean.errors["R"], run["R"].std(1, ddof=1) / 2)
    assert np.isnan(trajectory(1).mean().errors["pmse"]).all()
    assert trajectory().standard_error("pmse").tolist() == [0.1] * 3
    assert trajectory().standard_error("v").tolist() == [[0, 0]] * 3


def test_a_recorded_state_can_start_a_theory():
    run = trajectory(4)
    np.testing.assert_allclose(run.order_parameters(1, replica=2).R, run["R"][1, 2])
    np.testing.assert_allclose(run.order_parameters(-1).Q, run["Q"][-1].mean(0))
    for index, replica in ((3, None), (0, 4), (0, -1)):
        with pytest.raises(RangeError):
            run.order_parameters(index, replica)


def test_a_tie_rate_of_0_is_left_out_and_read_as_0(tmp_path):
    rates = {"classification_error": np.full((3, 2), 0.25), "tie_rate": np.zeros((3, 2))}
    run = gd.Trajectory(np.arange(3.0), rates, "simulation", {"tie_rate": np.zeros((3, 2))})
    assert set(run.curves) == {"classification_error"}
    assert not run.errors
    np.testing.assert_array_equal(run.tie_rate, np.zeros((3, 2)))
    np.testing.assert_array_equal(run["tie_rate"], np.zeros((3, 2)))
    rates["tie_rate"][1, 0] = 0.125
    kept = gd.Trajectory(np.arange(3.0), rates, "simulation")
    np.testing.assert_array_equal(kept.tie_rate, rates["tie_rate"])
    loaded = gd.Trajectory.load(kept.save(tmp_path / "a.nc"))
    np.testing.assert_array_equal(loaded.tie_rate, rates["tie_rate"])


def test_bad_trajectories_are_refused():
    with pytest.raises(ShapeError, match="`pmse`"):
        gd.Trajectory([0, 1], {"pmse": np.zeros(3)}, "theory")
    with pytest.raises(ShapeError, match="unknown curve"):
        gd.Trajectory([0, 1], {"lost": np.zeros(2)}, "theory")
    with pytest.raises(ShapeError, match="`times`"):
        gd.Trajectory([1, 0], {}, "theory")
    with pytest.raises(RangeError, match="no curve `b`"):
        _ = trajectory()["b"]


def test_files_that_are_no_trajectory_are_named(tmp_path):
    broken = tmp_path / "x.nc"
    broken.write_bytes(b"no such thing")
    other = tmp_path / "other.nc"
    xr.Dataset({"pmse": ("time", [1.0])}, {"time": [0.0]}).to_netcdf(other, engine="h5netcdf")
    unknown = tmp_path / "unknown.nc"
    xr.Dataset(attrs={"source": "oracle", "metadata": "{}"}, coords={"time": [0.0]}).to_netcdf(
        unknown, engine="h5netcdf"
    )
    for path, sentence in (
        (broken, "holds no curves .*: it is damaged or no NetCDF file"),
        (other, "holds no curves .*: it has no 'metadata'"),
        (unknown, "holds no curves .*: `source` is 'oracle'"),
        (tmp_path, "is a folder; give a file"),
        (tmp_path / "none.nc", "there is no file .*none.nc`; give one with curves"),
    ):
        with pytest.raises(DataError, match=sentence) as caught:
            gd.Trajectory.load(path)
        assert f"`{path}`" in str(caught.value)
        assert "Errno" not in str(caught.value)
        with pytest.raises(DataError) as caught:
            gd.load_fixed_points(str(path))
        assert f"`{path}`" in str(caught.value)
        assert "Errno" not in str(caught.value)


def test_a_save_that_fails_leaves_nothing(tmp_path, monkeypatch):
    run = trajectory()
    target = tmp_path / "run.nc"

    def full(self, content):
        self.touch()
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pathlib.Path.write_bytes", full)
    with pytest.raises(OutputError, match=r"run\.nc`: No space left on device"):
        run.save(target)
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot write"):
        run.save(tmp_path / "file" / "run.nc")


def test_the_curves_of_a_trajectory_are_its_attributes():
    biased = gd.Trajectory(
        np.arange(2.0),
        {
            "pmse": np.ones(2),
            "classification_error": np.zeros(2),
            "tie_rate": np.full(2, 0.1),
            "loss": np.full(2, 3.0),
            "Q": np.ones((2, 2, 2)),
            "R": np.ones((2, 4, 2)),
            "v": np.ones((2, 2)),
            "b": np.zeros((2, 2)),
        },
        "theory",
    )
    assert set(biased.curves) == set(CURVES)
    for name in CURVES:
        assert getattr(biased, name) is biased[name]


def test_an_attribute_that_a_trajectory_does_not_have_names_those_it_has():
    plain = gd.Trajectory(np.arange(2.0), {"pmse": np.ones(2), "v": np.ones((2, 2))}, "theory")
    for name in ("b", "loss", "momentum"):
        with pytest.raises(AttributeError, match=f"`{name}`; .*there are: pmse, v"):
            getattr(plain, name)
        assert not hasattr(plain, name)
    with pytest.raises(UnknownCurveError, match="did you mean `pmse`"):
        plain.pmsee  # noqa: B018
    # What Python asks of an object that is being made anew.
    assert pickle.loads(pickle.dumps(plain)).pmse.tolist() == [1, 1]
    assert copy.deepcopy(plain).v.shape == (2, 2)


def test_the_representation_of_a_trajectory_is_a_few_lines():
    run = trajectory(4)
    assert len(run.times) == 3
    text = repr(replace(run, metadata={"engine": "dense", "experiment": {"means": [0.0] * 10_000}}))
    assert len(text.splitlines()) == 3
    assert len(text) < 300
    for part in ("simulated by the engine `dense`", "4 replicas", "3 times", "pmse (3, 4)", "t = "):
        assert part in text
    assert "replicas" not in repr(trajectory())


@given(st.floats(0.5, 1e6), st.integers(2, 10_000), st.integers(1, 80))
def test_recording_times_are_whole_updates_in_order(duration, dim, count):
    times = gd.recording_times(duration, dim, count)
    assert times[0] == 0
    assert (np.diff(times) > 0).all()
    assert times.size <= count + 1
    np.testing.assert_allclose(times * dim, np.round(times * dim), rtol=1e-9, atol=1e-6)
    assert abs(times[-1] - duration) <= 0.5 / dim + 1e-9 * duration


@pytest.mark.parametrize("duration", [100, 1000, 1e5, 5e8])
def test_a_run_of_any_length_is_recorded_from_early_on_as_often_a_decade(duration):
    """At 5e8 the whole of learning, which is over at t = 1e5, once fell between two rows."""
    times = gd.recording_times(duration, 10_000)
    assert times[1] == pytest.approx(0.1)
    # Three decades have 49 steps.
    np.testing.assert_allclose(np.diff(np.log10(times[1:])), 3 / 49, rtol=0.01)


def test_a_short_run_is_recorded_at_fifty_times_from_a_thousandth_on():
    times = gd.recording_times(10, 1_000_000)
    np.testing.assert_allclose(times[1:], 0.01 * 1000 ** (np.arange(50) / 49), atol=1e-6)


def test_simulation_and_theory_of_a_duration_are_recorded_at_the_same_times():
    tried = gd.Experiment(
        gd.data_model("xor", dim=20, variance=0.1),
        gd.network("committee", dim=20, hidden=2, activation="erf"),
        gd.OnlineSGD(0.1),
    )
    simulated = tried.simulate(300, test_size=10)
    np.testing.assert_array_equal(simulated.times, tried.solve("ode", 300).times)
    np.testing.assert_array_equal(simulated.times, gd.recording_times(300, 20))


def test_a_duration_below_one_update_is_refused():
    with pytest.raises(RangeError, match="`duration`"):
        gd.recording_times(1e-4, 100)
