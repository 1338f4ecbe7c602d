"""The best linear classifier."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.special import ndtr

import gmmdyn as gd
from gmmdyn.gaussian.linear_classifier import best_linear_classifier


def phi(x):
    return 0.5 * math.erfc(-x / math.sqrt(2))


@pytest.mark.parametrize("sigma", [0.1, 0.5, 1.0, 3.0])
def test_two_clusters_have_the_bayes_error(sigma):
    mixture = gd.data_model("ring", dim=30, clusters_per_label=1, variance=sigma**2)
    found = best_linear_classifier(mixture)
    assert found.error == pytest.approx(phi(-1 / sigma), rel=1e-6)
    assert abs(found.direction[0]) == pytest.approx(1, abs=1e-4)
    assert found.threshold == pytest.approx(0, abs=1e-3)


@pytest.mark.parametrize("sigma", [0.02, 0.3, 1.0])
@pytest.mark.parametrize("name", ["xor", "three-clusters"])
def test_it_is_the_best_of_all_lines_in_the_plane_of_the_means(name, sigma):
    mixture = gd.data_model(name, dim=20, variance=sigma**2)
    centres = mixture.means[:, :2].numpy() / math.sqrt(20)
    signs, best = mixture.labels.numpy(), 0.5
    thresholds = np.linspace(-2, 2, 161)[:, None]
    for angle in np.linspace(0, 2 * math.pi, 121):
        along = centres @ [math.cos(angle), math.sin(angle)]
        best = min(best, ndtr(-signs * (along - thresholds) / sigma).mean(1).min())
    found = best_linear_classifier(mixture).error
    assert found <= best + 1e-12
    assert found >= best - 2e-3  # the grid is no finer
    if sigma == 0.02:
        assert found == pytest.approx(0.25, abs=1e-6)


def test_its_error_is_that_of_its_rule_with_any_noise():
    generator = torch.Generator().manual_seed(0)
    means = 3 * torch.randn(4, 8, generator=generator)
    mixture = gd.data_model(
        "random-covariance",
        means=means,
        labels=[-1, 1, -1, 1],
        priors=[0.4, 0.3, 0.2, 0.1],
        per_cluster=True,
    )
    found = best_linear_classifier(mixture)
    batch = mixture.sample(50_000, generator, torch.float64)
    side = batch.inputs.numpy() @ found.direction - found.threshold
    wrong = (batch.labels.numpy() * side <= 0).mean()
    assert abs(wrong - found.error) < 4 * math.sqrt(0.25 / 50_000)
    assert mixture.bayes_error(samples=5000).value < found.error < 0.4
    # No small turn or shift does better.
    rng = np.random.default_rng(1)
    for _ in range(20):
        turned = found.direction + 0.05 * rng.standard_normal(8)
        margin = mixture.means.numpy() @ turned / math.sqrt(8) - found.threshold
        spread = mixture.covariance_product(torch.from_numpy(turned)[None])[:, 0].numpy() @ turned
        errors = [phi(-m) for m in mixture.labels.numpy() * margin / np.sqrt(spread)]
        assert mixture.priors.numpy() @ errors > found.error - 1e-9


def test_one_label_is_always_right_when_there_is_no_other():
    mixture = gd.data_model("xor", dim=10, rho=1.0)
    found = best_linear_classifier(mixture)
    assert found.error == 0
    assert math.isinf(found.threshold)
