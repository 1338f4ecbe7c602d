"""The chain is plain one-sample SGD: along given noise to rounding, and in law."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from scipy import stats

import gmmdyn as gd
from gmmdyn.errors import IncompatibleError
from gmmdyn.training import ChainEngine, DenseEngine, Segment
from gmmdyn.training.chain.coordinates import coordinates_of

SCHEDULE = gd.Schedule([0, 0.5, 2], [0.2, 0.9, 0.4])


class Tanh(gd.Activation):
    """A user's activation: its scalar functions are found in its code."""

    def forward(self, x):
        return torch.tanh(x)

    def derivative(self, x):
        return 1 - torch.tanh(x) ** 2


class Opaque(Tanh):
    """One that looks at its input: it has no scalar functions."""

    def forward(self, x):
        return torch.tanh(x) if bool((x < 100).all()) else torch.sign(x)


def build(dim, hidden=3, activation="relu", bias=False, **options):
    mixture = gd.data_model("xor", dim=dim, variance=0.3, rho=0.4)
    network = gd.network(
        "committee",
        dim=dim,
        hidden=hidden,
        activation=activation,
        **{"init_scale": 1.0, "bias": bias, "dtype": "float64", "seed": 3, **options},
    )
    return mixture, network


def explicit_sgd(engine, network, algorithm, updates):
    """Plain SGD by autograd on inputs in D dimensions made of the noise that the chain used.

    The chain is advanced beside it by one update at a time, since which directions its noise
    stands for follows from where the weights are.
    """
    mixture, dim, root = engine.experiments[0].mixture, engine.dim, engine.dim**0.5
    (centres,) = engine.centres
    network = copy.deepcopy(network)
    generator = torch.Generator().manual_seed(0)
    inside = torch.linalg.pinv(centres) @ mixture.means / root  # (r, D)
    torch.testing.assert_close(centres @ inside * root, mixture.means, atol=1e-12, rtol=0)
    first, noise = next(engine._noise(Segment(0, 0, updates), 0))
    assert first == 0
    for i in range(updates):
        weights = network.first_layer.detach() / root
        outside = torch.linalg.pinv(engine.rest[0].T) @ (weights - weights @ inside.T @ inside)
        basis = torch.cat([inside, outside])  # (r + s, D)
        unit = torch.eye(len(basis), dtype=torch.float64)
        torch.testing.assert_close(basis @ basis.T, unit, atol=1e-7, rtol=0)
        vector = torch.as_tensor(noise.normals[i]) @ basis
        if len(noise.beyond):
            free = torch.randn(dim, generator=generator, dtype=torch.float64)
            free -= free @ basis.T @ basis
            vector += noise.beyond[i] ** 0.5 * free / free.norm()
        cluster = int((noise.choices[i] >= mixture.priors.cumsum(0)[:-1].numpy()).sum())
        x = mixture.means[cluster] / root + mixture.variance**0.5 * vector
        y = mixture.labels[cluster]
        if len(noise.wrong) and noise.wrong[i] < algorithm.label_noise:
            y = -y
        now = gd.OnlineSGD(
            float(algorithm.rate(i / dim)), algorithm.weight_decay, algorithm.train_readout
        )
        optimizer = torch.optim.SGD(network.parameter_groups(now))
        algorithm.loss_function.value(network(x.unsqueeze(0))[0], y).backward()
        optimizer.step()
        network.zero_grad()
        engine.advance(Segment(0, i, i + 1))
    return network


@pytest.mark.parametrize(
    ("dim", "hidden", "activation", "bias", "settings"),
    [
        (12, 3, "relu", False, {}),
        (12, 3, "erf", True, {}),
        (6, 3, "relu", True, {"train_readout": False}),  # one direction beyond the basis
        (5, 3, "erf", False, {}),  # none
        (4, 3, "relu", False, {}),  # fewer left than units
        (5, 7, "erf", True, {}),  # more units than inputs
        (2, 2, "erf", False, {}),  # nothing outside of the means
        (10, 1, "linear", False, {}),
        (12, 3, Tanh(), True, {}),
        (12, 3, "erf", True, {"loss": "logistic", "learning_rate": SCHEDULE}),
        (12, 3, "relu", False, {"label_noise": 0.3}),
    ],
)
def test_along_given_noise_it_equals_sgd_in_d_dimensions(dim, hidden, activation, bias, settings):
    mixture, network = build(dim, hidden, activation, bias)
    algorithm = gd.OnlineSGD(**{"learning_rate": 0.7, "weight_decay": 0.6, **settings})
    engine = ChainEngine(mixture, network, algorithm, seed=5, block_size=40)
    start = network.order_parameters(mixture)
    torch.testing.assert_close(engine.order_parameters(range(1)).Q[0], start.Q)
    torch.testing.assert_close(engine.order_parameters(range(1)).R[0], start.R)
    final = explicit_sgd(engine, network, algorithm, 25).order_parameters(mixture)
    found = engine.order_parameters(range(1)).of(0)
    for name in ("Q", "R", "v", "b", "covariance"):
        if getattr(final, name) is not None:
            torch.testing.assert_close(
                getattr(found, name), getattr(final, name), rtol=0, atol=1e-9, msg=name
            )
    assert (final.Q - start.Q).abs().max() > 0.05  # it learned


