import copy
import math
import pickle

import numpy as np
import pytest
import torch
from scipy import stats

from gmmdyn.errors import ArgumentError, NotPositiveError, RangeError, ShapeError
from gmmdyn_mixtures._clusters import draw_clusters, label_tensor, prior_tensor
from gmmdyn_mixtures._dense import DenseMixture, square_root
from gmmdyn_mixtures.random_covariance import RandomCovariance

D = 6
RNG = np.random.default_rng(0)
MEANS = 3 * RNG.normal(size=(3, D))
LABELS = [-1, 1, 1]
PRIORS = [0.5, 0.2, 0.3]
FACTORS = RNG.normal(size=(3, D, 4))  # of rank 4: the covariances are singular
OMEGAS = FACTORS @ FACTORS.transpose(0, 2, 1)

NOISES = {
    "covariance": {"covariance": OMEGAS[0]},
    "covariances": {"covariance": OMEGAS},
    "factor": {"factor": FACTORS[0]},
    "factors": {"factor": FACTORS},
    "spectrum": {"spectrum": np.arange(D)},
    "spectra": {"spectrum": np.outer([1, 2, 3], np.arange(D))},
    "own eigenvectors": {"spectrum": np.arange(D), "per_cluster": True},
    "drawn": {"variance": 0.3},
    "drawn for each": {"variance": 0.3, "per_cluster": True},
}
SHARED = ["covariance", "factor", "spectrum", "drawn"]


def build(**noise):
    return RandomCovariance(means=MEANS, labels=LABELS, priors=PRIORS, **noise)


def matrices(mixture):
    return mixture.covariance_product(torch.eye(mixture.dim, dtype=torch.float64)).numpy()


def draw(mixture, n=1000, seed=0, dtype=torch.float64):
    return mixture.sample(n, torch.Generator().manual_seed(seed), dtype)


def assert_within_sigmas(values, expected, standard_errors, n=5):
    assert (np.abs(values - expected) <= n * standard_errors + 1e-12).all()


@pytest.mark.parametrize("noise", NOISES.values(), ids=NOISES)
def test_samples_have_the_means_and_covariances_of_their_clusters(noise):
    mixture = build(**noise)
    batch = draw(mixture, 60_000)
    omegas = np.broadcast_to(matrices(mixture), (3, D, D))
    for a in range(3):
        points = batch.inputs[batch.clusters == a].numpy()
        n = len(points)
        variances = omegas[a].diagonal()
        assert_within_sigmas(points.mean(0), MEANS[a] / math.sqrt(D), np.sqrt(variances / n))
        # Var(x_i x_j) = Ω_ii Ω_jj + Ω_ij² for Gaussian noise (Isserlis).
        spread = np.sqrt((np.outer(variances, variances) + omegas[a] ** 2) / n)
        assert_within_sigmas(np.cov(points.T), omegas[a], spread)


@pytest.mark.parametrize("noise", ["covariance", "covariances"])
def test_whitened_samples_are_gaussian(noise):
    mixture = build(covariance=OMEGAS[0] + np.eye(D) if noise == "covariance" else OMEGAS + 1.0)
    batch = draw(mixture, 20_000)
    direction = RNG.normal(size=D)
    for a, omega in enumerate(np.broadcast_to(matrices(mixture), (3, D, D))):
        noise_part = batch.inputs[batch.clusters == a].numpy() - MEANS[a] / math.sqrt(D)
        field = noise_part @ direction / math.sqrt(direction @ omega @ direction)
        assert stats.kstest(field, stats.norm.cdf).pvalue > 1e-4


def test_points_of_different_clusters_take_different_normals():
    # Rows are handed out in cluster order; no row may serve twice.
    batch = draw(build(factor=np.stack([np.eye(D)] * 3)), 2000)
    noise = batch.inputs - build(factor=np.eye(D)).means[batch.clusters] / math.sqrt(D)
    assert len(torch.unique(noise[:, 0])) == 2000
    neighbours = np.corrcoef(noise[:-1, 0], noise[1:, 0])[0, 1]
    assert abs(neighbours) < 4 / math.sqrt(2000)


@pytest.mark.parametrize("noise", ["covariance", "covariances"])
def test_clusters_and_labels_follow_the_priors(noise):
    n = 40_000
    batch = draw(build(**NOISES[noise]), n)
    counts = np.bincount(batch.clusters, minlength=3)
    spread = np.sqrt(n * np.array(PRIORS) * (1 - np.array(PRIORS)))
    assert_within_sigmas(counts, n * np.array(PRIORS), spread, n=4)
    assert batch.clusters.dtype == torch.int64
    assert torch.equal(batch.labels, torch.tensor(LABELS, dtype=torch.float64)[batch.clusters])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("noise", ["factor", "factors"])
