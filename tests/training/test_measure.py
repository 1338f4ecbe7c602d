"""Overlaps of one's own, which a data model measures."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import gmmdyn as gd
from gmmdyn.errors import IncompatibleError, ShapeError


class Watched(gd.IsotropicMixture):
    """The XOR, with whatever `found` makes of the weights."""

    def __init__(self, found) -> None:
        super().__init__()
        self._xor = gd.data_model("xor", dim=30, variance=0.05)
        self._found = found

    means = property(lambda self: self._xor.means)
    labels = property(lambda self: self._xor.labels)
    priors = property(lambda self: self._xor.priors)
    variance = property(lambda self: self._xor.variance)

    def sample(self, n, generator, dtype):
        return self._xor.sample(n, generator, dtype)

    def measure(self, first_layer, readout, bias=None):
        return self._found(self, first_layer, readout, bias)


def again(mixture, first_layer, readout, bias):
    """What is recorded anyway: R, v and |Q|², by other names."""
    overlaps = first_layer.double() @ mixture.means.T / mixture.dim
    squares = (first_layer.double() @ first_layer.double().T / mixture.dim).square().sum()
    return {
        "alignment": gd.Curve(overlaps, ("hidden", "mean")),
        "second_layer": gd.Curve(readout, ("hidden",)),
        "size": gd.Curve(squares),
    }


def experiment(found=again, **options) -> gd.Experiment:
    network = gd.network("committee", dim=30, hidden=2, activation="erf", init_scale=0.5, seed=3)
    return gd.Experiment(Watched(found), network, gd.OnlineSGD(0.5, **options))


@pytest.mark.parametrize("axes", [True, False])
def test_they_are_those_of_the_weights_at_every_time_and_of_every_replica(axes, monkeypatch):
    if not axes:  # then the weights are not rotated
        monkeypatch.setattr(gd.IsotropicMixture, "principal_axes", lambda self: None)
    run = experiment().simulate(times=[0, 1, 3], replicas=3, test_size=50)
    assert run.metadata["engine"] == "dense"
    assert run.dimensions["alignment"] == ("hidden", "mean")
    np.testing.assert_allclose(run.alignment, np.swapaxes(run.R, -1, -2), rtol=1e-6, atol=1e-9)
    np.testing.assert_array_equal(run.second_layer, run.v)
    np.testing.assert_allclose(run.size, np.square(run.Q).sum((-1, -2)), rtol=1e-6)
    assert run.size.std(axis=1)[1:].all()


def test_the_run_is_the_same_with_and_without():
    plain = experiment(lambda *weights: {}).simulate(2, replicas=2, test_size=50, seed=1)
    measured = experiment().simulate(2, replicas=2, test_size=50, seed=1)
    for name, value in plain.curves.items():
        np.testing.assert_array_equal(measured[name], value)


def test_they_survive_a_checkpoint(tmp_path):
    whole = experiment().simulate(times=[0, 1, 2], test_size=50)
    path = str(tmp_path / "half.ckpt")
    experiment().simulate(times=[0, 1], test_size=50, checkpoint=path)
    resumed = experiment().simulate(times=[0, 1, 2], test_size=50, resume=path)
    assert resumed.dimensions == whole.dimensions
    np.testing.assert_array_equal(resumed.alignment, whole.alignment)
    done = experiment().simulate(times=[0, 1], test_size=50, resume=path)
    assert done.alignment.shape == (2, 1, 2, 4)


def test_engines_without_a_first_layer_refuse_by_name():
    with pytest.raises(IncompatibleError, match=r"the chain engine .*`Watched\.measure`"):
        experiment().simulate(1, engine="chain")
    network = gd.network("random-features", dim=30, features=40, seed=0)
    features = gd.Experiment(Watched(again), network, gd.OnlineSGD(0.5))
    with pytest.raises(IncompatibleError, match=r"the features engine .*`Watched\.measure`"):
        features.simulate(1)


@pytest.mark.parametrize(
    ("found", "sentence"),
    [
        (lambda *weights: {"size": 1.0}, r"`Watched\.measure` returns `size`, which is no `Curve`"),
        (lambda *weights: {"a": gd.Curve(torch.ones(3))}, "which is no `Curve` with a name for"),
        (lambda *weights: {"Q": gd.Curve(1.0)}, "`Q`, which is the name of another curve"),
        (lambda *weights: {"times": gd.Curve(1.0)}, "`times` cannot be the name"),
        (
            lambda *weights: {
                "a": gd.Curve(torch.ones(3), ("unit",)),
                "c": gd.Curve(np.ones(2), ("unit",)),
            },
            "3 long in `a`",
        ),
    ],
)
def test_what_no_trajectory_can_carry_is_refused_before_the_run(found, sentence):
    with pytest.raises(ShapeError, match=sentence):
        experiment(found).simulate(1e6, test_size=50)
