"""Sixty random problems to t = 1000 and to their fixed points.

Isotropic mixtures of two to six random clusters with random priors; K from 2 to 12 (to 6 for tanh,
whose integrals are sampled), weight decay from 1e-4 to 0.1, variance from 0.02 to 1, initial
weights from 0.01 to 1, all but the numbers of clusters and units on logarithmic scales.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch

import gmmdyn as gd

ACTIVATIONS = ("relu", "leaky-relu", "erf", "tanh")


def problem(seed):
    rng = np.random.default_rng(seed)
    activation = ACTIVATIONS[seed % 4]
    hidden = int(rng.integers(2, 7 if activation == "tanh" else 13))
    clusters, dim = int(rng.integers(2, 7)), 1000
    decay = 10 ** rng.uniform(-4, -1)
    variance = 10 ** rng.uniform(np.log10(0.02), 0)
    scale = 10 ** rng.uniform(-2, 0)
    means = torch.from_numpy(rng.standard_normal((clusters, dim)))
    labels = np.where(rng.permutation(clusters) % 2 == 0, 1.0, -1.0)
    priors = rng.dirichlet(np.full(clusters, 5.0))
    mixture = gd.data_model(
        "isotropic", means=means, labels=labels, priors=priors, variance=variance
    )
    network = gd.network(
        "committee",
        dim=dim,
        hidden=hidden,
        activation=activation,
        init_scale=scale,
        seed=seed,
        dtype="float64",
    )
    return gd.Experiment(mixture, network, gd.OnlineSGD(0.1, decay))


def possible(trajectory, mixture):
    """Q outside of the means has no negative eigenvalue but for the solver's tolerance."""
    state = trajectory.order_parameters(-1)
    back = torch.linalg.pinv(mixture.mean_overlaps.double(), hermitian=True)
    across = state.Q - state.R.T @ back @ state.R
    return float(torch.linalg.eigvalsh(across).min()) > -1e-5 * float(state.Q.diagonal().max())


@pytest.mark.science
@pytest.mark.parametrize("seed", range(60))
def test_a_random_problem_is_solved_to_a_long_time(seed):
    experiment = problem(seed)
    found = experiment.solve(times=[0, 1000])
    assert found.pmse[-1] < found.pmse[0]
    assert possible(found, experiment.data_model)
    bayes = found.bayes_error
    slack = 4 * (found.errors["classification_error"][-1] + bayes.standard_error)
    assert found.classification_error[-1] > bayes.value - slack


@pytest.mark.science
@pytest.mark.parametrize("seed", range(60))
def test_a_random_problem_has_a_fixed_point(seed):
    experiment = problem(seed)
    found = experiment.solve("state-evolution")
    about = found.metadata
    assert about["solver"]["residual"] <= 1e-12
    assert about["stability"] in ("stable", "marginal")
    assert possible(found, experiment.data_model)
    # The readout's own equation, dv_k/dt = 0, by the theory `ode`.
    parts = (experiment.data_model, experiment.network, experiment.algorithm)
    rates = gd.theory("ode").derivative(*parts, found.order_parameters(0))
    assert float(rates.v.abs().max()) < 1e-5
