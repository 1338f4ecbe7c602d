"""Random features in many dimensions: the facts of the reproduction page."""

from __future__ import annotations

import math

import numpy as np
import pytest
from fixed_features import FixedFeatures, random_projection
from scipy.integrate import quad
from scipy.stats import norm

import gmmdyn as gd
from gmmdyn.errors import IncompatibleError, RangeError
from gmmdyn_random_features import (
    feature_statistics,
    limit_constant,
    limit_errors,
    marchenko_pastur_resolvent,
    optimal_readout,
)

# ReLU with unit noise: a1 = 1/2, a2² = 1/(4 pi), r = 1/4 - 1/(2 pi).
REST = 0.25 - 1 / (2 * math.pi)


class Squared(gd.Activation):
    """A smooth nonlinearity with a1 and a2, whose k depends on the noise."""

    def forward(self, x):
        return x + x**2

    def derivative(self, x):
        return 1 + 2 * x


@pytest.mark.parametrize("ratio", [0.3, 1.0, 2.0, 20.0])
def test_the_resolvent_is_the_integral_over_the_density(ratio):
    low, high = (1 - math.sqrt(ratio)) ** 2, (1 + math.sqrt(ratio)) ** 2
    middle, half = (low + high) / 2, (high - low) / 2

    def integrand(angle, shift):  # l = middle + half cos: smooth at both edges
        value = middle + half * math.cos(angle)
        weight = (half * math.sin(angle)) ** 2 / (2 * math.pi * ratio * value)
        return weight / (value + shift)

    for shift in (0.02, 0.36, 5.0):
        inside = quad(integrand, 0, math.pi, args=(shift,), limit=500)[0]
        expected = inside + max(0.0, 1 - 1 / ratio) / shift
        assert marchenko_pastur_resolvent(ratio, shift) == pytest.approx(expected, rel=1e-7)


def test_the_resolvent_is_the_mean_over_eigenvalues():
    for dim, size in ((400, 800), (400, 200)):
        projection = random_projection(dim, size).numpy()
        values = np.linalg.eigvalsh(projection.T @ projection / dim)
        found = marchenko_pastur_resolvent(size / dim, 0.36)
        assert found == pytest.approx((1 / (values + 0.36)).mean(), rel=0.01)


def test_the_constant_of_the_reproduction_page():
    assert limit_constant(2.0) == pytest.approx(1.076, abs=5e-4)
    assert limit_constant(2.0, sigma=0.1) == pytest.approx(limit_constant(2.0))
    assert limit_constant(math.inf) == pytest.approx(2 / (math.pi - 2))
    assert limit_constant(1e5) == pytest.approx(2 / (math.pi - 2), rel=1e-4)
    for odd in ("erf", "linear"):
        assert limit_constant(2.0, odd) == 0.0


def test_a_ridge_adds_to_the_residual():
    found = limit_constant(math.inf, ridge=0.1)
    assert found == pytest.approx(2 / (4 * math.pi) / (REST + 0.1))


def test_the_errors_of_the_xor():
    for dim, ratio, variance in ((10**4, 2.0, 0.05), (10**5, 8.0, 0.01)):
        found = limit_errors(gd.data_model("xor", dim=dim, variance=variance), ratio)
        share = ratio * limit_constant(ratio) / (dim * variance**2)
        assert found.pmse == pytest.approx(0.5 / (1 + share / 4))
        assert found.classification_error == pytest.approx(norm.cdf(-0.5 * math.sqrt(share)))


@pytest.mark.parametrize("activation", ["relu", "squared"])
def test_curves_of_every_ratio_coincide_in_the_exact_variable(activation):
    """x = σ(D/(γ k))^{1/4} alone decides; at one σD^{1/4}/γ^{1/4} the errors differ for ever."""
    activation = Squared() if activation == "squared" else activation
    errors, old = [], []
    for dim, ratio in ((10**3, 2.0), (16_000, 2.0), (300, 5.0), (10**6, 8.0), (10**5, 0.4)):
        sigma = 1.0
        for _ in range(200):  # k depends on σ, but for ReLU
            k = limit_constant(ratio, activation, sigma)
            sigma = 0.5 * (sigma + 1.2 * (ratio * k / dim) ** 0.25)
        mixture = gd.data_model("xor", dim=dim, variance=sigma**2)
        errors.append(limit_errors(mixture, ratio, activation).classification_error)
        mixture = gd.data_model("xor", dim=dim, variance=1.44 * (ratio / dim) ** 0.5)
        old.append(limit_errors(mixture, ratio, activation).classification_error)
    np.testing.assert_allclose(errors, norm.cdf(-0.5 / 1.2**2), rtol=1e-10)
    assert max(old) - min(old) > 0.05


