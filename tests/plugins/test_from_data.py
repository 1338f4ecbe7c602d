import gzip
import math
from pathlib import Path

import numpy as np
import pytest
import torch

from gmmdyn.errors import ArgumentError, DataError, RangeError, ShapeError
from gmmdyn_mixtures.from_data import FromData
from gmmdyn_mixtures.idx import read_idx

FASHION = Path("/usr/share/datasets/fashion-mnist")
RNG = np.random.default_rng(0)
TARGETS = np.repeat([0, 1, 2, 5], [30, 50, 20, 40])
IMAGES = RNG.normal(size=(140, 2, 3)) * (1 + TARGETS)[:, None, None] + RNG.normal(size=(2, 3))
IMAGES[:, 1, 2] = 7.0  # a pixel that never varies


def fit(**options):
    return FromData(images=IMAGES, targets=TARGETS, **options)


def matrices(mixture):
    return mixture.covariance_product(torch.eye(mixture.dim, dtype=torch.float64)).numpy()


def normalised(images=IMAGES):
    flat = np.asarray(images, dtype=float).reshape(len(images), -1)
    centred = flat - flat.mean(axis=0)
    return centred / centred.std()


def test_means_and_covariances_are_those_of_the_normalised_classes():
    mixture = fit(covariance="per-class")
    assert mixture.classes == ((0,), (2,), (1,), (5,))
    assert mixture.labels.tolist() == [-1, -1, 1, 1]
    assert mixture.priors.tolist() == [0.25] * 4
    assert mixture.covariance_structure == "general"
    data, omegas = normalised(), matrices(mixture)
    for i, (name,) in enumerate(mixture.classes):
        block = data[name == TARGETS]
        np.testing.assert_allclose(mixture.means[i] / math.sqrt(6), block.mean(0), atol=1e-14)
        np.testing.assert_allclose(omegas[i], np.cov(block.T, bias=True), atol=1e-13)


@pytest.mark.parametrize("priors", ["balanced", "empirical"])
def test_shared_covariance_is_the_mean_over_clusters_in_their_proportions(priors):
    mixture = fit(priors=priors)
    data = normalised()
    weights = {"balanced": [0.25] * 4, "empirical": np.array([30, 20, 50, 40]) / 140}[priors]
    expected = sum(
        p * np.cov(data[name == TARGETS].T, bias=True)
        for p, (name,) in zip(weights, mixture.classes, strict=True)
    )
    np.testing.assert_allclose(mixture.priors, weights, rtol=1e-14)
    assert mixture.covariance_structure == "shared"
    np.testing.assert_allclose(matrices(mixture), expected[None], atol=1e-13)


def test_empirical_mixture_has_the_first_two_moments_of_all_images():
    mixture = fit(covariance="per-class", priors="empirical")
    p, centres = mixture.priors.numpy(), mixture.means.numpy() / math.sqrt(6)
    np.testing.assert_allclose(p @ centres, 0, atol=1e-14)
    total = np.einsum("c,cij->ij", p, matrices(mixture)) + (p * centres.T) @ centres
    np.testing.assert_allclose(total, np.cov(normalised().T, bias=True), atol=1e-13)
    assert total.trace() / 6 == pytest.approx(1)


def test_pooled_clusters_hold_all_images_of_a_label():
    mixture = fit(clusters="pooled", covariance="per-class", priors="empirical")
    assert mixture.classes == ((0, 2), (1, 5))
    assert mixture.labels.tolist() == [-1, 1]
    np.testing.assert_allclose(mixture.priors, [50 / 140, 90 / 140])
    data = normalised()
    for i, odd in enumerate([False, True]):
        block = data[(TARGETS % 2 == 1) == odd]
        np.testing.assert_allclose(mixture.means[i] / math.sqrt(6), block.mean(0), atol=1e-14)
        np.testing.assert_allclose(matrices(mixture)[i], np.cov(block.T, bias=True), atol=1e-13)