def test_samples_have_the_dtype_asked_for_and_repeat_with_the_seed(noise, dtype):
    mixture = build(**NOISES[noise])
    first, again, other = (draw(mixture, 50, seed, dtype) for seed in (1, 1, 2))
    assert first.inputs.dtype == first.labels.dtype == dtype
    assert first.inputs.shape == (50, D)
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert not torch.equal(first.inputs, other.inputs)


def test_drawing_leaves_the_global_generator_alone():
    state = torch.random.get_rng_state()
    draw(build(per_cluster=True))
    assert torch.equal(state, torch.random.get_rng_state())


@pytest.mark.parametrize("name", ["covariance", "covariances", "factor", "factors"])
def test_product_is_that_of_the_matrices_given(name):
    vectors = torch.from_numpy(RNG.normal(size=(5, D)))
    product = build(**NOISES[name]).covariance_product(vectors)
    omegas = OMEGAS if name.endswith("s") else OMEGAS[:1]
    np.testing.assert_allclose(product, vectors.numpy() @ omegas, rtol=1e-11, atol=1e-12)
    single = build(**NOISES[name]).covariance_product(vectors.float())
    assert single.dtype == torch.float32
    np.testing.assert_allclose(single, product, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", NOISES)
def test_structure_says_whether_one_covariance_serves_all(name):
    mixture = build(**NOISES[name])
    shared = name in SHARED
    assert mixture.covariance_structure == ("shared" if shared else "general")
    assert matrices(mixture).shape == (1 if shared else 3, D, D)


@pytest.mark.parametrize("name", ["spectrum", "spectra", "own eigenvectors"])
def test_spectrum_is_that_of_the_covariance(name):
    omegas = matrices(build(**NOISES[name], seed=3))
    expected = np.broadcast_to(NOISES[name]["spectrum"], (len(omegas), D))
    np.testing.assert_allclose(np.linalg.eigvalsh(omegas), expected, atol=1e-12)
    if len(omegas) > 1:
        assert np.abs(omegas[0] / omegas[0].trace() - omegas[1] / omegas[1].trace()).max() > 0.01


def test_eigenvectors_are_uniform_over_orthogonal_matrices():
    # For a uniform eigenvector ψ of the only eigenvalue, Ω_01 = ψ_0 ψ_1 has mean 0 and, as
    # E[ψ_0² ψ_1²] = 1/(D(D+2)), a known spread; Ω_00 = ψ_0² has mean 1/D.
    entries = np.array(
        [
            matrices(build(spectrum=[1, 0, 0, 0, 0, 0], seed=seed))[0][[0, 0], [0, 1]]
            for seed in range(400)
        ]
    )
    square = 3 / (D * (D + 2)) - 1 / D**2
    assert_within_sigmas(entries[:, 0].mean(), 1 / D, math.sqrt(square / 400), n=4)
    assert_within_sigmas(entries[:, 1].mean(), 0, math.sqrt(1 / (D * (D + 2) * 400)), n=4)


def test_drawn_covariance_is_a_wishart_matrix_of_the_variance():
    dim, variance = 300, 0.3
    omega = matrices(
        RandomCovariance(means=np.zeros((1, dim)), labels=[1], variance=variance, seed=1)
    )[0]
    # tr Ω/D has mean σ² and variance 2σ⁴/D²; tr Ω²/D has mean 2σ⁴ + O(1/D).
    assert abs(omega.trace() / dim - variance) < 4 * variance * math.sqrt(2) / dim
    assert (omega @ omega).trace() / dim == pytest.approx(2 * variance**2, rel=0.03)
    assert np.linalg.eigvalsh(omega)[-1] == pytest.approx(4 * variance, rel=0.1)


def test_seed_fixes_the_drawn_covariance():
    a, b, c = (matrices(build(seed=seed)) for seed in (5, 5, 6))
    assert np.array_equal(a, b)
    assert not np.array_equal(a, c)


def test_factor_of_singular_covariances_has_only_the_columns_it_needs():
    factor = square_root(torch.from_numpy(OMEGAS))
    assert factor.shape == (3, D, 4)
    np.testing.assert_allclose(factor @ factor.mT, OMEGAS, atol=1e-12)
    nothing = square_root(torch.zeros(2, D, D, dtype=torch.float64))
    assert torch.equal(nothing, torch.zeros(2, D, 1, dtype=torch.float64))


def test_no_noise_draws_the_centres_themselves():
    batch = draw(build(covariance=np.zeros((D, D))), 20)
    np.testing.assert_allclose(batch.inputs, MEANS[batch.clusters] / math.sqrt(D), rtol=1e-15)


def test_moving_and_copying_keeps_the_mixture():
    mixture = build(**NOISES["factors"])
    first = draw(mixture).inputs
    for twin in (copy.deepcopy(mixture), pickle.loads(pickle.dumps(mixture))):
        assert torch.equal(draw(twin).inputs, first)
    assert not mixture.state_dict()
    single = copy.deepcopy(mixture).to(torch.float32)
    assert single.means.dtype == torch.float32
    np.testing.assert_allclose(
        single.covariance_product(torch.eye(D)), OMEGAS, rtol=1e-4, atol=1e-5
    )


def test_moving_forgets_the_tensors_of_before():
    mixture = build(covariance=np.zeros((D, D)))
    draw(mixture)
    mixture.to(torch.float32).to(torch.float64)  # rounds the means by 1e-8
    batch = draw(mixture)
    centres = mixture.means[batch.clusters] / math.sqrt(D)
    assert (batch.inputs - centres).abs().max() < 1e-15


def test_dense_mixture_itself_is_abstract():
    with pytest.raises(TypeError, match="abstract"):
        DenseMixture(*4 * [torch.zeros(1)])


@pytest.mark.parametrize(
    ("options", "error", "named"),
    [
        ({"covariance": OMEGAS, "factor": FACTORS}, ArgumentError, "`covariance` and `factor`"),
        ({"covariance": OMEGAS, "variance": 2.0}, ArgumentError, "`variance`"),
        ({"factor": FACTORS, "per_cluster": True}, ArgumentError, "`per_cluster`"),
        ({"covariance": -OMEGAS}, NotPositiveError, "`covariance`"),
        ({"covariance": np.triu(OMEGAS[0])}, NotPositiveError, "`covariance`"),
        ({"spectrum": [1, 1, 1, 1, 1, -1]}, NotPositiveError, "`spectrum`"),
        ({"covariance": np.eye(D + 1)}, ShapeError, "`covariance`"),
        ({"covariance": OMEGAS[:2]}, ShapeError, "`covariance`"),
        ({"covariance": [[1], [1, 2]]}, ShapeError, "`covariance`"),
        ({"covariance": 1.0}, ShapeError, "`covariance`"),
        ({"covariance": np.full((D, D), np.nan)}, RangeError, "`covariance`"),
        ({"factor": np.ones((D + 1, 2))}, ShapeError, "`factor`"),
        ({"factor": np.ones((D, 0))}, ShapeError, "`factor`"),
        ({"spectrum": np.ones(D - 1)}, ShapeError, "`spectrum`"),
        ({"variance": -1}, RangeError, "`variance`"),
        ({"seed": -1}, RangeError, "`seed`"),
        ({"labels": [1, 1, 0]}, RangeError, "`labels`"),
        ({"labels": [1, 1]}, ShapeError, "`labels`"),
        ({"priors": [0.5, 0.5, 0.5]}, RangeError, "`priors`"),
        ({"means": np.zeros((0, D))}, ShapeError, "`means`"),
        ({"means": np.zeros(D)}, ShapeError, "`means`"),
    ],
)
def test_bad_arguments_are_refused_by_name(options, error, named):
    arguments = {"means": MEANS, "labels": LABELS, "priors": PRIORS} | options
    with pytest.raises(error) as caught:
        RandomCovariance(**arguments)
    assert named in str(caught.value)
    assert str(caught.value).endswith(".")


def test_labels_and_priors_are_checked_tensors():
    assert label_tensor([1, 1], 2).tolist() == [1.0, 1.0]
    assert prior_tensor(None, 4).tolist() == [0.25] * 4
    assert prior_tensor([1, 0], 2).dtype == torch.float64


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_clusters_of_no_weight_are_never_drawn(dtype):
    # Ten tenths do not sum to one in floating point, and the ends have no weight.
    priors = torch.tensor([0.0, *[0.1] * 5, 0.0, *[0.1] * 5, 0.0], dtype=dtype)
    generator = torch.Generator().manual_seed(0)
    drawn = draw_clusters(priors.cumsum(0), 200_000, generator)
    assert set(drawn.tolist()) == {*range(1, 6), *range(7, 12)}


def test_rounding_never_draws_a_cluster_out_of_range(monkeypatch):
    edges = torch.tensor([0.0, 0.25, 0.25, 1 - 2**-20, 1 - 2**-20], dtype=torch.float64)
    worst = torch.tensor([0.0, 0.25, 1 - 2**-53], dtype=torch.float64)
    monkeypatch.setattr(torch, "rand", lambda *a, **k: worst)
    assert draw_clusters(edges, 3, torch.Generator()).tolist() == [1, 3, 3]
