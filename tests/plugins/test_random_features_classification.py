"""Classification errors of random features, against direct sampling of the same network."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from fixed_features import FixedFeatures, random_projection

import gmmdyn as gd
from gmmdyn_random_features import feature_statistics, optimal_readout
from gmmdyn_random_features.classification import error_probability, mistakes_at_variance


class Tanh(gd.Activation):
    def forward(self, x):
        return torch.tanh(x)

    def derivative(self, x):
        return 1 - torch.tanh(x) ** 2


class Hat(gd.Activation):
    """Piecewise linear with kinks on both sides of 0."""

    kinks = (-0.7, 0.2)
    slopes = (0.3, -0.5, 2.0)

    def forward(self, x):
        return 0.3 * x - 0.8 * torch.relu(x + 0.7) + 2.5 * torch.relu(x - 0.2)

    def derivative(self, x):
        edges = torch.tensor(self.kinks, dtype=x.dtype)
        return torch.tensor(self.slopes, dtype=x.dtype)[torch.bucketize(x, edges)]


ACTIVATIONS = {
    "relu": gd.activation("relu"),
    "erf": gd.activation("erf"),
    "linear": gd.activation("linear"),
    "hat": Hat(),
    "tanh": Tanh(),
}


def random_mixture(dim, seed, variance):
    """Three or four clusters with overlapping labels, covariances shared or their own."""
    rng = np.random.default_rng(seed)
    clusters = 3 + seed % 2
    means = rng.standard_normal((clusters, dim)) * rng.uniform(0.7, 1.5, (clusters, 1))
    covariances = []
    for _ in range(clusters if seed % 3 == 0 else 1):
        basis, _ = np.linalg.qr(rng.standard_normal((dim, dim)))
        covariances.append((basis * rng.gamma(2.0, variance / 2, dim)) @ basis.T)
    return gd.data_model(
        "random-covariance",
        means=means,
        labels=[-1, 1, 1, -1][:clusters],
        priors=rng.dirichlet(4 * np.ones(clusters)),
        covariance=np.stack(covariances) if len(covariances) > 1 else covariances[0],
    )


def sampled_error(mixture, network, readout, count, seed=1):
    """Error with its standard error, from inputs that are shifted towards the mistakes.

    Along the best linear approximation of the output, by least squares over samples, the noise is
    drawn around where the output is 0, and weighted back.
    """
    generator = torch.Generator().manual_seed(seed)
    dim = mixture.dim
    weights, projection = torch.from_numpy(readout.weights), network.projection.double()
    products = mixture.covariance_product(torch.eye(dim, dtype=torch.float64))
    value, variance = 0.0, 0.0
    for alpha, prior in enumerate(mixture.priors.tolist()):
        root = torch.linalg.cholesky(products[alpha if len(products) > 1 else 0])
        label, mean = float(mixture.labels[alpha]), mixture.means[alpha].double()

        def outputs(noise, root=root, mean=mean, label=label):
            fields = mean @ projection / dim + noise @ (root.T @ projection) / dim**0.5
            return label * (network.activation(fields) @ weights + readout.intercept)

        pilot = torch.randn(4000, dim, generator=generator, dtype=torch.float64)
        found = outputs(pilot)
        slope = pilot.T @ (found - found.mean()) / len(pilot)
        direction = slope / slope.norm()
        shift = -float(found.mean() * (pilot @ direction @ (found - found.mean())) / len(pilot))
        shift /= float(found.var())
        total, squares = 0.0, 0.0
        for _ in range(count // 20_000):
            noise = torch.randn(20_000, dim, generator=generator, dtype=torch.float64)
            along = noise @ direction
            wrong = (outputs(noise + shift * direction) < 0) * torch.exp(
                -shift * (along + shift) + shift**2 / 2
            )
            total += float(wrong.sum()) / count
            squares += float((wrong**2).sum()) / count
        value += prior * total
        variance += prior**2 * (squares - total**2) / count
    return value, variance**0.5


def compare(seed, name, variance, count):
    mixture = random_mixture(100, seed, variance)
    network = FixedFeatures(random_projection(100, 200, seed), ACTIVATIONS[name], bias=0.0)
    found = optimal_readout(feature_statistics(mixture, network))
    return found, *sampled_error(mixture, network, found, count)


@pytest.mark.parametrize(
    ("seed", "name", "variance"), [(3, "relu", 0.4), (2, "erf", 0.1), (2, "tanh", 0.1)]
)
def test_errors_beyond_gaussian_outputs(seed, name, variance):
    found, error, noise = compare(seed, name, variance, 100_000)
    assert abs(found.gaussian_error - error) > 5 * noise
    stated = found.classification_error_se
    assert abs(found.classification_error - error) < 3.5 * noise + stated
    assert abs(found.classification_error - error) < 3.5 * noise + 0.01 * error
    assert stated < 0.04 * error


@pytest.mark.science
@pytest.mark.parametrize("name", ["relu", "erf", "tanh"])
@pytest.mark.parametrize("seed", range(10))
def test_ten_random_mixtures(seed, name):
    found, error, noise = compare(seed, name, (0.12, 0.4)[seed // 5], 200_000)
    assert abs(found.classification_error - error) < 3.5 * noise + found.classification_error_se
    assert abs(found.classification_error - error) < 3.5 * noise + 0.01 * error


def test_linear_features_have_gaussian_outputs():
    mixture = random_mixture(20, 1, 1.0)
    network = FixedFeatures(random_projection(20, 15), "linear", bias=0.0)
    found = optimal_readout(feature_statistics(mixture, network))
    assert found.classification_error == pytest.approx(found.gaussian_error, rel=1e-6)
    assert found.classification_error_se < 1e-12


def test_an_output_of_exactly_0_is_half_an_error():
    margins, variances = np.array([1.0, 0.0, -1.0, 0.0]), np.array([0.0, 0.0, 0.0, 2.0])
    assert error_probability(margins, variances).tolist() == [0.0, 0.5, 1.0, 0.5]
    mixture = gd.data_model("xor", dim=10, variance=0.5)
    statistics = feature_statistics(mixture, FixedFeatures(random_projection(10, 20)))
    silent = mistakes_at_variance(statistics, np.zeros(20), 0.0, np.zeros(4))
    assert silent.probability.tolist() == [0.5] * 4


@pytest.mark.parametrize("theory", ["random-features", "random-features-dynamics"])
def test_theories_state_how_far_the_classification_error_may_be_off(theory):
    mixture = random_mixture(40, 2, 0.1)
    network = FixedFeatures(random_projection(40, 80), "erf", bias=0.0)
    solved = gd.Experiment(mixture, network, gd.OnlineSGD(0.1)).solve(theory, times=[0.0, 20.0])
    stated = solved.standard_error("classification_error")[-1]
    assert 0 < stated < 0.2 * solved.classification_error[-1]


def test_the_learning_curve_ends_at_the_error_of_the_best_readout():
    """Beyond Gaussian outputs too, but for the third cumulant."""
    mixture = random_mixture(40, 2, 0.1)
    network = FixedFeatures(random_projection(40, 80), "erf", bias=0.0)
    statistics = feature_statistics(mixture, network)
    best = optimal_readout(statistics, order="exact")
    found = mistakes_at_variance(statistics, best.weights, best.intercept, best.output_variances)
    error = float(statistics.priors @ found.probability)
    assert error == pytest.approx(best.classification_error, rel=0.01)
    assert abs(error - best.gaussian_error) > 2 * abs(error - best.classification_error)