def test_the_noise_has_the_law_of_its_name():
    mixture, network = build(9)
    engine = ChainEngine(mixture, network, gd.OnlineSGD(0.1, label_noise=0.1), block_size=40_000)
    pieces = [noise for _, noise in engine._noise(Segment(0, 0, 40_000), 0)]
    normals = np.concatenate([noise.normals for noise in pieces])
    beyond = np.concatenate([noise.beyond for noise in pieces])
    assert normals.shape == (40_000, 5)  # r = 2 and s = 3
    assert stats.kstest(normals.ravel(), "norm").pvalue > 1e-3
    assert stats.kstest(beyond, stats.chi2(9 - 5).cdf).pvalue > 1e-3
    for name in ("choices", "wrong"):
        uniform = np.concatenate([getattr(noise, name) for noise in pieces])
        assert stats.kstest(uniform, "uniform").pvalue > 1e-3
    everything = np.column_stack([normals, beyond])
    correlation = np.corrcoef(everything.T) - np.eye(6)
    assert np.abs(correlation).max() < 5 / 200  # 5 standard errors


@pytest.mark.parametrize(
    "replicas",
    [pytest.param(2000, marks=pytest.mark.science, id="many"), pytest.param(150, id="few")],
)
@pytest.mark.parametrize(
    ("dim", "hidden", "activation", "train_readout", "options"),
    [
        (5, 4, "relu", True, {}),
        (8, 3, "relu", True, {"bias": True}),
        (8, 4, "erf", True, {"init_scale": 0.0}),  # weights of rank 0
        (40, 4, "relu", False, {}),
    ],
)
def test_it_equals_the_dense_engine_in_law(
    dim, hidden, activation, train_readout, options, replicas
):
    """Kolmogorov and Smirnov's test of every curve at two times, over replicas."""
    readout = [1.0, -0.8, 0.5, -0.3][:hidden]
    mixture, network = build(dim, hidden, activation, readout=readout, **options)
    experiment = gd.Experiment(mixture, network, gd.OnlineSGD(0.6, 0.2, train_readout))
    runs = [
        experiment.simulate(
            times=[1.0, 4.0],
            replicas=replicas,
            seed=seed,
            engine=engine,
            test_size=500,
            block_size=4 * dim,
        )
        for seed, engine in enumerate(("dense", "chain"))
    ]
    chances = []
    for name in runs[0].curves:
        ours, theirs = (run[name].reshape(2, replicas, -1) for run in runs)
        for row in range(2):
            for entry in range(ours.shape[2]):
                a, b = ours[row, :, entry], theirs[row, :, entry]
                if np.ptp(a) > 1e-9:  # a frozen readout has no law
                    chances.append(stats.ks_2samp(a, b).pvalue)
                else:
                    np.testing.assert_allclose(a, b, atol=1e-9)
    assert len(chances) > 20
    # The smallest of n (dependent) chances is below x with probability at most n x.
    assert min(chances) > 1e-3 / len(chances)


@pytest.mark.parametrize("hidden", [2, 5])
def test_dependent_means_span_few_directions(hidden):
    generator = torch.Generator().manual_seed(1)
    two = torch.randn(2, 30, generator=generator, dtype=torch.float64)
    means = torch.stack([two[0], two[1], two[0] + two[1], -two[0], 0 * two[0]])
    weights = torch.randn(hidden, 30, generator=generator, dtype=torch.float64)
    found = coordinates_of(means, weights)
    assert found.centres.shape == (5, 2)
    torch.testing.assert_close(found.centres @ found.centres.T, means @ means.T / 30)
    torch.testing.assert_close(found.centres @ found.span, means @ weights.T / 30)
    torch.testing.assert_close(
        found.span.T @ found.span + found.rest.T @ found.rest, weights @ weights.T / 30
    )
    assert found.rest.tril(-1).abs().max() == 0


def test_a_mixture_without_means_or_without_noise_is_simulated():
    network = gd.network("committee", dim=20, hidden=3, activation="relu", init_scale=1.0, seed=0)
    still = gd.data_model("isotropic", means=torch.zeros(2, 20), labels=[-1, 1], variance=1.0)
    assert ChainEngine(still, network, gd.OnlineSGD(0.1)).span.shape == (1, 0, 3)
    sharp = gd.data_model("xor", dim=20, variance=0.0)
    for mixture in (still, sharp):
        run = gd.Experiment(mixture, network, gd.OnlineSGD(0.3)).simulate(
            times=[20.0], replicas=20, engine="chain"
        )
        assert np.isfinite(run["Q"]).all()
    # Without noise nothing but decay moves the weights outside of the means.
    engine = ChainEngine(sharp, network, gd.OnlineSGD(0.3, 0.5), block_size=100)
    start = engine.rest.clone()
    engine.advance(Segment(0, 0, 100))
    product = (1 - 0.3 * 0.5 / 20) ** 200 * start.mT @ start
    torch.testing.assert_close(engine.rest.mT @ engine.rest, product)


