"""The engine is plain one-sample SGD, to rounding."""

from __future__ import annotations

import copy
import math

import numpy as np
import pytest
import torch

import gmmdyn as gd
from gmmdyn.training import DenseEngine, Segment
from gmmdyn.training.rule.loop import CompiledLoop

DIM, HIDDEN = 40, 3


class Tanh(gd.Activation):
    """A user's activation: its scalar functions are found in its code."""

    def forward(self, x):
        return torch.tanh(x)

    def derivative(self, x):
        return 1 - torch.tanh(x) ** 2


class Opaque(Tanh):
    """It looks at its input: there are no scalar functions, so the blocked form must do."""

    def forward(self, x):
        return torch.tanh(x) if x.abs().max() < 100 else torch.sign(x)


def build(activation="relu", dtype="float64", bias=False, dim=DIM):
    mixture = gd.data_model("xor", dim=dim, variance=0.3, rho=0.4)
    network = gd.network(
        "committee",
        dim=dim,
        hidden=HIDDEN,
        activation=activation,
        init_scale=1.0,
        bias=bias,
        dtype=dtype,
        seed=3,
    )
    return mixture, network


def samples(engine, blocks, replica):
    """The inputs and labels that a replica sees, in order."""
    inputs, labels = [], []
    for block in range(blocks):
        for _, x, y in engine.samples(block, range(replica, replica + 1)):
            inputs.append(x[0].clone())
            labels.append(y[0].clone())
    return torch.cat(inputs), torch.cat(labels)


