import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import integrate, stats

import gmmdyn as gd
from gmmdyn.errors import RangeError
from gmmdyn_mixtures.isotropic import Isotropic
from gmmdyn_mixtures.random_covariance import RandomCovariance


def isotropic(centres, labels, priors=None, variance=1.0):
    """Build a mixture from the centres of its inputs, without the factor √D of the means."""
    means = np.asarray(centres, dtype=float)
    return Isotropic(math.sqrt(means.shape[1]) * means, labels, priors, variance)


def dense(centres, labels, priors=None, **noise):
    means = np.asarray(centres, dtype=float)
    return RandomCovariance(
        means=math.sqrt(means.shape[1]) * means, labels=labels, priors=priors, **noise
    )


def assert_exact(estimate, value, rel=1e-9):
    assert estimate.standard_error == 0
    assert estimate.value == pytest.approx(value, rel=rel, abs=1e-300)


def assert_within_sigmas(estimate, value, n=4):
    assert estimate.standard_error > 0
    assert abs(estimate.value - value) < n * estimate.standard_error


def orthogonal(dim, seed=0):
    return stats.ortho_group.rvs(dim, random_state=seed)


def smaller_joint(grid, positions, labels, priors):
    """min over labels of p(y, t) for unit noise on a line, by direct sums."""
    joint = {-1: 0.0, 1: 0.0}
    for m, y, p in zip(positions, labels, priors, strict=True):
        joint[y] = joint[y] + p * stats.norm.pdf(grid, loc=m)
    return np.minimum(joint[-1], joint[1])


@pytest.mark.parametrize("variance", [0.05, 0.1, 1.0])
def test_xor_at_unit_distance_has_the_published_error(variance):
    rows = orthogonal(6)
    xor = isotropic([rows[0], -rows[0], rows[1], -rows[1]], [-1, -1, 1, 1], variance=variance)
    assert_exact(xor.bayes_error(), (1 - math.erf(1 / (2 * math.sqrt(variance))) ** 2) / 2)


def test_xor_away_from_the_origin_has_the_same_error():
    rows = orthogonal(6)
    corners = np.array([rows[0], -rows[0], rows[1], -rows[1]]) + 3 * rows[2]
    xor = isotropic(corners, [1, 1, -1, -1], variance=0.1)
    assert_exact(xor.bayes_error(), 0.5 * (1 - math.erf(1 / (2 * math.sqrt(0.1))) ** 2))


@pytest.mark.parametrize("prior", [0.5, 0.2, 0.999])
def test_two_clusters_have_the_error_of_the_linear_discriminant(prior):
    distance = 1.7
    rows = orthogonal(5)
    pair = isotropic(
        [rows[3], rows[3] + distance * 0.3 * rows[1]], [1, -1], [prior, 1 - prior], 0.09
    )
    log_odds = math.log(prior / (1 - prior)) / distance
    expected = prior * stats.norm.cdf(-distance / 2 - log_odds) + (1 - prior) * stats.norm.cdf(
        -distance / 2 + log_odds
    )
    assert_exact(pair.bayes_error(), expected)


def test_two_far_clusters_keep_the_digits_of_a_tiny_error():
    pair = isotropic([[20.0, 0.0], [-20.0, 0.0]], [1, -1])
    assert_exact(pair.bayes_error(), stats.norm.cdf(-20))


@pytest.mark.parametrize(
    ("positions", "labels", "priors"),
    [
        ([0, 2, -2], [-1, 1, 1], [0.5, 0.25, 0.25]),
        ([-3.1, 0.9, 1.6, 2.8, -0.6], [-1, 1, -1, 1, 1], [0.1, 0.3, 0.25, 0.15, 0.2]),
        ([-8, -6, -4, -2, 0, 2, 4, 6, 8], [1, -1] * 4 + [1], [1 / 9] * 9),
        ([0, 0.5, 1.0, 1.5], [1, -1, 1, -1], [0.25] * 4),
        ([0, 0, 3], [1, -1, -1], [0.3, 0.2, 0.5]),
    ],
)
def test_collinear_clusters_agree_with_the_integral_along_the_line(positions, labels, priors):
    direction = orthogonal(4)[0]
    line = isotropic(0.2 * np.outer(positions, direction) + 1, labels, priors, 0.04)
    grid = np.linspace(-18, 18, 400_001)
    expected = integrate.trapezoid(smaller_joint(grid, positions, labels, priors), grid)
    assert_exact(line.bayes_error(), expected, rel=1e-7)


def test_collinear_clusters_that_never_change_the_decision():
    # One cluster outweighs the other everywhere it matters: the boundary lies 46 deviations out.
    pair = isotropic([[0.0, 0.0], [0.1, 0.0]], [1, -1], [0.99, 0.01])
    assert_exact(pair.bayes_error(), 0.01)


