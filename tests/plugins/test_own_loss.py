"""A loss of a user's own: simulated, predicted, described and registered."""

from __future__ import annotations

import functools

import numpy as np
import pytest
import torch

import gmmdyn as gd
from gmmdyn import registry, testing
from gmmdyn.errors import ArgumentError, ConfigError, IncompatibleError, UnknownComponentError

DIM = 200


class Huber(gd.Loss):
    """Quadratic for outputs within `delta` of the label, linear beyond."""

    def __init__(self, delta=0.5):
        super().__init__()
        self.delta = delta

    def value(self, output, label):
        gap = (label - output).abs()
        return torch.where(gap < self.delta, 0.5 * gap**2, self.delta * (gap - self.delta / 2))

    def signal(self, output, label):
        return (label - output).clamp(-self.delta, self.delta)

    def curvature(self, output, label):
        return ((label - output).abs() < self.delta).to(output.dtype) * torch.ones_like(label)


@functools.lru_cache(maxsize=8)
def clamped(delta):
    def signal(output, label):
        gap = label - output
        return min(max(gap, -delta), delta)

    return signal


class Compiled(Huber):
    """With a scalar form of its own."""

    def scalar_signal(self):
        return clamped(self.delta)


def experiment(loss, activation="erf", dim=DIM, **options):
    mixture = gd.data_model("xor", dim=dim, variance=0.1)
    network = gd.network(
        "committee", dim=dim, hidden=3, activation=activation, init_scale=1.0, seed=2, bias=True
    )
    return gd.Experiment(mixture, network, gd.OnlineSGD(1.0, 0.1, loss=loss, **options))


def test_it_is_a_loss():
    testing.check_loss(Huber())
    testing.check_loss(Compiled(0.3))


@pytest.mark.parametrize(
    ("activation", "integrator"), [("erf", "sobol"), ("relu", "preintegrated")]
)
@pytest.mark.parametrize("engine", ["chain", "dense"])
def test_simulation_and_theory_agree_and_record_the_loss(engine, activation, integrator):
    tried = experiment(Compiled(), activation, label_noise=0.1)
    times = [0, 2, 6]
    simulated = tried.simulate(times=times, replicas=20, engine=engine, test_size=4000)
    predicted = tried.solve("ode", times=times, integrator=integrator)
    for name in ("loss", "pmse", "Q", "R", "v", "b"):
        gap = simulated[name].mean(1) - predicted[name]
        error = np.hypot(simulated.standard_error(name), 0.004 * (1 + np.abs(predicted[name])))
        assert (np.abs(gap) < 5 * error).all(), name
    assert (np.abs(predicted.loss - predicted.pmse) > 0.05).all()  # another number


def test_the_loss_is_that_of_the_outputs():
    tried = experiment(Huber(0.2))
    predicted = tried.solve("ode", times=[0, 0.5], integrator="sobol")
    batch = tried.data_model.sample(40_000, torch.Generator().manual_seed(0), torch.float32)
    with torch.no_grad():
        gap = np.abs((batch.labels - tried.network(batch.inputs)).numpy())
    values = np.where(gap < 0.2, 0.5 * gap**2, 0.2 * (gap - 0.1))
    assert abs(predicted.loss[0] - values.mean()) < 5 * values.std() / 200 + 1e-3


@pytest.mark.parametrize("features", [False, True], ids=["dense", "features"])
def test_with_and_without_a_scalar_form_it_is_autograd_to_rounding(features):
    options = {"dim": 20, "activation": "erf", "dtype": "float64"}
    network = gd.network("committee", hidden=3, init_scale=1.0, **options)
    if features:
        network = gd.network("random-features", features=15, **options)
    mixture = gd.data_model("xor", dim=20, variance=0.3)

    def run(loss, engine):
        algorithm = gd.OnlineSGD(0.5, 0.3, loss=loss, batch_size=2)
        return gd.Experiment(mixture, network, algorithm).simulate(
            times=[0, 4], engine=engine, block_size=30, test_size=200
        )

    name = "features" if features else "dense"
    plain = run(Huber(), "plain")
    for loss in (Huber(), Compiled()):
        found = run(loss, name)
        for curve in found.curves:
            np.testing.assert_allclose(found[curve], plain[curve], rtol=0, atol=1e-11)