def plain_sgd(network, algorithm, inputs, labels):
    """What every textbook writes: one batch, autograd, torch.optim.SGD."""
    network = copy.deepcopy(network)
    size = algorithm.batch_size
    for update in range(len(labels) // size):
        groups = network.parameter_groups(algorithm, update / network.dim)
        optimizer = torch.optim.SGD(groups)
        optimizer.zero_grad()
        part = slice(update * size, (update + 1) * size)
        y, output = labels[part], network(inputs[part])
        if algorithm.loss == "logistic":
            loss = torch.log(1 + torch.exp(-y * output))
        else:
            loss = 0.5 * (y - output) ** 2
        loss.mean().backward()
        optimizer.step()
    return network


def check_against_plain_sgd(mixture, network, algorithm, compiled, tolerance):
    """The second of two replicas, over two blocks, the second one cut anywhere."""
    size = 100
    engine = DenseEngine(
        mixture, network, algorithm, replicas=2, seed=5, block_size=size, compiled=compiled
    )
    scalar = not isinstance(network.activation, Opaque)
    assert engine.compiled == (compiled and scalar)
    expected = plain_sgd(network, algorithm, *samples(engine, 2, replica=1))
    for segment in (Segment(0, 0, size), Segment(1, size, 137), Segment(1, 137, 2 * size)):
        engine.advance(segment)
    assert (engine.first_layer[1] - expected.first_layer).abs().max() < tolerance
    assert (engine.readout[1] - expected.readout).abs().max() < tolerance
    if network.bias is not None:
        assert (engine.bias[1] - expected.bias).abs().max() < tolerance
    assert (engine.first_layer[1] - network.first_layer).abs().max() > 0.1  # it learned


@pytest.mark.parametrize("compiled", [True, False], ids=["loop", "blocked"])
@pytest.mark.parametrize("bias", [False, True], ids=["no bias", "bias"])
@pytest.mark.parametrize("train_readout", [True, False], ids=["trained", "frozen"])
@pytest.mark.parametrize("activation", ["relu", "erf", "linear", Tanh(), Opaque()], ids=str)
def test_it_equals_plain_sgd_to_rounding(activation, train_readout, bias, compiled):
    mixture, network = build(activation, bias=bias)
    algorithm = gd.OnlineSGD(0.5, 0.7, train_readout)
    check_against_plain_sgd(mixture, network, algorithm, compiled, 1e-13)


VARIATIONS = {
    "logistic": {"loss": "logistic"},
    "batch": {"batch_size": 3},
    # More samples than the blocked form puts into one product.
    "large batch": {"batch_size": 100},
    # Constant, falling, at rest for some time (neither step nor decay), on again.
    "schedule": {"learning_rate": gd.Schedule([0.5, 1, 2, 3, 4], [0.9, 0.3, 0, 0, 1.5])},
    "label noise": {"label_noise": 0.2},
    # 1 - eta kappa/D is 0 at first, so that an update forgets all before it, then negative.
    "no memory": {
        "learning_rate": gd.Schedule([2, 2.001], [0.5, 0.8]),
        "weight_decay": DIM / 0.5,
    },
    "all": {
        "learning_rate": gd.Schedule([0, 4], [0.9, 0.2]),
        "loss": "logistic",
        "batch_size": 4,
        "label_noise": 0.1,
    },
}


@pytest.mark.parametrize("compiled", [True, False], ids=["loop", "blocked"])
@pytest.mark.parametrize("train_readout", [True, False], ids=["trained", "frozen"])
@pytest.mark.parametrize("name", sorted(VARIATIONS))
def test_variations_equal_plain_sgd_to_rounding(name, train_readout, compiled):
    # With all forgotten, fields are 0 to rounding, and a ReLU is on or off by chance.
    mixture, network = build("erf" if name in ("no memory", "schedule") else "relu", bias=True)
    settings = {"learning_rate": 0.5, "weight_decay": 0.7, **VARIATIONS[name]}
    algorithm = gd.OnlineSGD(train_readout=train_readout, **settings)
    check_against_plain_sgd(mixture, network, algorithm, compiled, 1e-12)


@pytest.mark.parametrize("compiled", [True, False], ids=["loop", "blocked"])
def test_batches_of_one_seed_are_whole_however_blocks_are_cut(compiled):
    mixture, network = build("erf")
    algorithm = gd.OnlineSGD(0.5, batch_size=7)

    def run(*segments):
        engine = DenseEngine(mixture, network, algorithm, block_size=50, compiled=compiled)
        for segment in segments:
            engine.advance(segment)
        return engine.first_layer.data

    cut = run(Segment(0, 0, 13), Segment(0, 13, 50))
    torch.testing.assert_close(cut, run(Segment(0, 0, 50)), rtol=0, atol=1e-13)


def test_training_labels_are_flipped_with_the_given_probability():
    mixture, network = build()
    clean, noisy = (
        samples(DenseEngine(mixture, network, gd.OnlineSGD(0.5, label_noise=p)), 1, 0)
        for p in (0.0, 0.3)
    )
    # Flips are drawn after the clusters, so those are the same.
    count = len(clean[1])
    flipped = (clean[1] != noisy[1]).double()
    assert abs(float(flipped.mean()) - 0.3) < 4 * (0.3 * 0.7 / count) ** 0.5
    assert torch.equal(clean[1].abs(), noisy[1].abs())


@pytest.mark.parametrize("compiled", [True, False], ids=["loop", "blocked"])
@pytest.mark.parametrize("per_cluster", [False, True], ids=["shared", "one each"])
def test_weights_may_be_held_in_principal_axes(per_cluster, compiled):
    """Plain SGD in the coordinates of the inputs; only a shared covariance has axes."""
    generator = torch.Generator().manual_seed(0)
    means = torch.randn(3, DIM, generator=generator, dtype=torch.float64)
    mixture = gd.data_model(
        "random-covariance", means=means, labels=[-1, 1, 1], per_cluster=per_cluster
    )
    _, network = build("erf")
    algorithm = gd.OnlineSGD(0.5, 0.7)
    engine = DenseEngine(mixture, network, algorithm, block_size=150, compiled=compiled)
    inputs, labels = samples(engine, 1, 0)
    axes = mixture.principal_axes()
    assert (axes is None) == per_cluster
    if axes is not None:
        inputs = inputs @ axes.rotation.T
    expected = plain_sgd(network, algorithm, inputs, labels)
    engine.advance(Segment(0, 0, 150))
    weights = engine.weights(range(1))
    assert (weights.first_layer[0] - expected.first_layer).abs().max() < 1e-12
    assert (weights.readout[0] - expected.readout).abs().max() < 1e-12


def test_decay_is_not_rounded_in_single_precision():
    """The factor 1 - 5e-8 lies between two numbers; the weights must shrink by its power."""
    dim, updates = 200, 20_000
    mixture = gd.data_model("isotropic", means=[[0.0] * dim], labels=[1], variance=0.0)
    weights = torch.randn(1, dim, generator=torch.Generator().manual_seed(0))
    network = gd.network("committee", first_layer=weights, readout=[0.0])
    algorithm = gd.OnlineSGD(1e-4, 0.1, train_readout=False)
    for compiled in (True, False):
        engine = DenseEngine(mixture, network, algorithm, block_size=updates, compiled=compiled)
        engine.advance(Segment(0, 0, updates))
        left = (engine.first_layer[0] @ weights.T / (weights @ weights.T)).item()
        assert left == pytest.approx(math.exp(-1e-3), abs=2e-6)


def test_single_precision_stays_close_to_double():
    moved = {}
    for dtype in ("float32", "float64"):
        mixture, network = build(dtype=dtype)
        engine = DenseEngine(mixture, network, gd.OnlineSGD(0.5, 0.1), block_size=256)
        inputs, labels = samples(engine, 1, 0)
        start = network.first_layer.clone()
        # The two types draw other numbers: give the single-precision ones to both.
        moved.setdefault("inputs", (inputs, labels))
        x, y = (t.to(start.dtype).unsqueeze(0) for t in moved["inputs"])
        weights = engine.weights(range(1))
        with torch.no_grad():
            loop = CompiledLoop(engine.rule, weights.of(0))
            loop.move(x, y, np.full(len(y[0]), 0.5))
        moved[dtype] = engine.first_layer.double()
    assert (moved["float32"] - moved["float64"]).abs().max() < 1e-4


@pytest.mark.parametrize("compiled", [True, False], ids=["loop", "blocked"])
def test_a_replica_is_the_same_among_few_and_many(compiled):
    mixture, network = build("relu", "float32")

    def run(replicas):
        engine = DenseEngine(
            mixture, network, gd.OnlineSGD(0.5), replicas=replicas, seed=2, compiled=compiled
        )
        engine.advance(Segment(0, 0, 500))
        return engine.first_layer

    few, many = run(2), run(5)
    if compiled:
        assert torch.equal(few, many[:2])
    else:  # batched products may sum in another order
        torch.testing.assert_close(few, many[:2], rtol=0, atol=1e-5)
    assert not torch.equal(many[0], many[1])


def test_threads_change_nothing():
    mixture, network = build("erf", "float32")

    def run(threads):
        engine = DenseEngine(mixture, network, gd.OnlineSGD(0.5), replicas=4, seed=2)
        before = torch.get_num_threads()
        torch.set_num_threads(threads)
        try:
            engine.advance(Segment(0, 0, 300))
            assert torch.get_num_threads() == threads
        finally:
            torch.set_num_threads(before)
        return engine.first_layer

    assert torch.equal(run(1), run(3))


def test_other_seeds_are_other_runs():
    mixture, network = build()
    runs = []
    for seed in (0, 1):
        engine = DenseEngine(mixture, network, gd.OnlineSGD(0.5), seed=seed)
        engine.advance(Segment(0, 0, 50))
        runs.append(engine.first_layer)
    assert (runs[0] - runs[1]).abs().max() > 1e-3


def test_stops_see_the_weights_of_their_moment():
    mixture, network = build()
    engine = DenseEngine(mixture, network, gd.OnlineSGD(0.5), seed=1, block_size=400)
    seen = {}
    stops = [1, 137, 400]
    engine.advance(
        Segment(0, 0, 400),
        stops,
        lambda step, replicas: seen.setdefault(step, engine.first_layer.clone()),
    )
    assert list(seen) == stops
    for stop, weights in seen.items():
        other = DenseEngine(mixture, network, gd.OnlineSGD(0.5), seed=1, block_size=400)
        other.advance(Segment(0, 0, stop))
        # SampleSource are cut at the stop; double precision leaves only rounding.
        torch.testing.assert_close(weights, other.first_layer.data, rtol=0, atol=1e-14)
