"""Metadata that are computed when they are read: the Bayes error."""

from __future__ import annotations

import json
import pickle

import pytest
import torch

import gmmdyn as gd
from gmmdyn.gaussian import bayes
from gmmdyn.trajectory.metadata import Metadata


def test_a_value_is_computed_when_it_is_read_and_only_once():
    calls = []
    metadata = Metadata({"a": 1}, {"b": lambda: calls.append(1) or 2})
    assert list(metadata) == ["a", "b"]
    assert len(metadata) == 2
    assert "b" in metadata
    assert metadata.known == {"a": 1}
    assert "b" in repr(metadata)
    assert not calls
    assert metadata["b"] == metadata.get("b") == 2
    assert calls == [1]
    assert metadata == {"a": 1, "b": 2}
    assert json.loads(json.dumps(dict(metadata))) == {"a": 1, "b": 2}
    with pytest.raises(KeyError):
        metadata["c"]


@pytest.fixture
def computed(monkeypatch):
    """The mixtures whose Bayes error is computed."""
    calls = []
    real = bayes.bayes_error

    def counted(mixture, *options):
        calls.append(mixture)
        return real(mixture, *options)

    monkeypatch.setattr(bayes, "bayes_error", counted)
    return calls


def experiment():
    mixture = gd.data_model(
        "random-covariance", means=torch.eye(2, 10) * 3, labels=[-1, 1], per_cluster=True
    )
    network = gd.network("committee", dim=10, hidden=2, activation="erf", seed=0)
    return gd.Experiment(mixture, network, gd.OnlineSGD(0.1))


def test_no_bayes_error_is_computed_before_somebody_reads_it(computed):
    tried = experiment()
    predicted = tried.solve("ode", times=[0, 1])
    simulated = tried.simulate(times=[0, 1], replicas=2, test_size=10)
    many = gd.solve_many([tried], times=[0, 1]) + gd.simulate_many([tried], 1, test_size=10)
    assert gd.compare(simulated, predicted).z_scores("pmse").shape == (2,)
    assert len(repr(predicted)) < 500
    assert not computed
    wanted = tried.data_model.bayes_error()
    assert computed == [tried.data_model]
    for one in (predicted, simulated, *many):
        assert one.bayes_error == wanted
    assert gd.compare(simulated, predicted).bayes_error == wanted
    assert predicted.mean().metadata["bayes_error"]["value"] == wanted.value
    assert len(computed) == 1


def test_a_table_a_figure_and_a_saved_file_have_the_bayes_error(tmp_path, computed):
    for use in (
        lambda t: gd.Trajectory.load(t.save(tmp_path / "t.nc")).bayes_error,
        lambda t: f"{t.bayes_error.value:.1g}" if "Bayes error" in gd.compare(t).table() else None,
        lambda t: gd.compare(t).plot() and t.bayes_error,
    ):
        computed.clear()
        assert use(experiment().simulate(1, replicas=2, test_size=10)) is not None
        assert len(computed) == 1


def test_a_sweep_computes_no_bayes_error(tmp_path, computed):
    tried = gd.Experiment(
        gd.data_model("three-clusters", dim=10),
        gd.network("committee", dim=10, hidden=2, activation="erf", seed=0),
        gd.OnlineSGD(0.1),
    )
    gd.sweep(tried, {"learning_rate": [0.1, 0.2]}, times=[0, 1], workers=1, folder=tmp_path)
    assert len(list(tmp_path.rglob("*.nc"))) == 2
    assert not computed
    assert tried.solve(times=[0, 1]).bayes_error.value > 0
    assert len(computed) == 1


def test_metadata_are_a_mapping_that_json_takes():
    calls = []

    def compute():
        calls.append(1)
        return 2

    about = Metadata({"one": 1}, {"two": compute})
    assert calls == []
    assert json.dumps(about) == '{"one": 1, "two": 2}'
    assert {**Metadata({}, {"two": compute})} == {"two": 2}
    assert dict(Metadata({"one": 1}, {"two": compute})) == {"one": 1, "two": 2}
    assert pickle.loads(pickle.dumps(about)) == {"one": 1, "two": 2}