def test_halves_split_the_sorted_classes():
    mixture = fit(classes="halves")
    assert mixture.classes == ((0,), (1,), (2,), (5,))
    assert mixture.labels.tolist() == [-1, -1, 1, 1]


@pytest.mark.parametrize("classes", [{5: -1, 0: 1}, {"5": -1, "0": 1.0}])
def test_a_mapping_leaves_other_classes_out(classes):
    mixture = fit(classes=classes, covariance="per-class")
    assert mixture.classes == ((5,), (0,))
    kept = np.isin(TARGETS, [0, 5])
    data = normalised(IMAGES[kept])
    expected = data[TARGETS[kept] == 5].mean(0)
    np.testing.assert_allclose(mixture.means[0] / math.sqrt(6), expected, atol=1e-14)


def test_whole_number_images_tensors_and_lists_give_the_same_fit():
    images = RNG.integers(0, 256, size=(40, 4), dtype=np.uint8)
    targets = np.arange(40) % 3
    expected = FromData(images=images.astype(float), targets=targets)
    for given, classes in (
        (images, targets.astype(np.uint8)),
        (torch.from_numpy(images), torch.from_numpy(targets)),
        (images.tolist(), targets.astype(float).tolist()),
    ):
        mixture = FromData(images=given, targets=classes)
        np.testing.assert_allclose(mixture.means, expected.means, atol=1e-14)
        np.testing.assert_allclose(matrices(mixture), matrices(expected), atol=1e-14)


@pytest.mark.parametrize("covariance", ["shared", "per-class"])
def test_samples_never_vary_where_the_images_do_not(covariance):
    batch = fit(covariance=covariance).sample(500, torch.Generator().manual_seed(0), torch.float64)
    assert batch.inputs[:, 5].abs().max() < 1e-12
    assert batch.inputs[:, :5].std(0).min() > 0.1


def test_digits_agree_with_numpy():
    from sklearn.datasets import load_digits

    images, targets = load_digits(return_X_y=True)
    mixture = FromData(source="digits", covariance="per-class")
    assert mixture.dim == 64
    assert mixture.classes == tuple((c,) for c in (0, 2, 4, 6, 8, 1, 3, 5, 7, 9))
    data, omegas = normalised(images), matrices(mixture)
    for i, (name,) in enumerate(mixture.classes):
        block = data[targets == name]
        np.testing.assert_allclose(mixture.means[i] / 8, block.mean(0), atol=1e-13)
        np.testing.assert_allclose(omegas[i], np.cov(block.T, bias=True), atol=1e-12)


def idx_bytes(array):
    """Unsigned bytes in the format's layout, written by hand."""
    sizes = b"".join(n.to_bytes(4, "big") for n in array.shape)
    return bytes([0, 0, 8, array.ndim]) + sizes + array.astype(np.uint8).tobytes()


def idx_folder(folder, images, targets):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "train-images-idx3-ubyte.gz").write_bytes(gzip.compress(idx_bytes(images)))
    (folder / "train-labels-idx1-ubyte").write_bytes(idx_bytes(targets))
    return str(folder)


SMALL = RNG.integers(0, 256, size=(20, 2, 2))


def test_idx_files_are_found_in_the_folder_or_by_the_environment(tmp_path, monkeypatch):
    targets = np.arange(20) % 4
    folder = idx_folder(tmp_path / "mnist", SMALL, targets)
    expected = FromData(images=SMALL, targets=targets)
    monkeypatch.delenv("GMMDYN_DATA", raising=False)
    given = FromData(source="mnist", folder=folder)
    monkeypatch.setenv("GMMDYN_DATA", str(tmp_path))
    found = FromData(source="mnist")
    for mixture in (given, found):
        np.testing.assert_allclose(mixture.means, expected.means, atol=1e-14)


def test_a_folder_goes_before_the_environment(tmp_path, monkeypatch):
    monkeypatch.setenv("GMMDYN_DATA", str(tmp_path / "other"))
    folder = idx_folder(tmp_path, SMALL, np.arange(20) % 4)
    assert FromData(source="fashion-mnist", folder=folder).dim == 4


