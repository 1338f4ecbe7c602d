"""Learning curves of random features: moments written out, and plain SGD."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from fixed_features import FixedFeatures, random_projection

import gmmdyn as gd
from gmmdyn.errors import ConvergenceError, IncompatibleError
from gmmdyn_random_features import (
    feature_statistics,
    learning_curve,
    mean_weights,
    modes,
    optimal_readout,
)

COUNTS = np.array([0, 1, 2, 7, 30, 100, 400, 2000])


def problem(size, bias=0.0, dim=20, activation="relu", same=False):
    """Three clusters with unequal priors and covariances of their own, from random weights."""
    generator = torch.Generator().manual_seed(4)
    means = torch.randn(3, dim, generator=generator, dtype=torch.float64) * 2
    factor = torch.randn(3, dim, dim, generator=generator, dtype=torch.float64)
    factor = factor * 0.64 / dim**0.5
    covariance = factor @ factor.mT * torch.tensor([1.0, 3.0, 0.5]).reshape(3, 1, 1)
    mixture = gd.data_model(
        "random-covariance",
        means=means,
        labels=[-1, 1, 1],
        priors=[0.5, 0.2, 0.3],
        covariance=covariance[0] if same else covariance,
    )
    readout = torch.randn(size, generator=generator, dtype=torch.float64)
    network = FixedFeatures(random_projection(dim, size), activation, readout=readout, bias=bias)
    return mixture, network


def found_modes(mixture, network, ridge, order="exact"):
    weights = network.readout.numpy() / network.size**0.5
    intercept = None if network.bias is None else float(network.bias)
    return modes(feature_statistics(mixture, network), weights, intercept, ridge, order)


class Slow:
    """First and second moments of the weights, update by update, with nothing left out.

    Features are Gaussian in each cluster; by Isserlis' theorem E[Δ² z zᵀ] of jointly Gaussian
    Δ (mean d, variance q, covariance g with z) and z (mean M, second moment B) is
    (d² + q) B + 2 g gᵀ + 2 d (g Mᵀ + M gᵀ).
    """

    def __init__(self, mixture, network, rate, ridge, batch=1):
        statistics = feature_statistics(mixture, network)
        size = network.size
        self.extra = network.bias is not None
        self.step, self.batch = rate / size, batch
        self.priors, self.labels = statistics.priors, statistics.labels
        total = size + self.extra
        self.means = np.ones((len(self.priors), total))
        self.means[:, :size] = statistics.means
        self.noise = np.zeros((len(self.priors), total, total))
        for alpha in range(len(self.priors)):
            self.noise[alpha, :size, :size] = statistics.covariance(alpha, "exact")
        self.decay = np.diag(np.r_[np.full(size, ridge), [0.0] * self.extra])
        self.second = self.noise + self.means[:, :, None] * self.means[:, None, :]
        start = network.readout.numpy() / size**0.5
        self.mean = np.r_[start, float(network.bias)] if self.extra else start
        self.outer = np.outer(self.mean, self.mean)

    def errors(self):
        """E_a[Δ²], shape (C,)."""
        return np.array(
            [
                1 - 2 * y * m @ self.mean + np.sum(b * self.outer)
                for y, m, b in zip(self.labels, self.means, self.second, strict=True)
            ]
        )

    def update(self):
        h, eye = self.step, np.eye(len(self.mean))
        shrink = eye - h * self.decay
        drift = np.tensordot(self.priors, self.second, 1)
        cross = (self.priors * self.labels) @ self.means
        noise = np.zeros_like(self.outer)
        for p, y, m, c, b, e in zip(
            self.priors,
            self.labels,
            self.means,
            self.noise,
            self.second,
            self.errors(),
            strict=True,
        ):
            gm = y * np.outer(c @ self.mean, m) - c @ self.outer @ np.outer(m, m)
            noise += p * (e * b + 2 * c @ self.outer @ c - 2 * (gm + gm.T))
        # E[g gᵀ] for the mean g of one sample's gradient given the weights.
        both = np.outer(cross, self.mean) @ drift
        given = np.outer(cross, cross) - both - both.T + drift @ self.outer @ drift
        pull = np.outer(self.mean, cross) - self.outer @ drift
        self.outer = (
            shrink @ self.outer @ shrink
            + h * (shrink @ pull + pull.T @ shrink)
            + h**2 * (noise / self.batch + (1 - 1 / self.batch) * given)
        )
        self.mean = shrink @ self.mean + h * (cross - drift @ self.mean)


@pytest.mark.parametrize("bias", [None, 0.3])
def test_the_mean_of_the_weights_is_exact(bias):
    mixture, network = problem(24, bias)
    found = found_modes(mixture, network, 0.02)
    slow = Slow(mixture, network, 0.4, 0.02)
    weights = mean_weights(found, 0.4 / 24, np.array([0, 1, 50]))
    outputs = weights @ found.means.T
    for n in range(51):
        if n in (0, 1, 50):
            np.testing.assert_allclose(
                outputs[[0, 1, 50].index(n)], slow.means @ slow.mean, atol=1e-12
            )
        slow.update()


@pytest.mark.parametrize(("bias", "ridge", "batch"), [(None, 0.0, 1), (0.3, 0.05, 1), (0.3, 0, 3)])
def test_the_noise_of_gaussian_features(bias, ridge, batch):
    """What is left out is of order 1/P: at P = 40 and a high rate, 2% of the error."""
    mixture, network = problem(40, bias)
    curve = learning_curve(found_modes(mixture, network, ridge), 0.6 / 40, COUNTS, batch)
    slow = Slow(mixture, network, 0.6, ridge, batch)
    quiet = learning_curve(found_modes(mixture, network, ridge), 0.6 / 40, COUNTS, 10**9)
    for n in range(COUNTS[-1] + 1):
        if n in COUNTS:
            i = COUNTS.tolist().index(n)
            exact = 0.5 * slow.priors @ slow.errors()
            assert curve.pmse[i] == pytest.approx(exact, rel=0.02)
            if n > 30:  # the noise is much more than that
                assert exact > 1.1 * quiet.pmse[i] or batch > 1
        slow.update()


def test_what_is_left_out_vanishes_with_dimensions_and_features():
    gaps = []
    for size in (20, 80):
        mixture, network = problem(size, None, dim=size // 2)
        count = 10 * size
        curve = learning_curve(found_modes(mixture, network, 0.0), 0.6 / size, np.array([0, count]))
        slow = Slow(mixture, network, 0.6, 0.0)
        for _ in range(count):
            slow.update()
        exact = 0.5 * slow.priors @ slow.errors()
        gaps.append(abs(curve.pmse[1] - exact) / exact)
    assert gaps[1] < gaps[0] / 2


def test_the_grid_of_rates_and_long_steps_solve_the_recursion():
    """The covariance of the weights in the modes, update by update."""
    mixture, network = problem(30)
    found, step = found_modes(mixture, network, 0.01), 0.5 / 30
    curve = learning_curve(found, step, COUNTS)
    diagonals = found.moments.diagonal(axis1=1, axis2=2)
    noise = np.einsum("a,ai,aj->ij", found.priors, diagonals, diagonals)
    squares = found.means**2
    noise = 2 * noise - 2 * np.einsum("a,ai,aj->ij", found.priors, squares, squares)
    second = found.priors @ diagonals
    shrink = 1 - step * found.rates
    memory = np.outer(shrink, shrink) + step**2 * (noise - np.outer(second, second))
    covariance = np.zeros_like(memory)
    for n in range(COUNTS[-1] + 1):
        weights = mean_weights(found, step, np.array([n]))[0]
        errors = 1 - 2 * found.labels * (found.means @ weights)
        errors += np.einsum("aij,ij->a", found.moments, np.outer(weights, weights) + covariance)
        if n in COUNTS:
            expected = 0.5 * errors @ found.priors
            assert curve.pmse[COUNTS.tolist().index(n)] == pytest.approx(expected, rel=1e-4)
        driven = np.tensordot(found.priors * errors, found.moments, 1)
        covariance = memory * covariance + step**2 * driven


@pytest.mark.parametrize("bias", [None, 0.0])
def test_a_small_rate_ends_at_the_best_readout(bias):
    mixture, network = problem(40, bias)
    ridge = 0.03
    best = optimal_readout(
        feature_statistics(mixture, network), ridge=ridge, bias=bias is not None, order="exact"
    )
    curve = learning_curve(
        found_modes(mixture, network, ridge), 1e-6 / 40, np.array([0, 10**11, 10**12])
    )
    assert curve.pmse[-1] == pytest.approx(best.pmse, abs=1e-6)
    assert curve.level == pytest.approx(best.pmse, abs=1e-6)
    assert curve.gaussian_error[-1] == pytest.approx(best.gaussian_error, abs=1e-5)
    np.testing.assert_allclose(curve.output_means[-1], best.output_means, atol=1e-6)
    np.testing.assert_allclose(curve.output_variances[-1], best.output_variances, atol=1e-5)


def test_the_level_is_where_the_curve_ends():
    mixture, network = problem(40)
    curve = learning_curve(found_modes(mixture, network, 0.1), 0.7 / 40, np.array([0, 10**6]))
    assert curve.pmse[-1] == pytest.approx(curve.level, rel=1e-4)
    quiet = optimal_readout(feature_statistics(mixture, network), ridge=0.1, order="exact")
    assert curve.level > 1.1 * quiet.pmse


def plain_sgd(mixture, network, rate, decay, counts, replicas, seed):
    """Replicas of the update as the interface has it; ½E[Δ²] from the exact covariances."""
    statistics = feature_statistics(mixture, network)
    covariances = [statistics.covariance(alpha, "exact") for alpha in range(len(statistics.priors))]
    generator = torch.Generator().manual_seed(seed)
    size = network.size
    weights = network.readout.repeat(replicas, 1)
    intercept = torch.full((replicas,), float(network.bias or 0.0), dtype=torch.float64)
    losses = []
    for n in range(counts[-1] + 1):
        if n in counts:
            u, total = weights.numpy() / size**0.5, 0.0
            for p, y, m, c in zip(
                statistics.priors, statistics.labels, statistics.means, covariances, strict=True
            ):
                total = total + p * ((y - u @ m - intercept.numpy()) ** 2 + ((u @ c) * u).sum(1))
            losses.append(0.5 * total)
        batch = mixture.sample(replicas, generator, torch.float64)
        features = network.features(batch.inputs)
        delta = batch.labels - (features * weights).sum(1) / size**0.5 - intercept
        weights = weights * (1 - rate * decay / size) + rate / size**0.5 * delta[:, None] * features
        if network.bias is not None:
            intercept = intercept + rate / size * delta
    return np.array(losses)  # (T, N)


@pytest.mark.parametrize(("activation", "bias"), [("relu", 0.0), ("erf", None)])
def test_plain_sgd_in_standard_errors(activation, bias):
    mixture, network = problem(100, bias, dim=40, activation=activation)
    times = np.array([0, 0.25, 1, 4, 20])
    experiment = gd.Experiment(mixture, network, gd.OnlineSGD(0.3, 0.01))
    theory = experiment.solve("random-features-dynamics", times=times)
    counts = np.round(times * 40).astype(int)
    losses = plain_sgd(mixture, network, 0.3, 0.01, counts.tolist(), 150, seed=3)
    error = losses.std(axis=1, ddof=1) / 150**0.5
    assert theory.pmse[0] == pytest.approx(losses[0, 0], rel=1e-12)
    assert theory.pmse[-1] < 0.8 * theory.pmse[0]
    assert np.all(np.abs(theory.pmse - losses.mean(axis=1))[1:] < 3.5 * error[1:])


@pytest.mark.science
@pytest.mark.parametrize("snr", ["low", "mixed", "high"])
def test_plain_sgd_on_the_xor(snr):
    mixture = gd.data_model("xor", dim=100, variance=0.05, snr=snr)
    network = FixedFeatures(random_projection(100, 200), bias=0.0)
    times = np.array([0, 1, 10, 50])
    theory = gd.Experiment(mixture, network, gd.OnlineSGD(0.5)).solve(
        "random-features-dynamics", times=times
    )
    losses = plain_sgd(mixture, network, 0.5, 0.0, (times * 100).tolist(), 300, seed=3)
    error = losses.std(axis=1, ddof=1) / 300**0.5
    assert np.all(np.abs(theory.pmse - losses.mean(axis=1))[1:] < 4 * error[1:])


def test_what_it_refuses():
    mixture, network = problem(20)
    plain = gd.OnlineSGD(0.1)
    with pytest.raises(IncompatibleError, match="would diagonalise 20 by 20"):
        gd.Experiment(mixture, network, plain).check("random-features-dynamics", max_features=19)
    with pytest.raises(IncompatibleError, match="leave `label_noise` out"):
        gd.Experiment(mixture, network, gd.OnlineSGD(0.1, label_noise=0.1)).check(
            "random-features-dynamics"
        )
    with pytest.raises(IncompatibleError, match="no order parameters"):
        gd.theory("random-features-dynamics").derivative(mixture, network, plain)
    with pytest.raises(ConvergenceError, match="lower it"):
        gd.Experiment(mixture, network, gd.OnlineSGD(1e3)).solve(
            "random-features-dynamics", duration=10
        )
