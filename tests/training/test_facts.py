"""Facts on how often and how fast the XOR is learnt, from the pages on reproduction.

The numbers were derived and measured elsewhere, not by this package. Many runs from many initial
weights; the chain engine makes them cheap.
"""

from __future__ import annotations

import math

import numpy as np
import pytest

import gmmdyn as gd

pytestmark = pytest.mark.science
DIM = 800


def errors(hidden, count, times, *, variance, decay, scale):
    """Classification errors of runs from different initial weights, shape `(count, T)`."""
    mixture = gd.data_model("xor", dim=DIM, variance=variance)
    runs = []
    for seed in range(count):
        network = gd.network("committee", dim=DIM, hidden=hidden, init_scale=scale, seed=seed)
        experiment = gd.Experiment(mixture, network, gd.OnlineSGD(0.1, decay))
        options = {"seed": seed, "test_size": 20_000, "engine": "chain"}
        runs.append(experiment.simulate(times=times, **options).classification_error[:, 0])
    return np.array(runs)


@pytest.mark.parametrize(("hidden", "count"), [(4, 100), (8, 50)])
def test_small_weights_succeed_if_every_mean_is_picked(hidden, count):
    """Each unit picks one of four means: P = 1 - 4 (3/4)^K + 6 (1/2)^K - 4 (1/4)^K."""
    final = errors(hidden, count, [3000], variance=0.1, decay=0.1, scale=0.01)[:, -1]
    oracle = 0.5 * (1 - math.erf(1 / (2 * math.sqrt(0.1))) ** 2)
    reached = int((final < oracle + 0.05).sum())
    share = 1 - 4 * 0.75**hidden + 6 * 0.5**hidden - 4 * 0.25**hidden
    spread = math.sqrt(count * share * (1 - share))
    assert abs(reached - count * share) < 3 * spread


@pytest.mark.parametrize(("hidden", "median"), [(4, 415), (8, 278), (16, 164)])
def test_more_units_are_faster(hidden, median):
    """The median time of runs to come within 0.01 of the oracle; σ² 0.05, κ 0.01, std 0.1."""
    times = np.arange(20, 1501, 20)
    runs = errors(hidden, 40, times, variance=0.05, decay=0.01, scale=0.1)
    close = runs < 0.00156 + 0.01
    first = times[close[close.any(1)].argmax(1)] - 10.0  # of the runs that come there at all
    rng = np.random.default_rng(0)
    resampled = np.median(rng.choice(first, (500, len(first))), axis=1)
    low, high = np.quantile(resampled, [0.005, 0.995])
    assert low - 20 < median < high + 20