def test_coincident_clusters_of_one_label_count_as_one():
    one = isotropic([[1.0, 0, 0], [0, 1, 0]], [-1, 1], [0.4, 0.6])
    two = isotropic([[1.0, 0, 0], [0, 1, 0], [0, 1, 0]], [-1, 1, 1], [0.4, 0.1, 0.5])
    assert_exact(two.bayes_error(), one.bayes_error().value, rel=1e-14)


def test_all_means_equal_leaves_the_smaller_prior():
    same = isotropic([[1.0, 2.0]] * 3, [-1, 1, -1], [0.2, 0.7, 0.1])
    assert_exact(same.bayes_error(), 0.3)


def test_one_label_alone_is_never_mistaken():
    assert_exact(isotropic([[1.0, 2.0], [0, 1], [5, 5]], [1, 1, 1]).bayes_error(50), 0.0)


def test_a_cluster_of_no_weight_changes_nothing():
    pair = isotropic([[1.0, 0, 0], [0, 0, 0]], [-1, 1])
    third = isotropic([[1.0, 0, 0], [0, 0, 0], [0, 9, 3]], [-1, 1, -1], [0.5, 0.5, 0])
    assert_exact(third.bayes_error(), pair.bayes_error().value, rel=1e-14)


def triangle():
    centres = np.array([[0.0, 0.0], [1.5, 0.0], [0.3, 1.2]])
    labels, priors = [-1, 1, -1], [0.3, 0.45, 0.25]
    grid = np.linspace(-8, 9, 1201)
    x, y = np.meshgrid(grid, grid, indexing="ij")
    density = [
        p * stats.norm.pdf(x - a) * stats.norm.pdf(y - b)
        for (a, b), p in zip(centres, priors, strict=True)
    ]
    error = np.minimum(density[0] + density[2], density[1]).sum() * (grid[1] - grid[0]) ** 2
    embedded = 0.7 * centres @ orthogonal(5)[:2]
    return isotropic(embedded, labels, priors, 0.49), error


def test_three_clusters_in_a_plane_agree_with_the_integral_over_the_plane():
    mixture, expected = triangle()
    estimate = mixture.bayes_error(200_000)
    assert_within_sigmas(estimate, expected)
    assert estimate.standard_error < 5e-4


def test_the_standard_error_is_the_spread_over_seeds():
    mixture, expected = triangle()
    estimates = [mixture.bayes_error(2_000, seed) for seed in range(100)]
    scores = [(e.value - expected) / e.standard_error for e in estimates]
    # 100 standard normals: mean within 4/√100 of 0, variance within 4·√(2/100) of 1.
    assert abs(np.mean(scores)) < 0.4
    assert abs(np.var(scores) - 1) < 0.57


def test_the_same_seed_gives_the_same_estimate():
    mixture, _ = triangle()
    assert mixture.bayes_error(500, 3) == mixture.bayes_error(500, 3)
    assert mixture.bayes_error(500, 3) != mixture.bayes_error(500, 4)


def test_a_million_dimensions_never_build_a_matrix():
    means = torch.zeros(4, 10**6, dtype=torch.float64)
    means[:, :2] = 1000.0 * torch.tensor([[1, 0], [-1, 0], [0, 1], [0, -1]])
    error = Isotropic(means, [-1, -1, 1, 1], variance=0.1).bayes_error()
    assert_exact(error, 0.5 * (1 - math.erf(1 / (2 * math.sqrt(0.1))) ** 2))


@pytest.mark.parametrize("shared", [True, False])
def test_no_noise_at_all_is_never_mistaken_unless_clusters_coincide(shared):
    centres, priors = [[0.0, 0], [0, 0], [1, 1]], [0.3, 0.1, 0.6]
    covariance = np.zeros((2, 2)) if shared else np.zeros((3, 2, 2))
    for mixture in (
        isotropic(centres, [-1, 1, 1], priors, 0.0),
        dense(centres, [-1, 1, 1], priors, covariance=covariance),
    ):
        assert_exact(mixture.bayes_error(), 0.1)


def test_one_covariance_has_the_error_of_the_mahalanobis_distance():
    rng = np.random.default_rng(0)
    factor, apart = rng.normal(size=(7, 7)), rng.normal(size=7)
    omega = factor @ factor.T
    distance = math.sqrt(apart @ np.linalg.solve(omega, apart))
    pair = dense([apart, 0 * apart], [1, -1], covariance=omega)
    assert_exact(pair.bayes_error(), stats.norm.cdf(-distance / 2), rel=1e-7)


