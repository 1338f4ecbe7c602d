"""Fixed points of two-layer networks as the noise goes to 0: closed forms of the literature."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import gmmdyn as gd

# Units at the means of the XOR, and their shares of the readout of a mean: one unit for each, and
# two units that share a mean unequally, which nothing without noise changes.
ONE_EACH = ([0, 1, 2, 3], [1.0, 1.0, 1.0, 1.0])
SHARED = ([0, 1, 2, 3, 0], [0.8, 1.0, 1.0, 1.0, 0.6])


def at_rest(name, loss, decay, units, shares, **options):
    """Iterate from units of |w| = |v| on the means, whose fields never leave them."""
    mixture = gd.data_model(name, dim=1000, variance=0.0, **options)
    network = gd.network("committee", dim=1000, hidden=len(units))
    algorithm = gd.OnlineSGD(1.0, decay, loss=loss)
    size = 0.7 * torch.tensor(shares, dtype=torch.float64)
    overlaps = mixture.mean_overlaps.double()
    start = gd.OrderParameters(
        Q=overlaps[units][:, units] * size[:, None] * size,
        R=overlaps[:, units] * size,
        v=mixture.labels.double()[units] * size,
    )
    return gd.Experiment(mixture, network, algorithm).solve(
        "state-evolution",
        method="damped",
        tolerance=1e-9,
        infinite_dim=True,
        # Without noise all points are one.
        integrator="auto" if loss == "square" else gd.integrator("sobol", log2_samples=4),
        initial=start,
    )


def by_mean(found, units):
    """Sum v² and |R|² over the units of each mean."""
    owner = np.array(units)
    along = np.abs(found["R"][0]).max(axis=0) ** 2
    readout = found["v"][0] ** 2
    groups = sorted(set(units))
    return [[part[owner == g].sum() for g in groups] for part in (readout, along)]


@pytest.mark.parametrize(("units", "shares"), [ONE_EACH, SHARED])
@pytest.mark.parametrize("decay", [0.05, 0.2])
def test_the_square_loss(decay, units, shares):
    """p Δ = kappa with Δ = 1 - s², s² = Σ v²: s² = 1 - 4 kappa and pmse = Δ²/2 = 8 kappa²."""
    found = at_rest("xor", "square", decay, units, shares)
    np.testing.assert_allclose(by_mean(found, units), 1 - 4 * decay, atol=1e-6)
    np.testing.assert_allclose(found.pmse, 8 * decay**2, atol=1e-6)


@pytest.mark.parametrize(("units", "shares"), [ONE_EACH, SHARED])
@pytest.mark.parametrize("decay", [0.05, 0.1])
def test_the_logistic_loss(decay, units, shares):
    """Ben Arous, Gheissari and Jagannath: Σ v² = -logit(4 alpha) on the XOR; alpha is kappa."""
    found = at_rest("xor", "logistic", decay, units, shares)
    expected = np.log((1 - 4 * decay) / (4 * decay))
    np.testing.assert_allclose(by_mean(found, units), expected, atol=1e-6)


@pytest.mark.parametrize("decay", [0.1])
def test_the_logistic_loss_on_two_clusters(decay):
    """The same with half of the samples at each mean: Σ v² = -logit(2 alpha)."""
    found = at_rest("ring", "logistic", decay, [0, 1], [1.0, 1.0], clusters_per_label=1)
    expected = np.log((1 - 2 * decay) / (2 * decay))
    np.testing.assert_allclose(by_mean(found, [0, 1]), expected, atol=1e-6)


@pytest.mark.parametrize(
    ("name", "loss", "decay"),
    [("xor", "square", 0.3), ("xor", "logistic", 0.2), ("ring", "logistic", 0.4)],
)
def test_too_much_decay_leaves_nothing(name, loss, decay):
    """Well beyond kappa = 1/4 (square), 1/8 (logistic), 1/4 (logistic, two clusters)."""
    options = {"clusters_per_label": 1} if name == "ring" else {}
    units, shares = ONE_EACH if name == "xor" else ([0, 1], [1.0, 1.0])
    found = at_rest(name, loss, decay, units, shares, **options)
    assert np.abs(found["v"]).max() < 1e-6