def test_ratios_two_and_eight_are_13_percent_apart_in_the_approximate_variable():
    """k(8)/k(2): by as much as their common D^{1/4} variable to the fourth power is off."""
    errors = []
    for ratio in (2.0, 8.0):
        mixture = gd.data_model("xor", dim=10**6, variance=0.9**2 * (ratio / 10**6) ** 0.5)
        errors.append(limit_errors(mixture, ratio).classification_error)
    assert errors[0] / errors[1] == pytest.approx(1.13, abs=0.06)


def test_odd_activations_stay_at_chance():
    mixture = gd.data_model("xor", dim=100, variance=0.05)
    for odd in ("erf", "linear"):
        found = limit_errors(mixture, 2.0, odd)
        assert found.classification_error == 0.5
        assert found.pmse == 0.5


def test_linear_features_see_the_inputs():
    """Two clusters at ±1: the error of the best linear classifier, Φ(-1/σ), once P ≥ D."""
    mixture = gd.data_model("ring", dim=50, clusters_per_label=1, variance=0.5)
    found = limit_errors(mixture, 3.0, "linear")
    assert found.classification_error == pytest.approx(norm.cdf(-1 / math.sqrt(0.5)))
    assert found.pmse == pytest.approx(0.5 / (1 + 1 / 0.5))


@pytest.mark.parametrize("activation", ["relu", "erf"])
def test_two_clusters_at_finite_size_are_near_the_limit(activation):
    mixture = gd.data_model("ring", dim=300, clusters_per_label=1, variance=0.5, rho=0.3)
    network = FixedFeatures(random_projection(300, 450), activation, bias=0.0)
    exact = optimal_readout(feature_statistics(mixture, network))
    limit = limit_errors(mixture, 1.5, activation)
    assert limit.pmse == pytest.approx(exact.pmse, abs=3e-3)
    assert limit.classification_error == pytest.approx(exact.classification_error, abs=3e-3)


@pytest.mark.science
def test_the_xor_approaches_the_limit():
    """At σ² = 0.05, γ = 2: the gap closes with D, and the errors are those of the page."""
    gaps, errors = [], []
    for dim in (200, 400, 800, 1600):
        mixture = gd.data_model("xor", dim=dim, variance=0.05)
        statistics = feature_statistics(
            mixture, FixedFeatures(random_projection(dim, 2 * dim, seed=dim), bias=0.0)
        )
        errors.append(optimal_readout(statistics).classification_error)
        gaps.append(abs(errors[-1] - limit_errors(mixture, 2.0).classification_error))
    assert gaps[0] > gaps[1] > gaps[2] > gaps[3]
    assert gaps[3] < 0.01
    # Read off one projection each there: 0.18, 0.25, 0.31.
    np.testing.assert_allclose(errors[:3], [0.18, 0.25, 0.31], atol=0.02)


@pytest.mark.parametrize(("snr", "pmse", "error"), [("mixed", 0.0285, 2e-5), ("high", 0.0, 0.0)])
def test_mixed_and_high_snr(snr, pmse, error):
    mixture = gd.data_model("xor", dim=300, variance=0.05, snr=snr)
    statistics = feature_statistics(mixture, FixedFeatures(random_projection(300, 600)))
    found = optimal_readout(statistics)
    assert abs(found.pmse - pmse) < 1.5e-3
    assert abs(found.classification_error - error) < 1.5e-5


def test_what_the_limit_refuses():
    general = gd.data_model("random-covariance", means=np.eye(2, 8), labels=[-1, 1])
    with pytest.raises(IncompatibleError, match="isotropic noise"):
        limit_errors(general, 2.0)
    with pytest.raises(RangeError, match="`ratio`"):
        limit_errors(gd.data_model("xor", dim=10), 0.0)
