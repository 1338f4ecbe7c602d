"""The plain engine: autograd and torch.optim.SGD, the measure of all other engines."""

from __future__ import annotations

import functools

import numpy as np
import pytest
import torch
from torch import nn

import gmmdyn as gd
from gmmdyn.errors import ArgumentError, DivergenceError, IncompatibleError, UnknownComponentError
from gmmdyn.interfaces import Segment
from gmmdyn.training import DenseEngine, FeatureEngine, PlainEngine

DIM, SIZE = 30, 60
SCHEDULE = gd.Schedule([0, 1, 2, 3], [0.9, 0.3, 0, 1.5])
# Over two blocks, the second one cut anywhere.
SEGMENTS = Segment(0, 0, SIZE), Segment(1, SIZE, 83), Segment(1, 83, 2 * SIZE)


def committee(activation="erf", bias=False, dtype="float64"):
    return gd.network(
        "committee",
        dim=DIM,
        hidden=3,
        activation=activation,
        init_scale=1.0,
        bias=bias,
        dtype=dtype,
        seed=3,
    )


def xor():
    return gd.data_model("xor", dim=DIM, variance=0.3, rho=0.4)


def moved(cls, *parts, replicas=2):
    engine = cls(*parts, replicas=replicas, seed=5, block_size=SIZE)
    for segment in SEGMENTS:
        engine.advance(segment)
    return engine


def check_against_dense(mixture, network, algorithm):
    plain, dense = (moved(cls, mixture, network, algorithm) for cls in (PlainEngine, DenseEngine))
    wanted = dense.weights(range(2))
    for replica in range(2):
        found = plain.network(replica)
        assert (found.first_layer - wanted.first_layer[replica]).abs().max() < 1e-12
        assert (found.readout - wanted.readout[replica]).abs().max() < 1e-12
        if network.bias is not None:
            assert (found.bias - wanted.bias[replica]).abs().max() < 1e-12
        assert (found.first_layer - network.first_layer).abs().max() > 0.1  # it learned


@pytest.mark.parametrize("batch", [1, 7])
@pytest.mark.parametrize("train_readout", [True, False], ids=["trained", "frozen"])
@pytest.mark.parametrize("bias", [False, True], ids=["no bias", "bias"])
@pytest.mark.parametrize("activation", ["relu", "erf"])
def test_the_dense_engine_is_autograd_to_rounding(activation, bias, train_readout, batch):
    algorithm = gd.OnlineSGD(0.5, 0.7, train_readout, batch_size=batch)
    check_against_dense(xor(), committee(activation, bias), algorithm)


@pytest.mark.parametrize(
    "variation",
    [
        {"learning_rate": SCHEDULE},
        {"loss": "logistic"},
        {"label_noise": 0.3},
        {"learning_rate": SCHEDULE, "loss": "logistic", "label_noise": 0.1, "batch_size": 7},
    ],
    ids=["schedule", "logistic", "label noise", "all"],
)
def test_the_variations_of_the_dense_engine_are_those_of_autograd(variation):
    algorithm = gd.OnlineSGD(**{"learning_rate": 0.5, "weight_decay": 0.7, **variation})
    check_against_dense(xor(), committee("erf", True), algorithm)


def test_a_data_model_without_axes_gives_both_the_same_samples():
    means = torch.randn(3, DIM, generator=torch.Generator().manual_seed(0))
    mixture = gd.data_model("random-covariance", means=means, labels=[-1, 1, 1], per_cluster=True)
    check_against_dense(mixture, committee(), gd.OnlineSGD(0.5))


@pytest.mark.parametrize(
    "variation",
    [{}, {"loss": "logistic", "label_noise": 0.2}, {"learning_rate": SCHEDULE, "batch_size": 7}],
    ids=["plain", "logistic", "schedule"],
)
@pytest.mark.parametrize("bias", [False, True], ids=["no bias", "bias"])
def test_the_features_engine_is_autograd_to_rounding(bias, variation):
    network = gd.network(
        "random-features", dim=DIM, features=20, activation="erf", bias=bias, dtype="float64"
    )
    algorithm = gd.OnlineSGD(**{"learning_rate": 0.5, "weight_decay": 0.7, **variation})
    parts = xor(), network, algorithm
    plain, features = (moved(cls, *parts) for cls in (PlainEngine, FeatureEngine))
    for replica in range(2):
        found = plain.network(replica)
        assert (found.readout - features.readout[replica]).abs().max() < 1e-12
        if bias:
            assert (found.bias - features.bias[replica]).abs() < 1e-12
        assert (found.readout - network.readout).abs().max() > 0.1