def test_counts_that_do_not_match_are_refused(tmp_path):
    folder = idx_folder(tmp_path, SMALL, np.arange(19) % 4)
    with pytest.raises(DataError, match=r"20 images but .* has 19 labels"):
        FromData(source="mnist", folder=folder)


def test_labels_in_place_of_images_are_refused(tmp_path):
    folder = idx_folder(tmp_path, np.arange(20), np.arange(20) % 4)
    with pytest.raises(DataError, match="not images"):
        FromData(source="mnist", folder=folder)


def test_no_folder_says_how_to_give_one(tmp_path, monkeypatch):
    monkeypatch.delenv("GMMDYN_DATA", raising=False)
    with pytest.raises(DataError, match="give `folder`"):
        FromData(source="mnist")
    with pytest.raises(DataError, match="train-images-idx3-ubyte"):
        FromData(source="mnist", folder=str(tmp_path))


@pytest.mark.parametrize(
    ("options", "error", "named"),
    [
        ({"covariance": "diagonal"}, RangeError, "`covariance`"),
        ({"clusters": "all"}, RangeError, "`clusters`"),
        ({"priors": "equal"}, RangeError, "`priors`"),
        ({"classes": "even-odd"}, RangeError, "did you mean `odd-even`"),
        ({"classes": {3: 1}}, RangeError, "class 3; the data have 0, 1, 2, 5"),
        ({"classes": {5: 0}}, RangeError, "`classes`"),
        ({"classes": {}}, RangeError, "`classes`"),
        ({"targets": None}, ArgumentError, "`targets`"),
        ({"images": None}, ArgumentError, "`images`"),
        ({"targets": TARGETS[:-1]}, ShapeError, "`targets`"),
        ({"targets": TARGETS + 0.5}, RangeError, "`targets`"),
        ({"images": IMAGES[:, 0, 0]}, ShapeError, "`images`"),
        ({"images": [[1, 2], [3]]}, ShapeError, "`images`"),
        ({"images": [["a"]] * 140}, ShapeError, "`images`"),
        ({"images": np.full((140, 2), np.inf)}, RangeError, "`images`"),
        ({"images": np.ones((140, 2))}, DataError, "variance 0"),
        ({"images": 1e300 * IMAGES}, DataError, "variance"),
        ({"images": None, "targets": None, "source": "cifar"}, RangeError, "`source`"),
        ({"images": None, "targets": None, "folder": "x"}, ArgumentError, "`folder`"),
    ],
)
def test_bad_arguments_are_refused_by_name(options, error, named):
    with pytest.raises(error) as caught:
        FromData(**{"images": IMAGES, "targets": TARGETS} | options)
    assert named in str(caught.value)
    assert str(caught.value).endswith(".")


def test_fashion_mnist_agrees_with_numpy(monkeypatch):
    if not FASHION.is_dir():
        pytest.skip(f"{FASHION} is not there: install Debian's package dataset-fashion-mnist")
    monkeypatch.delenv("GMMDYN_DATA", raising=False)
    images = read_idx(FASHION / "train-images-idx3-ubyte.gz")
    targets = read_idx(FASHION / "train-labels-idx1-ubyte.gz")
    assert images.shape == (60_000, 28, 28)
    assert np.bincount(targets).tolist() == [6000] * 10
    mixture = FromData(source="fashion-mnist", classes={9: 1, 0: -1}, covariance="per-class")
    assert mixture.classes == ((0,), (9,))
    kept = np.isin(targets, [0, 9])
    data = normalised(images[kept])
    for i, name in enumerate([0, 9]):
        block = data[targets[kept] == name]
        np.testing.assert_allclose(mixture.means[i] / 28, block.mean(0), atol=1e-12)
        product = mixture.covariance_product(torch.from_numpy(data[:3]))[i]
        np.testing.assert_allclose(product, data[:3] @ np.cov(block.T, bias=True), atol=1e-9)
