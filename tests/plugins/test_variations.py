"""Every engine and every theory refuses the variations of SGD that it does not describe."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

import gmmdyn as gd
from gmmdyn import registry
from gmmdyn.errors import IncompatibleError

THEORIES = registry.available("theory")
ENGINES = registry.available("engine")
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


SQUARE = gd.SquareLoss()


class Cubed(gd.Loss):
    """The square loss in all but its name, so that nothing else could refuse it."""

    def value(self, output, label):
        return SQUARE.value(output, label)

    def signal(self, output, label):
        return SQUARE.signal(output, label)

    def curvature(self, output, label):
        return SQUARE.curvature(output, label)

    def scalar_signal(self):
        return SQUARE.scalar_signal()


def declared(variation, describes):
    """Whether what is described holds a variation: of losses one, or all of them."""
    return variation in describes or ("loss" in describes and variation.startswith("loss="))


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
        if declared(variation, registry.get("theory", name).describes):
            tried.check(name)
            continue
        for run in ways(name, tried).values():
            with pytest.raises(IncompatibleError, match="and not"):
                run()


@pytest.mark.parametrize("engine", ["auto", *ENGINES])
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


@pytest.mark.parametrize("engine", ENGINES)
def test_an_engine_refuses_what_it_does_not_declare(engine):
    cls = registry.get("engine", engine)
    for variation, options in VARIATIONS.items():
        tried = experiment(engine == "features", gd.OnlineSGD(**{"learning_rate": 0.1, **options}))
        parts = tried.data_model, tried.network, tried.algorithm
        assert (cls.obstacle(*parts) is None) == declared(variation, cls.describes), variation


def test_a_loss_of_ones_own_is_described_where_every_loss_is_and_refused_elsewhere_by_its_name():
    algorithm = gd.OnlineSGD(0.1, loss=Cubed())
    (name,) = algorithm.variations
    assert name == f"loss={__name__}.Cubed"  # no registered name, which has no dots
    described = [name for name in THEORIES if "loss" in registry.get("theory", name).describes]
    assert described == ["ode", "state-evolution"]
    for name in THEORIES:
        for run in ways(name, experiment(on_features(name), algorithm)).values():
            if name in described:
                run()
                continue
            with pytest.raises(IncompatibleError, match="not the Cubed loss; leave `loss` out"):
                run()


def test_who_describes_one_loss_does_not_describe_another():
    logistic, mine = (gd.OnlineSGD(0.1, loss=loss) for loss in ("logistic", Cubed()))
    assert logistic.undescribed({"loss=logistic"}) is None
    assert mine.undescribed({"loss"}) is None
    sentence = (
        "describes plain SGD with or without the logistic loss, and not the Cubed loss; leave "
        "`loss` out"
    )
    assert mine.undescribed({"loss=logistic"}) == sentence
    assert "with or without any loss, and not label noise" in gd.OnlineSGD(
        0.1, loss="logistic", label_noise=0.1
    ).undescribed({"loss"})


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


def test_the_square_loss_is_known_by_its_property_and_by_nothing_else():
    """A loss that says it is the square one runs as that one, and needs no curve of its own."""

    class Mine(Cubed):
        quadratic = True

    cases = (False, "chain"), (False, "dense"), (True, "features"), (False, "plain")
    for features, engine in cases:
        runs = [
            experiment(features, gd.OnlineSGD(0.1, loss=loss)).simulate(
                1, engine=engine, test_size=50
            )
            for loss in ("square", Mine())
        ]
        assert runs[0].curves.keys() == runs[1].curves.keys()
        assert (runs[0].pmse == runs[1].pmse).all()