def test_a_run_is_that_of_the_dense_engine_test_sets_and_all():
    experiment = gd.Experiment(xor(), committee(bias=True), gd.OnlineSGD(0.5, loss="logistic"))
    plain, dense = (
        experiment.simulate(
            times=[0, 1.5, 4], replicas=2, seed=1, engine=engine, block_size=50, test_size=500
        )
        for engine in ("plain", "dense")
    )
    assert plain.metadata["engine"] == "plain"
    assert (
        set(plain.curves)
        == set(dense.curves)
        == {*"QRvb", *["pmse", "loss"]} | {"classification_error"}
    )
    for name, values in dense.curves.items():
        np.testing.assert_allclose(plain[name], values, rtol=0, atol=1e-11, err_msg=name)


class ThreeLayers(gd.Network):
    """Two hidden layers of a user's own: tanh on tanh, with a bias in the second."""

    def __init__(self, dim, widths=(4, 3), dtype=torch.float64):
        super().__init__()
        generator = torch.Generator().manual_seed(1)

        def weights(*shape):
            return nn.Parameter(torch.randn(shape, generator=generator, dtype=dtype))

        self.first = weights(widths[0], dim)
        self.second, self.offset = weights(widths[1], widths[0]), weights(widths[1])
        self.last = weights(widths[1])

    @property
    def dim(self):
        return self.first.shape[1]

    def forward(self, inputs):
        hidden = torch.tanh(inputs @ self.first.T / self.dim**0.5)
        return torch.tanh(hidden @ self.second.T + self.offset) @ self.last

    def parameter_groups(self, algorithm, time=0.0):
        rate, decay = float(algorithm.rate(time)), algorithm.weight_decay
        slow = [self.second, self.offset, *([self.last] if algorithm.train_readout else [])]
        return [
            {"params": [self.first], "lr": rate, "weight_decay": decay / self.dim},
            {"params": slow, "lr": rate / self.dim, "weight_decay": decay},
        ]


def test_three_layers_are_moved_by_the_gradient_written_out():
    """Backpropagation by hand, sample by sample, with the powers of D of the groups."""
    network = ThreeLayers(DIM)
    algorithm = gd.OnlineSGD(SCHEDULE, 0.3, loss="logistic", label_noise=0.1)
    engine = moved(PlainEngine, xor(), network, algorithm)
    w, a, c, v = (p.detach().clone() for p in network.parameters())
    inputs, labels = [], []
    for block in range(2):
        for piece in engine.pieces(block, range(1, 2)):
            inputs.append(piece.inputs[0].clone())
            labels.append(piece.labels[0].clone())
    for update, (x, y) in enumerate(zip(torch.cat(inputs), torch.cat(labels), strict=True)):
        rate = float(algorithm.rate(update / DIM))
        h = torch.tanh(w @ x / DIM**0.5)
        g = torch.tanh(a @ h + c)
        delta = y / (1 + torch.exp(y * (v @ g)))
        back = delta * v * (1 - g**2)
        steps = torch.outer((a.T @ back) * (1 - h**2), x) / DIM**0.5, torch.outer(back, h), back
        decay = 1 - rate * 0.3 / DIM
        w = decay * w + rate * steps[0]
        a, c = decay * a + rate / DIM * steps[1], decay * c + rate / DIM * steps[2]
        v = decay * v + rate / DIM * delta * g
    for found, wanted in zip(engine.network(1).parameters(), (w, a, c, v), strict=True):
        assert (found - wanted).abs().max() < 1e-12
    assert (w - network.first).abs().max() > 0.1


