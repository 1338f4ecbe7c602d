"""Best readout of random features: the 2021 code's numbers, sampling, and Woodbury's form."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from fixed_features import FixedFeatures, random_projection

import gmmdyn as gd
from gmmdyn.errors import IncompatibleError, RangeError, ShapeError
from gmmdyn_random_features import feature_statistics, first_order_gap, optimal_readout


class Hat(gd.Activation):
    """Piecewise linear with kinks on both sides of 0."""

    kinks = (-0.7, 0.2, 1.1)
    slopes = (0.3, -0.5, 2.0, 0.1)

    def forward(self, x):
        value = -0.5 * x
        value = value + 0.8 * torch.minimum(x + 0.7, torch.zeros_like(x))
        value = value + 2.5 * torch.relu(x - 0.2)
        return value - 1.9 * torch.relu(x - 1.1)

    def derivative(self, x):
        edges = torch.tensor(self.kinks, dtype=x.dtype)
        return torch.tensor(self.slopes, dtype=x.dtype)[torch.bucketize(x, edges)]


class Tanh(gd.Activation):
    """Neither piecewise linear nor the error function."""

    def forward(self, x):
        return torch.tanh(x)

    def derivative(self, x):
        return 1 - torch.tanh(x) ** 2


ACTIVATIONS = {
    "relu": gd.activation("relu"),
    "erf": gd.activation("erf"),
    "linear": gd.activation("linear"),
    "hat": Hat(),
    "tanh": Tanh(),
}


@pytest.fixture(params=list(ACTIVATIONS))
def activation_name(request):
    return request.param


@pytest.mark.parametrize("every", [10, pytest.param(1, marks=pytest.mark.science)])
def test_numbers_of_the_2021_code(reference, every):
    arrays = reference("rf_D100_N200.npz")
    columns = arrays["cols"].tolist()
    for row in arrays["table"][::every]:
        values = dict(zip(columns, row, strict=True))
        case = arrays["cases"][int(values["case"])]
        means = arrays[f"mus_{case}"].reshape(4, 100)
        mixture = gd.data_model(
            "isotropic", means=means, labels=[-1, -1, 1, 1], variance=values["sigma"] ** 2
        )
        projection = arrays[f"P_seed{int(values['seed'])}"]
        network = FixedFeatures(projection, bias=0.0)
        found = gd.theory("random-features").readout(mixture, network, ridge=0.0)
        assert abs(found.pmse - values["mse_f64_nojitter"]) < 1e-6
        assert abs(found.gaussian_error - values["cls_f64_nojitter"]) < 1e-6


def test_feature_means_and_covariances_of_the_2021_code(reference):
    arrays = reference("rf_D100_N200.npz")
    network = FixedFeatures(arrays["P_seed0"])
    for sigma in ("0.01", "1"):
        means = arrays["mus_XOR_r1"].reshape(4, 100)
        mixture = gd.data_model(
            "isotropic", means=means, labels=[-1, -1, 1, 1], variance=float(sigma) ** 2
        )
        found = feature_statistics(mixture, network)
        np.testing.assert_allclose(found.means, arrays[f"mu_XOR_r1_s{sigma}"], atol=1e-6)
        total = sum(found.covariance(alpha) for alpha in range(4)) / 4
        centred = found.means - found.means.mean(axis=0)
        total += centred.T @ centred / 4
        # That code adds 1e-6 to every entry.
        np.testing.assert_allclose(total, arrays[f"cov_XOR_r1_s{sigma}"], atol=2e-6, rtol=1e-6)


def mixtures():
    generator = torch.Generator().manual_seed(3)
    dim, labels, priors = 12, [-1, 1, 1], [0.5, 0.2, 0.3]
    means = torch.randn(3, dim, generator=generator, dtype=torch.float64) * 4
    factor = torch.randn(3, dim, dim, generator=generator, dtype=torch.float64) / 4
    each = factor @ factor.mT
    common = {"means": means, "labels": labels, "priors": priors}
    return {
        "isotropic": gd.data_model("isotropic", **common, variance=0.4),
        "shared": gd.data_model("random-covariance", **common, covariance=each[0]),
        "general": gd.data_model("random-covariance", **common, covariance=each),
    }


@pytest.mark.parametrize("structure", ["isotropic", "shared", "general"])
@pytest.mark.parametrize("bias", [True, False])
def test_woodbury_equals_dense(structure, bias):
    mixture = mixtures()[structure]
    statistics = feature_statistics(mixture, FixedFeatures(random_projection(12, 60)))
    for ridge in (0.0, 0.03):
        one = optimal_readout(statistics, ridge=ridge, bias=bias, method="woodbury")
        two = optimal_readout(statistics, ridge=ridge, bias=bias, method="dense")
        np.testing.assert_allclose(one.weights, two.weights, atol=1e-8)
        assert one.intercept == pytest.approx(two.intercept, abs=1e-9)
        assert one.pmse == pytest.approx(two.pmse, abs=1e-11)
        assert one.classification_error == pytest.approx(two.classification_error, abs=1e-10)


@pytest.mark.parametrize("bias", [True, False])
def test_the_readout_is_the_minimum(bias):
    """No other readout has a lower ½E[Δ²] + ½κ|u|², written out from its definition."""
    statistics = feature_statistics(mixtures()["general"], FixedFeatures(random_projection(12, 30)))
    ridge = 0.05
    best = optimal_readout(statistics, ridge=ridge, bias=bias)

    def objective(weights, intercept):
        total = ridge * weights @ weights
        for alpha, prior in enumerate(statistics.priors):
            mean = statistics.means[alpha] @ weights + intercept
            variance = weights @ statistics.covariance(alpha) @ weights
            total += prior * ((statistics.labels[alpha] - mean) ** 2 + variance)
        return total

    least = objective(best.weights, best.intercept)
    assert least == pytest.approx(2 * best.pmse + ridge * best.weights @ best.weights)
    rng = np.random.default_rng(0)
    for _ in range(20):
        step = 1e-3 * rng.standard_normal(30)
        assert objective(best.weights + step, best.intercept) > least
        if bias:
            assert objective(best.weights, best.intercept + 1e-3 * rng.standard_normal()) > least


def test_a_linear_network_is_linear_regression():
    """P > D linear features see x itself: pmse = ½(1 - ȳ² - cᵀ Cov(x)⁻¹ c)."""
    mixture = mixtures()["shared"]
    network = FixedFeatures(random_projection(12, 40), "linear", bias=0.0)
    found = optimal_readout(feature_statistics(mixture, network))
    p, y = mixture.priors.numpy(), mixture.labels.numpy()
    centres = mixture.means.numpy() / np.sqrt(12)
    centred = centres - p @ centres
    total = mixture.covariance_product(torch.eye(12, dtype=torch.float64))[0].numpy()
    total = total + (p[:, None] * centred).T @ centred
    cross = (p * y) @ centred
    expected = 0.5 * (1 - (p @ y) ** 2 - cross @ np.linalg.solve(total, cross))
    assert found.pmse == pytest.approx(expected, abs=1e-9)


def sampled_errors(mixture, network, readout, count, seed):
    """Means and standard errors of ½Δ² and of mistakes over fresh points."""
    generator = torch.Generator().manual_seed(seed)
    squares, wrong = [], []
    for _ in range(max(1, count // 50_000)):
        batch = mixture.sample(min(count, 50_000), generator, torch.float64)
        outputs = network.features(batch.inputs) @ torch.from_numpy(readout.weights)
        outputs = outputs + readout.intercept
        squares.append(0.5 * (batch.labels - outputs) ** 2)
        wrong.append((batch.labels * outputs < 0).double())
    both = torch.stack([torch.cat(squares), torch.cat(wrong)])
    return both.mean(dim=1), both.std(dim=1) / both.shape[1] ** 0.5


@pytest.mark.parametrize("structure", ["isotropic", "general"])
def test_pmse_over_sampled_points(activation_name, structure):
    """Exact covariances at D = 12, where first order is visibly off."""
    mixture = mixtures()[structure]
    network = FixedFeatures(random_projection(12, 30), ACTIVATIONS[activation_name], bias=0.0)
    found = optimal_readout(feature_statistics(mixture, network), order="exact", ridge=1e-3)
    mean, error = sampled_errors(mixture, network, found, 50_000, seed=1)
    assert abs(found.pmse - mean[0]) < 4 * error[0]


def test_weight_decay_bias_and_centre_are_those_of_the_experiment():
    mixture = mixtures()["isotropic"]
    projection = random_projection(12, 30)
    for bias in (None, 0.0):
        centre = torch.full((30,), 0.2, dtype=torch.float64)
        network = FixedFeatures(projection, "erf", bias=bias, centre=centre)
        experiment = gd.Experiment(mixture, network, gd.OnlineSGD(0.1, 0.07))
        found = experiment.solve("random-features", order="exact")
        statistics = feature_statistics(mixture, network)
        best = optimal_readout(statistics, ridge=0.07, bias=bias is not None, order="exact")
        assert found.pmse[0] == best.pmse
        assert found.metadata["output_means"] == best.output_means.tolist()
        raw = feature_statistics(mixture, FixedFeatures(projection, "erf"))
        np.testing.assert_allclose(statistics.means, raw.means - 0.2)


def gap_of(dim, activation="relu"):
    mixture = gd.data_model("xor", dim=dim, variance=0.05)
    network = FixedFeatures(random_projection(dim, 2 * dim), activation)
    return first_order_gap(feature_statistics(mixture, network), ridge=1e-4)


def test_first_order_is_off_by_one_over_the_dimension():
    small, large = gap_of(25), gap_of(200)
    # Eight times the dimensions: ρ² is an eighth, up to the logarithm of the number of pairs.
    assert 0.1 < large.largest / small.largest < 0.5
    assert large.relative < 0.8 * small.relative
    assert abs(large.pmse) < abs(small.pmse)
    assert small.pmse != 0


def test_first_order_is_exact_for_linear_features():
    gap = gap_of(25, "linear")
    assert gap.largest < 1e-14
    assert abs(gap.pmse) < 1e-12


@pytest.mark.science
@pytest.mark.parametrize("activation", ["relu", "erf"])
def test_regression_on_a_million_sampled_features(activation):
    """Least squares on 10⁶ points finds the errors of the theory with exact covariances."""
    means = torch.zeros(3, 60, dtype=torch.float64)
    means[0, 0], means[1, 0], means[2, 1] = 60**0.5, -(60**0.5), 1.5 * 60**0.5
    mixture = gd.data_model(
        "isotropic", means=means, labels=[-1, 1, 1], priors=[0.5, 0.2, 0.3], variance=0.3
    )
    network = FixedFeatures(random_projection(60, 90), activation, bias=0.0)
    theory = optimal_readout(feature_statistics(mixture, network), order="exact")
    generator = torch.Generator().manual_seed(0)
    gram, cross = 0.0, 0.0
    for _ in range(20):
        batch = mixture.sample(50_000, generator, torch.float64)
        ones = torch.ones(50_000, 1, dtype=torch.float64)
        features = torch.cat([network.features(batch.inputs), ones], dim=1)
        gram = gram + features.T @ features
        cross = cross + features.T @ batch.labels
    solution = torch.linalg.solve(gram, cross).numpy()
    regression = theory._replace(weights=solution[:-1], intercept=float(solution[-1]))
    for readout in (theory, regression):  # both tested on the same fresh points
        mean, error = sampled_errors(mixture, network, readout, 1_000_000, seed=1)
        # 91 fitted numbers raise the regression's pmse by the share 91/10⁶.
        assert abs(theory.pmse - mean[0]) < 3.5 * error[0] + 1e-4 * theory.pmse
        # The Gaussian form of the output is off by 2e-3 for ReLU with so few features.
        assert abs(theory.classification_error - mean[1]) < 3.5 * error[1] + 3e-3


def test_no_noise_and_dead_features():
    """Variance 0 and features that are never on: the matrix is singular, the answer is not."""
    mixture = gd.data_model("xor", dim=10, variance=0.0)
    projection = random_projection(10, 40)
    projection[:2, :5] = 0.0
    found = optimal_readout(feature_statistics(mixture, FixedFeatures(projection)))
    assert found.pmse < 1e-9
    assert found.classification_error == 0


def test_what_it_refuses():
    mixture = gd.data_model("xor", dim=10)
    features = FixedFeatures(random_projection(10, 20))
    committee = gd.network("committee", dim=10, hidden=2)
    plain = gd.OnlineSGD(0.1)
    with pytest.raises(IncompatibleError, match="fixed features and not a Committee"):
        gd.Experiment(mixture, committee, plain).solve("random-features")
    with pytest.raises(IncompatibleError, match="leave `loss` out"):
        gd.Experiment(mixture, features, gd.OnlineSGD(0.1, loss="logistic")).solve(
            "random-features"
        )
    with pytest.raises(IncompatibleError, match="no order parameters"):
        gd.theory("random-features").derivative(mixture, features, plain)
    with pytest.raises(RangeError, match="`order` is 'second'"):
        gd.theory("random-features", order="second")
    statistics = feature_statistics(mixture, features)
    with pytest.raises(RangeError, match="`ridge`"):
        optimal_readout(statistics, ridge=-1.0)
    with pytest.raises(RangeError, match="needs `order='first'`"):
        optimal_readout(statistics, order="exact", method="woodbury")
    with pytest.raises(ShapeError, match="input dimension 10"):
        feature_statistics(gd.data_model("xor", dim=11), features)


def test_statistics_are_a_value():
    statistics = feature_statistics(mixtures()["general"], FixedFeatures(random_projection(12, 5)))
    with pytest.raises(dataclasses.FrozenInstanceError):
        statistics.means = None
