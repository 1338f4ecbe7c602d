"""Every engine and every theory refuses the variations of SGD that it does not describe."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

import gmmdyn as gd
from gmmdyn import registry
from gmmdyn.algorithm.losses import LOSSES, Loss
from gmmdyn.errors import IncompatibleError
from gmmdyn.training.engines import ENGINES

THEORIES = registry.available("theory")
VARIATIONS = {
    "schedule": {"learning_rate": gd.Schedule([0, 1], [0.2, 0.1])},
    "batch_size": {"batch_size": 3},
    "label_noise": {"label_noise": 0.1},
    "train_readout": {"train_readout": False},
    "loss=logistic": {"loss": "logistic"},
}


@dataclass(frozen=True)
class HeavyBall(gd.OnlineSGD):
    """What a user may write, in the hope that something reads it."""

    momentum: float = 0.9


class Cubed(Loss):
    """The square loss in all but its name, so that nothing else could refuse it."""

    def value(self, output, label):
        return LOSSES["square"].value(output, label)

    def signal(self, output, label):
        return LOSSES["square"].signal(output, label)

    def curvature(self, output, label):
        return LOSSES["square"].curvature(output, label)

    def scalar_signal(self):
        return LOSSES["square"].scalar_signal()


def experiment(features, algorithm):
    mixture = gd.data_model("xor", dim=10, variance=0.3)
    if features:
        network = gd.network("random-features", dim=10, features=5, seed=0)
    else:
        network = gd.network("committee", dim=10, hidden=2, activation="erf", seed=0)
    return gd.Experiment(mixture, network, algorithm)


def ways(name, tried):
    """Every road into a theory."""
    theory = gd.theory(name)
    parts = tried.data_model, tried.network, tried.algorithm
    times = [0.0, 0.1] if theory.follows_time else None

    def raised(result):
        if isinstance(result, Exception):
            raise result

    return {
        "check": lambda: tried.check(name),
        "solve": lambda: tried.solve(name, times=times),
        "solve_many": lambda: raised(gd.solve_many([tried], name, times=times)[0]),
        "theory.check": lambda: theory.check(*parts),
        "theory.solve": lambda: theory.solve(*parts, times=[0.0, 0.1]),
        "theory.solve_many": lambda: raised(theory.solve_many([parts], times=[0.0, 0.1])[0]),
        "theory.derivative": lambda: theory.derivative(*parts),
    }


def on_features(name):
    return name.startswith("random-features")


@pytest.mark.parametrize("name", THEORIES)
def test_a_theory_refuses_an_unknown_field_by_its_name_on_every_road(name):
    plain = ways(name, experiment(on_features(name), gd.OnlineSGD(0.1)))
    plain["check"]()
    for run in ways(name, experiment(on_features(name), HeavyBall(0.1))).values():
        with pytest.raises(IncompatibleError, match=rf"`{name}` .*`momentum` of HeavyBall"):
            run()


@pytest.mark.parametrize("name", THEORIES)
def test_a_theory_refuses_what_it_does_not_declare(name):
    for variation, options in VARIATIONS.items():
        tried = experiment(on_features(name), gd.OnlineSGD(**{"learning_rate": 0.1, **options}))
        if variation in registry.get("theory", name).describes:
            tried.check(name)
            continue
        for run in ways(name, tried).values():
            with pytest.raises(IncompatibleError, match="and not"):
                run()


@pytest.mark.parametrize("engine", ["auto", *(cls.name for cls in ENGINES)])
def test_an_engine_refuses_an_unknown_field_by_its_name(engine):
    for features in (False, True):
        tried = experiment(features, HeavyBall(0.1))
        with pytest.raises(IncompatibleError, match="`momentum` of HeavyBall"):
            tried.simulate(1, engine=engine)
        plain = experiment(features, gd.OnlineSGD(0.1))
        found, other = gd.simulate_many([tried, plain], 1, engine=engine, test_size=10)
        assert isinstance(found, IncompatibleError)
        assert "momentum" in str(found)
        assert "momentum" not in str(other)


@pytest.mark.parametrize("cls", ENGINES, ids=lambda cls: cls.name)
def test_an_engine_refuses_what_it_does_not_declare(cls):
    for variation, options in VARIATIONS.items():
        tried = experiment(
            cls.name == "features", gd.OnlineSGD(**{"learning_rate": 0.1, **options})
        )
        parts = tried.data_model, tried.network, tried.algorithm
        assert (cls.obstacle(*parts) is None) == (variation in cls.describes), variation


def test_an_unknown_loss_is_refused_by_its_name(monkeypatch):
    monkeypatch.setitem(LOSSES, "cubed", Cubed())
    algorithm = gd.OnlineSGD(0.1, loss="cubed")
    for name in THEORIES:
        for run in ways(name, experiment(on_features(name), algorithm)).values():
            with pytest.raises(IncompatibleError, match="not the cubed loss; leave `loss` out"):
                run()
    for features in (False, True):
        with pytest.raises(IncompatibleError, match="not the cubed loss; leave `loss` out"):
            experiment(features, algorithm).simulate(1)


def test_the_equations_of_a_problem_refuse_it_too():
    from gmmdyn_ode import Problem

    tried = experiment(False, HeavyBall(0.1))
    with pytest.raises(IncompatibleError, match="`momentum` of HeavyBall"):
        Problem.of(tried.data_model, tried.network, tried.algorithm)


def test_problems_of_two_losses_are_not_solved_together():
    """Though the losses be of one class, with numbers of their own."""
    from gmmdyn_ode import Problem

    tried = experiment(False, gd.OnlineSGD(0.1))
    problem = Problem.of(tried.data_model, tried.network, tried.algorithm)
    loss = Cubed()
    assert problem._replace(loss=loss).kind == problem._replace(loss=loss).kind
    assert problem._replace(loss=loss).kind != problem._replace(loss=Cubed()).kind


def test_the_square_loss_is_known_by_its_property_and_by_nothing_else(monkeypatch):
    """A loss that says it is the square one runs as that one, and needs no curve of its own."""

    class Mine(Cubed):
        quadratic = True

    monkeypatch.setitem(LOSSES, "mine", Mine())
    for features, engine in ((False, "chain"), (False, "dense"), (True, "features")):
        runs = [
            experiment(features, gd.OnlineSGD(0.1, loss=loss)).simulate(
                1, engine=engine, test_size=50
            )
            for loss in ("square", "mine")
        ]
        assert runs[0].curves.keys() == runs[1].curves.keys()
        assert (runs[0].pmse == runs[1].pmse).all()