@pytest.mark.parametrize("loss", ["square", "logistic"])
def test_a_network_of_three_layers_is_simulated(loss):
    network = ThreeLayers(DIM)
    before = [p.detach().clone() for p in network.parameters()]
    experiment = gd.Experiment(xor(), network, gd.OnlineSGD(0.5, loss=loss))
    run = experiment.simulate(times=[0, 5, 20], replicas=2, test_size=400)
    assert run.metadata["engine"] == "plain"
    names = {"pmse", "classification_error", *(["loss"] if loss != "square" else [])}
    assert set(run.curves) == names
    assert (run.pmse[-1] < run.pmse[0]).all()
    assert run.pmse.shape == (3, 2)
    assert all(torch.equal(p, old) for p, old in zip(network.parameters(), before, strict=True))
    # At the start the errors are those of the network, within their scatter.
    batch = xor().sample(20_000, torch.Generator().manual_seed(9), torch.float64)
    with torch.no_grad():
        terms = 0.5 * (batch.labels - network(batch.inputs)) ** 2
    assert abs(run.pmse[0].mean() - float(terms.mean())) < 4 * float(terms.std()) / 800**0.5


def test_a_resumed_run_is_the_uninterrupted_one_bit_for_bit(tmp_path):
    experiment = gd.Experiment(
        xor(), ThreeLayers(DIM), gd.OnlineSGD(SCHEDULE, label_noise=0.1, batch_size=3)
    )

    def run(times, **options):
        return experiment.simulate(times=times, replicas=2, seed=4, test_size=100, **options)

    path = tmp_path / "run.ckpt"
    run([0, 1.7], checkpoint=path)
    whole, resumed = run([0, 1.7, 4]), run([0, 1.7, 4], resume=path)
    assert (whole.pmse == resumed.pmse).all()
    assert (whole.pmse[-1] != whole.pmse[-2]).all()


def test_a_replica_is_the_same_among_few_and_many():
    parts = xor(), ThreeLayers(DIM), gd.OnlineSGD(0.5)
    few, many = moved(PlainEngine, *parts, replicas=1), moved(PlainEngine, *parts, replicas=3)
    for one, all_ in zip(few.parameters(False), many.parameters(False), strict=True):
        assert torch.equal(one[0], all_[0])
        assert not torch.equal(all_[0], all_[1])


def test_weights_that_grow_beyond_all_bounds_are_said_so():
    experiment = gd.Experiment(xor(), committee("relu"), gd.OnlineSGD(80.0))
    with pytest.raises(DivergenceError, match="lower the learning rate"):
        experiment.simulate(times=[0, 50], engine="plain", test_size=10)


class Deaf(ThreeLayers):
    """It trains its readout whatever it is told, at a rate that knows no time."""

    def parameter_groups(self, algorithm, time=0.0):
        rate = float(algorithm.rate(0.0))
        return [{"params": [*self.parameters()], "lr": rate, "weight_decay": 0.0}]


class Column(ThreeLayers):
    def forward(self, inputs):
        return super().forward(inputs).unsqueeze(1)


class Dropping(ThreeLayers):
    def forward(self, inputs):
        return super().forward(nn.functional.dropout(inputs))


class Counting(ThreeLayers):
    def __init__(self, dim):
        super().__init__(dim)
        self.register_buffer("count", torch.zeros(()))

    def forward(self, inputs):
        self.count += 1
        return super().forward(inputs)


class Momentum(ThreeLayers):
    def parameter_groups(self, algorithm, time=0.0):
        return [{**group, "momentum": 0.9} for group in super().parameter_groups(algorithm, time)]


class Foreign(ThreeLayers):
    def parameter_groups(self, algorithm, time=0.0):
        other = nn.Parameter(torch.zeros(2))
        return [{"params": [other], "lr": 0.1, "weight_decay": 0.0}]


@pytest.mark.parametrize(
    ("cls", "options", "reason"),
    [
        (Deaf, {"train_readout": False}, "the same parameters with and without `train_readout`"),
        (Deaf, {"learning_rate": SCHEDULE}, "takes no notice of the `time`"),
        (Column, {}, r"outputs \(B,\), and here \(3, D\) gave \(3, 1\)"),
        (Dropping, {}, "a function of inputs and parameters alone"),
        (Counting, {}, "a function of inputs and parameters alone"),
        (Momentum, {}, r"has `params`, `lr` and `weight_decay` \(check momentum\)"),
        (Foreign, {}, "names tensors that are no parameters of it"),
    ],
)
def test_a_network_that_breaks_its_promises_is_refused_in_a_sentence(cls, options, reason):
    algorithm = gd.OnlineSGD(**{"learning_rate": 0.1, **options})
    with pytest.raises(IncompatibleError, match=reason):
        gd.Experiment(xor(), cls(DIM), algorithm).simulate(1, test_size=10)