def test_equal_units_stay_equal_and_the_overlaps_positive():
    mixture, network = build(50, hidden=4)
    weights = network.first_layer.detach().clone()
    weights[1], weights[3] = weights[0], 0
    network = gd.network(
        "committee", first_layer=weights, readout=[0.5, 0.5, -1.0, 0.2], activation="relu"
    )
    engine = ChainEngine(mixture, network, gd.OnlineSGD(0.5, 0.01), block_size=20_000)
    engine.advance(Segment(0, 0, 20_000))
    Q = engine.order_parameters(range(1)).Q[0]
    assert Q[0, 0] > 0.1
    torch.testing.assert_close(Q[0], Q[1], rtol=0, atol=1e-11)
    assert torch.linalg.eigvalsh(Q)[0] > -1e-15


def test_the_cost_knows_no_dimension():
    """At D = 10^6 the state has the same few numbers; and there it follows the theory."""
    mixture = gd.data_model("xor", dim=1_000_000, variance=0.05)
    network = gd.network("committee", dim=1_000_000, hidden=2, init_scale=1.0, seed=0)
    engine = ChainEngine(mixture, network, gd.OnlineSGD(0.5), replicas=3)
    assert sum(state.numel() for state in engine.parameters()) == 3 * (2 * 2 + 2 * 2 + 2)
    experiment = gd.Experiment(mixture, network, gd.OnlineSGD(0.5))
    run = experiment.simulate(times=[0.2], engine="chain")
    ode = experiment.solve("ode", times=[0.0, 0.2])
    # Fluctuations are of order 1/sqrt(D).
    np.testing.assert_allclose(run["Q"][0, 0], ode["Q"][1], atol=5e-3)
    np.testing.assert_allclose(run["v"][0, 0], ode["v"][1], atol=5e-3)


def test_stops_and_cuts_change_nothing():
    mixture, network = build(30)
    algorithm = gd.OnlineSGD(0.5, 0.1, label_noise=0.1)

    def run(*segments, stops=(), replicas=3):
        engine = ChainEngine(
            mixture, network, algorithm, replicas=replicas, seed=2, block_size=5000
        )
        seen = []
        for segment in segments:
            here = [stop for stop in stops if segment.start < stop <= segment.stop]
            engine.advance(segment, here, lambda step, group: seen.append((step, group.start)))
        assert sorted(seen) == [(stop, replica) for stop in stops for replica in range(replicas)]
        return engine

    whole = run(Segment(0, 0, 5000), Segment(1, 5000, 6000))
    cut = run(
        Segment(0, 0, 2048),
        Segment(0, 2048, 4999),
        Segment(0, 4999, 5000),
        Segment(1, 5000, 6000),
        stops=[1, 2047, 2048, 2049, 5000, 5001, 6000],
        replicas=2,
    )
    for mine, theirs in zip(whole.parameters(), cut.parameters(), strict=True):
        assert torch.equal(mine[:2], theirs)
    assert not torch.equal(whole.span[0], whole.span[1])


def test_threads_change_nothing():
    mixture, network = build(30, activation="erf")

    def run(threads):
        engine = ChainEngine(mixture, network, gd.OnlineSGD(0.5), replicas=4, seed=2)
        before = torch.get_num_threads()
        torch.set_num_threads(threads)
        try:
            engine.advance(Segment(0, 0, 3000))
            assert torch.get_num_threads() == threads
        finally:
            torch.set_num_threads(before)
        return engine.rest

    assert torch.equal(run(1), run(3))


def test_auto_chooses_it_where_it_applies_and_says_why_not():
    mixture, network = build(10)
    cases = [
        (mixture, network, gd.OnlineSGD(0.1), None),
        (mixture, build(10, activation=Tanh())[1], gd.OnlineSGD(0.1), None),
        (
            mixture,
            build(10, activation=Opaque())[1],
            gd.OnlineSGD(0.1),
            "scalar functions, and Opaque's `forward` calls aten.all",
        ),
        (
            gd.data_model("random-covariance", means=torch.eye(2, 10), labels=[-1, 1]),
            network,
            gd.OnlineSGD(0.1),
            "isotropic mixtures, and RandomCovariance is none",
        ),
        (mixture, network, gd.OnlineSGD(0.1, batch_size=2), "and not mini-batches"),
    ]
    for mixture, network, algorithm, reason in cases:
        experiment = gd.Experiment(mixture, network, algorithm)
        if reason is None:
            assert experiment.simulate(0.5).metadata["engine"] == "chain"
            continue
        with pytest.raises(IncompatibleError, match=f"the chain engine .*{reason}"):
            experiment.simulate(0.5, engine="chain")
        if DenseEngine.obstacle(mixture, network, algorithm) is None:
            assert experiment.simulate(0.5).metadata["engine"] == "dense"
