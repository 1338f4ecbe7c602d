"""Following a fixed point and keeping it, with a theory whose fixed points have a closed form.

One unit with v = 1 and Q = 1 whose overlap x with the first mean obeys x' = (c - κ) x - x³, with
c = 0.1: x = 0, which is a saddle at κ < c, and x² = c - κ there. The theory stands for
`state-evolution`: its flow leaves the saddle, its method "newton" does not.
"""

from __future__ import annotations

import json
from typing import ClassVar

import numpy as np
import pytest

import gmmdyn as gd
from gmmdyn.errors import ConvergenceError
from gmmdyn.fixed_points.table import table
from gmmdyn.interfaces import Theory
from gmmdyn.plot import plot_fixed_points
from gmmdyn.trajectory.files import write_netcdf

CRITICAL = 0.1


class Pitchfork(Theory):
    follows_time = False
    solved: ClassVar[list[tuple[str, float]]] = []
    interrupt_at = None
    fail_at = None
    about: ClassVar[dict[str, object]] = {}

    def __init__(self, method="flow"):
        super().__init__()
        self.method = method

    def check(self, data_model, network, algorithm):
        pass

    def derivative(self, data_model, network, algorithm, state=None, *, time=0.0):
        raise NotImplementedError

    def solve(self, data_model, network, algorithm, *, times, initial=None):
        decay = algorithm.weight_decay
        if decay == self.interrupt_at:
            raise KeyboardInterrupt
        if decay == self.fail_at:
            raise ConvergenceError("it does not converge")
        self.solved.append((self.method, decay))
        below = decay < CRITICAL
        x = 0.0 if initial is None else float(initial.R[0, 0])
        left = 0
        if below and abs(x) < 1e-3 and self.method == "flow":
            x, left = 1.0, 1
        x = np.sign(x) * np.sqrt(CRITICAL - decay) if below and abs(x) > 1e-3 else 0.0
        stable = not below or x != 0
        curves = {"pmse": [0.1 + x], "classification_error": [0.2]}
        curves |= {"Q": [[[1.0]]], "R": [[[x], [0.0]]], "v": [[1.0]]}
        metadata = {
            "stability": "stable" if stable else "saddle",
            "eigenvalues": [CRITICAL - decay - 3 * x**2],
            "marginal": 0,
            "left_saddles": left,
            "solver": {"residual": 0.0, "evaluations": 1},
        } | self.about
        return gd.Trajectory([np.inf], curves, "theory", metadata=metadata)


@pytest.fixture(autouse=True)
def theory(monkeypatch):
    monkeypatch.setattr(
        "gmmdyn.fixed_points.source.build", lambda name, **options: Pitchfork(**options)
    )
    monkeypatch.setattr(Pitchfork, "solved", [])


def experiment():
    mixture = gd.data_model("ring", dim=20, clusters_per_label=1, variance=0.1)
    return gd.Experiment(mixture, gd.network("committee", dim=20, hidden=1), gd.OnlineSGD(0.2, 0.1))


def follow(decays, **options):
    return gd.follow_fixed_point(experiment(), "weight_decay", decays, **options)


def ended(dataset):
    return json.loads(dataset.attrs["fixed_points"])["ended"]


def test_a_branch_that_turns_into_a_saddle_is_left_along_its_unstable_direction():
    found = follow([0.4, 0.2, 0.05, 0.04])
    x = [0, 0, np.sqrt(0.05), np.sqrt(0.06)]
    np.testing.assert_allclose(np.abs(found["R"].values[:, 0, 0]), x, rtol=1e-12)
    assert found["branch"].values.tolist() == [0, 0, 1, 1]
    assert found["stability"].values.tolist() == ["stable"] * 4
    assert found["left_saddles"].values.tolist() == [0, 0, 1, 0]
    assert found["marginal"].values.tolist() == [0] * 4
    (end,) = ended(found)
    assert (end["branch"], end["why"], end["next"]) == (0, "unstable", 0.05)
    assert end["beyond"] < CRITICAL <= end["last"] == pytest.approx(end["beyond"] * 4 ** (1 / 16))
    said = table(found).splitlines()
    assert [line.split()[1] for line in said[1:5]] == ["0", "0", "1", "1"]
    assert said[5].startswith("branch 0 loses its stability between weight_decay = 0.1")
    assert said[5].endswith("from there to branch 1, at 0.05")


def test_without_the_flow_a_branch_is_followed_as_a_saddle():
    found = follow([0.4, 0.2, 0.05, 0.04], method="newton")
    assert found["branch"].values.tolist() == [0] * 4
    assert found["stability"].values.tolist() == ["stable", "stable", "saddle", "saddle"]
    assert ended(found) == []