def test_nobody_trains_a_readout_of_fixed_features_that_is_to_be_frozen():
    network = gd.network("random-features", dim=DIM, features=5)
    algorithm = gd.OnlineSGD(0.1, train_readout=False)
    with pytest.raises(IncompatibleError, match=r"the plain engine .* trains the same parameters"):
        gd.Experiment(xor(), network, algorithm).simulate(1, test_size=10)


def test_auto_says_of_each_engine_why_it_does_not_apply():
    experiment = gd.Experiment(xor(), Column(DIM), gd.OnlineSGD(0.1))
    with pytest.raises(IncompatibleError) as caught:
        experiment.simulate(1)
    places = [str(caught.value).index(f"the {name} engine") for name in ORDER]
    assert places == sorted(places)


ORDER = "chain", "dense", "features", "plain"


def test_an_engine_is_given_by_name_by_class_or_by_an_object_that_builds_it():
    experiment = gd.Experiment(xor(), committee(), gd.OnlineSGD(0.5))

    def run(engine):
        return experiment.simulate(times=[1], engine=engine, block_size=50, test_size=10)

    blocked = functools.partial(DenseEngine, compiled=False)
    runs = [run(engine) for engine in ("dense", DenseEngine, blocked)]
    for one in runs:
        assert one.metadata["engine"] == "dense"
        np.testing.assert_allclose(one.Q, runs[0].Q, rtol=0, atol=1e-12)
    (many,) = gd.simulate_many([experiment], times=[1], engine=DenseEngine, block_size=50)
    np.testing.assert_array_equal(many.Q, runs[0].Q)


class Unnamed(gd.Engine):
    """An engine of nobody's plugin: constant weights."""

    name = "dense"

    def __init__(self, data_model, network, algorithm, *, replicas, seed, block_size):
        super().__init__(data_model.dim, block_size or 10)
        self.state = nn.Parameter(torch.zeros(replicas), requires_grad=False)

    @classmethod
    def obstacle_of_parts(cls, data_model, network, algorithm):
        return None

    @property
    def finite(self):
        return True

    def groups(self):
        return [range(self.replicas)]

    def advance(self, segment, stops=(), observe=lambda step, replicas: None):
        for stop in stops:
            observe(stop, range(self.replicas))

    def measure(self, step, replicas, test_size):
        return {"pmse": np.full(len(replicas), 0.25)}


def test_an_engine_of_ones_own_runs_and_is_known_by_its_class_and_by_no_borrowed_name():
    experiment = gd.Experiment(xor(), committee(), gd.OnlineSGD(0.5))
    run = experiment.simulate(times=[0, 2], replicas=3, engine=Unnamed)
    assert run.metadata["engine"] == f"{__name__}.Unnamed"
    assert (run.pmse == 0.25).all()
    # It describes plain SGD alone, however it is asked for.
    other = gd.Experiment(xor(), committee(), gd.OnlineSGD(0.5, batch_size=2))
    for engine in (Unnamed, lambda *parts, **settings: Unnamed(*parts, **settings)):
        with pytest.raises(IncompatibleError, match="not mini-batches"):
            other.simulate(times=[1], engine=engine)


def test_what_is_no_engine_is_refused():
    experiment = gd.Experiment(xor(), committee(), gd.OnlineSGD(0.5))
    built = DenseEngine(xor(), committee(), gd.OnlineSGD(0.1))
    for engine, error, words in (
        ("danse", UnknownComponentError, "no engine is called `danse`; did you mean `dense`"),
        (built, ArgumentError, "DenseEngine that is built already"),
        (3, ArgumentError, "`engine` is 3; give `auto`"),
        (dict, ArgumentError, "`engine` is <class 'dict'>"),
        (lambda *parts, **settings: 3, ArgumentError, "an object of int, which is no Engine"),
    ):
        with pytest.raises(error, match=words):
            experiment.simulate(1, engine=engine)
