"""Outcomes of a sweep on disk, whatever has happened to the files."""

from __future__ import annotations

import json

import numpy as np
import pytest

import gmmdyn as gd
from gmmdyn.sweeping.points import Outcome
from gmmdyn.sweeping.store import Store


def test_what_is_kept_is_found(tmp_path):
    store = Store(tmp_path)
    curve = gd.Trajectory(np.zeros(1), {"pmse": np.ones(1)}, "theory")
    store.keep("a", Outcome((0,), curve, ""))
    store.keep("b", Outcome((1,), None, "it diverged"))
    assert store.find("a", (0,), True).trajectory.pmse.tolist() == [1]
    assert store.find("b", (1,), True) == Outcome((1,), None, "it diverged")
    assert store.find("b", (1,), False) is None
    assert store.find("c", (2,), True) is None


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"\xff\xfe",
        b"null",
        b"3",
        b"[]",
        b'"text"',
        b'["message"]',
        b"{}",
        b'{"message": 3}',
        b'{"message": null}',
        b'{"message": ["x"]}',
        b"[" * 100_000,
    ],
)
def test_a_malformed_file_is_no_outcome(tmp_path, content):
    (tmp_path / "a.failed.json").write_bytes(content)
    (tmp_path / "b.nc").write_bytes(content)
    store = Store(tmp_path)
    assert store.find("a", (0,), True) is None
    assert store.find("b", (0,), True) is None


# What h5netcdf says when it lets go of a file that it could not open.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_damaged_result_is_no_outcome(tmp_path):
    """Bytes of a result turned one at a time, and results cut short at each of them."""
    store = Store(tmp_path)
    values = np.random.default_rng(0).random((50, 2, 2))
    curve = gd.Trajectory(np.arange(50.0), {"Q": values}, "theory")
    store.keep("a", Outcome((0,), curve, ""))
    whole = (tmp_path / "a.nc").read_bytes()
    for place in range(0, len(whole), 97):
        damaged = bytearray(whole)
        damaged[place] ^= 0xFF
        for content in (bytes(damaged), whole[:place]):
            (tmp_path / "a.nc").write_bytes(content)
            found = store.find("a", (0,), True)
            # A bit in the middle of a number cannot be seen.
            assert found is None or found.trajectory is not None


def test_a_sweep_runs_points_again_whose_files_are_malformed(tmp_path):
    experiment = gd.Experiment(
        gd.data_model("xor", dim=10),
        gd.network("committee", dim=10, hidden=2, activation="erf", seed=0),
        gd.OnlineSGD(0.1),
    )
    options = {"times": [0, 1], "workers": 1, "folder": tmp_path}
    over = {"data_model.variance": [0.1, -1.0]}
    first = gd.sweep(experiment, over, **options)
    (failed,) = (tmp_path / "points").glob("*.failed.json")
    (done,) = (tmp_path / "points").glob("*.nc")
    for path in (failed, done):
        path.write_text(json.dumps(["nothing"]))
    again = gd.sweep(experiment, over, **options)
    assert first.equals(again)
    assert first["message"].values[1] != ""