def test_a_value_that_fails_belongs_to_no_branch_and_is_stepped_over(monkeypatch):
    monkeypatch.setattr(Pitchfork, "fail_at", 0.3)
    found = follow([0.4, 0.3, 0.2])
    assert found["branch"].values.tolist() == [0, -1, 0]
    assert found["message"].values.tolist() == ["", "it does not converge", ""]
    assert np.isnan(found["pmse"].values).tolist() == [False, True, False]
    assert "it does not converge" in table(found).splitlines()[2]


def test_a_search_that_was_interrupted_goes_on_where_it_was(tmp_path, monkeypatch):
    decays = [0.4, 0.2, 0.05, 0.04]
    whole = follow(decays)
    monkeypatch.setattr(Pitchfork, "interrupt_at", 0.04)
    with pytest.raises(KeyboardInterrupt):
        follow(decays, folder=tmp_path)
    assert len(list((tmp_path / "points").iterdir())) == 3
    monkeypatch.setattr(Pitchfork, "interrupt_at", None)
    Pitchfork.solved.clear()
    again = follow(decays, folder=tmp_path)
    assert again.identical(whole)
    assert min(decay for _, decay in Pitchfork.solved) == 0.04
    assert max(decay for _, decay in Pitchfork.solved) < 0.05
    Pitchfork.solved.clear()
    assert follow(decays, folder=tmp_path).identical(whole)
    assert Pitchfork.solved == []


def test_what_was_kept_for_another_way_is_not_taken(tmp_path):
    follow([0.4, 0.2], folder=tmp_path)
    Pitchfork.solved.clear()
    follow([0.3, 0.2], folder=tmp_path)  # another way to the same value
    follow([0.4, 0.2], folder=tmp_path, method="newton")
    assert {decay for _, decay in Pitchfork.solved} >= {0.3, 0.4}


def test_failures_are_kept_too(tmp_path, monkeypatch):
    monkeypatch.setattr(Pitchfork, "fail_at", 0.2)
    first = follow([0.4, 0.2], folder=tmp_path)
    monkeypatch.setattr(Pitchfork, "fail_at", None)
    assert follow([0.4, 0.2], folder=tmp_path).identical(first)


def test_starts_that_were_interrupted_go_on_where_they_were(tmp_path, monkeypatch):
    def starts(**options):
        return gd.find_fixed_points(experiment(), 3, seed=5, **options)

    whole = starts()
    original, calls = Pitchfork.solve, []

    def third_is_interrupted(self, *parts, **options):
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return original(self, *parts, **options)

    monkeypatch.setattr(Pitchfork, "solve", third_is_interrupted)
    with pytest.raises(KeyboardInterrupt):
        starts(folder=tmp_path)
    again = starts(folder=tmp_path)
    assert len(calls) == 4
    assert again.identical(whole)


@pytest.mark.parametrize("eigenvalues", [[], None])
def test_missing_eigenvalues_are_a_dash_and_survive_a_file(tmp_path, monkeypatch, eigenvalues):
    about = {"eigenvalues": eigenvalues, "stability": "unknown"}
    monkeypatch.setattr(Pitchfork, "about", about)
    found = follow([0.4, 0.2])
    again = gd.load_fixed_points(write_netcdf(tmp_path / "found.nc", found))
    assert again.sizes["mode"] == 0
    assert again["stability"].values.tolist() == ["unknown", "unknown"]
    for line in table(again).splitlines()[1:3]:
        assert line.split()[-2:] == ["-", "-"]
    assert "nan" not in table(again)
    plot_fixed_points(again, tmp_path / "found.png")


def test_points_of_which_some_have_eigenvalues_share_a_file(tmp_path, monkeypatch):
    original = Pitchfork.solve

    def at_the_second_none(self, data_model, network, algorithm, **options):
        found = original(self, data_model, network, algorithm, **options)
        if algorithm.weight_decay == 0.2:
            del found.metadata["eigenvalues"]
        return found

    monkeypatch.setattr(Pitchfork, "solve", at_the_second_none)
    found = follow([0.4, 0.2])
    again = gd.load_fixed_points(write_netcdf(tmp_path / "found.nc", found))
    np.testing.assert_allclose(again["eigenvalue"].values[0], [-0.3])
    assert np.isnan(again["eigenvalue"].values[1]).all()


def test_marginal_fixed_points_say_how_many_directions_are_flat(monkeypatch):
    monkeypatch.setattr(Pitchfork, "about", {"stability": "marginal", "marginal": 2})
    assert table(follow([0.4])).splitlines()[1].endswith("  marginal (2 zero)")


def test_a_bar_counts_the_points(monkeypatch):
    from contextlib import contextmanager

    seen = []

    @contextmanager
    def bar(progress):
        assert progress is True
        yield lambda done, total: seen.append((done, total))

    for module in ("continuation", "multistart"):
        monkeypatch.setattr(f"gmmdyn.fixed_points.{module}.point_bar", bar)
    follow([0.4, 0.2], progress=True)
    gd.find_fixed_points(experiment(), 2, progress=True)
    assert seen == [(0, 2), (1, 2), (2, 2)] * 2
