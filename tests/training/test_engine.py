"""The engine is plain one-sample SGD, to rounding."""

from __future__ import annotations

import copy

import pytest
import torch

import gmmdyn as gd
from gmmdyn.training import DenseEngine, Segment

DIM, HIDDEN = 40, 3


class Tanh(gd.Activation):
    """A user's activation: no scalar functions, so the blocked form must do."""

    def forward(self, x):
        return torch.tanh(x)

    def derivative(self, x):
        return 1 - torch.tanh(x) ** 2


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
        for _, x, y in engine._pieces(block, range(replica, replica + 1)):
            inputs.append(x[0])
            labels.append(y[0])
    return torch.cat(inputs), torch.cat(labels)


def plain_sgd(network, algorithm, inputs, labels):
    """What every textbook writes: one sample, autograd, torch.optim.SGD."""
    network = copy.deepcopy(network)
    optimizer = torch.optim.SGD(network.parameter_groups(algorithm))
    for x, y in zip(inputs, labels, strict=True):
        optimizer.zero_grad()
        loss = 0.5 * (y - network(x.unsqueeze(0))[0]) ** 2
        loss.backward()
        optimizer.step()
    return network


@pytest.mark.parametrize("compiled", [True, False], ids=["loop", "blocked"])
@pytest.mark.parametrize("bias", [False, True], ids=["no bias", "bias"])
@pytest.mark.parametrize("train_readout", [True, False], ids=["trained", "frozen"])
@pytest.mark.parametrize("activation", ["relu", "erf", "linear", Tanh()], ids=str)
def test_it_equals_plain_sgd_to_rounding(activation, train_readout, bias, compiled):
    mixture, network = build(activation, bias=bias)
    algorithm = gd.OnlineSGD(0.5, 0.7, train_readout)
    engine = DenseEngine(
        mixture, network, algorithm, replicas=2, seed=5, block_size=300, compiled=compiled
    )
    assert engine.compiled == (compiled and not isinstance(activation, Tanh))
    expected = plain_sgd(network, algorithm, *samples(engine, 2, replica=1))
    # Blocks may be cut anywhere.
    for segment in (Segment(0, 0, 300), Segment(1, 300, 437), Segment(1, 437, 600)):
        engine.advance(segment)
    assert (engine.first_layer[1] - expected.first_layer).abs().max() < 1e-13
    assert (engine.readout[1] - expected.readout).abs().max() < 1e-13
    if bias:
        assert (engine.bias[1] - expected.bias).abs().max() < 1e-13
    assert (engine.first_layer[1] - network.first_layer).abs().max() > 0.1  # it learned


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
            engine._loop(weights)(x, y)
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
        # Pieces are cut at the stop; double precision leaves only rounding.
        torch.testing.assert_close(weights, other.first_layer.data, rtol=0, atol=1e-14)