def test_clusters_apart_along_a_direction_without_noise_are_told_apart():
    rotation = orthogonal(3)
    omega = rotation @ np.diag([1.0, 4.0, 0.0]) @ rotation.T
    centres = np.array([[0, 0, 0], [2, 0, 0], [0, 0, 1.0], [0, 2, 1.0]]) @ rotation.T
    mixture = dense(centres, [-1, 1, 1, -1], [0.2, 0.2, 0.3, 0.3], covariance=omega)
    # Within each pair the distances are 2 and 1 deviations.
    expected = 0.4 * stats.norm.cdf(-1) + 0.6 * stats.norm.cdf(-0.5)
    assert_exact(mixture.bayes_error(), expected)


def test_singular_covariance_with_means_in_its_range_is_no_separation():
    rng = np.random.default_rng(1)
    factor = rng.normal(size=(30, 4))
    shift = rng.normal(size=4)
    pair = dense([factor @ shift, np.zeros(30)], [1, -1], factor=factor)
    assert_exact(pair.bayes_error(), stats.norm.cdf(-np.linalg.norm(shift) / 2), rel=1e-7)


def test_clusters_of_two_sizes_have_the_error_of_the_chi_square():
    dim, small, large = 5, 1.0, 3.0
    mixture = dense(
        np.zeros((2, dim)), [-1, 1], covariance=[small * np.eye(dim), large * np.eye(dim)]
    )
    edge = dim * math.log(large / small) / (1 / small - 1 / large)
    expected = (stats.chi2.cdf(edge / large, dim) + stats.chi2.sf(edge / small, dim)) / 2
    assert_within_sigmas(mixture.bayes_error(100_000), expected)


def test_equal_covariances_given_one_by_one_agree_with_the_shared_one():
    rng = np.random.default_rng(2)
    factor, centres = rng.normal(size=(4, 4)), rng.normal(size=(2, 4))
    omega = factor @ factor.T
    shared = dense(centres, [-1, 1], [0.3, 0.7], covariance=omega)
    separate = dense(centres, [-1, 1], [0.3, 0.7], covariance=[omega, omega])
    assert separate.covariance_structure == "general"
    assert_within_sigmas(separate.bayes_error(100_000), shared.bayes_error().value)


def test_a_null_direction_common_to_unequal_covariances_decides_nothing():
    # The same pair of sizes as above, in 5 of 8 dimensions: the other 3 hold no noise.
    dim, large = 5, 3.0
    diagonal = np.diag([1.0] * dim + [0.0] * 3)
    mixture = dense(np.zeros((2, 8)), [-1, 1], covariance=[diagonal, large * diagonal])
    edge = dim * math.log(large) / (1 - 1 / large)
    expected = (stats.chi2.cdf(edge / large, dim) + stats.chi2.sf(edge, dim)) / 2
    assert_within_sigmas(mixture.bayes_error(100_000), expected)


@pytest.mark.parametrize("option", [{"samples": 0}, {"samples": 1.5}, {"seed": -1}])
def test_options_out_of_range_are_refused_by_name(option):
    with pytest.raises(RangeError, match=next(iter(option))):
        isotropic([[0.0, 0], [1, 0]], [-1, 1]).bayes_error(**option)


@settings(max_examples=40, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.floats(-30, 30), st.sampled_from([-1, 1]), st.floats(1e-6, 1), st.floats(0.1, 0.9)
        ),
        min_size=1,
        max_size=7,
    ),
    st.floats(0.01, 100),
)
def test_splitting_and_reordering_clusters_on_a_line_changes_nothing(clusters, variance):
    positions, labels, weights, cuts = map(np.array, zip(*clusters, strict=True))
    priors = weights / weights.sum()
    error = isotropic(positions[:, None], labels, priors, variance).bayes_error()
    split = isotropic(
        np.tile(positions, 2)[::-1, None],
        np.tile(labels, 2)[::-1],
        np.concatenate([cuts * priors, (1 - cuts) * priors])[::-1],
        variance,
    ).bayes_error()
    assert error.standard_error == 0
    assert split.value == pytest.approx(error.value, rel=1e-6, abs=1e-12)
    assert 0 <= error.value <= min(priors[labels > 0].sum(), priors[labels < 0].sum()) + 1e-12


@pytest.mark.parametrize(
    ("classes", "error"), [([2, 1, 0, 0, 1, 2], 0.1), ([1, 0, 0, 0, 0, 1], 0.1)]
)
def test_where_one_class_is_the_likeliest_everywhere_the_others_are_all_wrong(classes, error):
    mixture = gd.data_model(
        "isotropic",
        means=[[-1.0], [-0.5], [-0.25], [0.25], [0.5], [1.0]],
        classes=classes,
        priors=[0.45, 0.045, 0.005, 0.005, 0.045, 0.45],
        variance=1.0,
    )
    assert mixture.bayes_error().value == pytest.approx(error, rel=1e-12)