def test_a_run_says_which_loss_it_was_and_another_is_another_experiment():
    runs = {}
    for delta in (0.5, 0.2):
        tried = experiment(Huber(delta), dim=20)
        runs[delta] = tried.simulate(times=[0, 1], engine="dense", test_size=100)
        about = runs[delta].metadata["experiment"]["algorithm"]["loss"]
        assert about["class"] == f"{__name__}.Huber"
        assert about == experiment(Huber(delta), dim=20).description()["algorithm"]["loss"]
    states = [run.metadata["experiment"]["algorithm"]["loss"]["state"] for run in runs.values()]
    assert states[0] != states[1]
    predicted = experiment(Huber(0.5), dim=20).solve("ode", times=[0, 1], integrator="sobol")
    assert gd.compare(runs[0.5], predicted)
    with pytest.raises(IncompatibleError, match=r"differ in `algorithm.loss`"):
        gd.compare(runs[0.2], predicted)


def test_what_has_no_name_is_not_written_as_yaml(tmp_path):
    with pytest.raises(
        ConfigError, match=r"`algorithm\.loss` is a Huber made without the registry"
    ):
        experiment(Huber(), dim=20).to_yaml(tmp_path / "experiment.yaml")


@pytest.fixture
def registered(monkeypatch):
    """Huber as a plugin would register it, with an option."""
    known = dict(registry.plugins._installed())
    entry = registry.Registration("loss", "huber", Huber, "mine", "mine", "1")
    monkeypatch.setattr(registry.plugins, "_installed", lambda: {**known, ("loss", "huber"): entry})


@pytest.mark.usefixtures("registered")
def test_a_registered_loss_goes_by_name_by_mapping_and_by_object(tmp_path):
    by_name = gd.OnlineSGD(0.1, loss="huber")
    assert by_name.loss == "huber"
    assert by_name.loss_function.delta == 0.5
    assert by_name.loss_function is gd.OnlineSGD(0.2, loss="huber").loss_function
    assert by_name == gd.OnlineSGD(0.1, loss={"name": "huber"})
    by_mapping = gd.OnlineSGD(0.1, loss={"name": "huber", "delta": 0.2})
    assert by_mapping.loss_function.delta == 0.2
    by_object = gd.OnlineSGD(0.1, loss=gd.loss("huber", delta=0.2))
    for algorithm in (by_name, by_mapping, by_object):
        assert algorithm.variations == {"loss=huber"}
    for algorithm, said in (
        (by_name, "huber"),
        (by_mapping, {"name": "huber", "delta": 0.2}),
        (by_object, {"name": "huber", "delta": 0.2}),
    ):
        tried = gd.Experiment(*_parts(), algorithm)
        assert tried.description()["algorithm"]["loss"] == said
        path = tried.to_yaml(tmp_path / "experiment.yaml")
        again = gd.Experiment.from_yaml(path)
        assert again.algorithm.loss_function.delta == algorithm.loss_function.delta
        assert again.description() == tried.description()
    with pytest.raises(ArgumentError, match="`huber` takes no keyword `width`"):
        gd.OnlineSGD(0.1, loss={"name": "huber", "width": 1})


def _parts():
    mixture = gd.data_model("xor", dim=10)
    return mixture, gd.network("committee", dim=10, hidden=2)


def test_an_unknown_name_lists_the_losses():
    with pytest.raises(UnknownComponentError, match=r"called `hinge`; .*logistic, square"):
        gd.OnlineSGD(0.1, loss="hinge")


def test_the_fixed_point_of_a_loss_of_ones_own_is_at_rest():
    tried = experiment(Huber(0.8), dim=100)
    fixed = tried.solve("state-evolution", integrator="sobol")
    state = gd.OrderParameters(Q=fixed.Q[0], R=fixed.R[0], v=fixed.v[0], b=fixed.b[0])
    slope = gd.theory("ode", integrator="sobol").derivative(
        tried.data_model, tried.network, tried.algorithm, state
    )
    assert float(slope.Q.abs().max()) < 1e-6
