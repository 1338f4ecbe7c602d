"""The mean geometries of the 2021 code, and the isotropic mixture."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

import gmmdyn as gd
from gmmdyn.errors import RangeError, ShapeError

D = 64
ROOT = math.sqrt(D)

# The table of the issue: (e1, e2) coordinates of the four means, label -1 first.
TABLE = {
    ("xor", "low"): [(ROOT, 0), (-ROOT, 0), (0, ROOT), (0, -ROOT)],
    ("xor", "high"): [(D, 0), (-D, 0), (0, D), (0, -D)],
    ("xor", "mixed"): [(D, ROOT), (-D, -ROOT), (D, -ROOT), (-D, ROOT)],
    ("three-clusters", "low"): [(ROOT, 0), (-ROOT, 0), (0, 0), (0, 0)],
    ("three-clusters", "high"): [(D, 0), (-D, 0), (0, 0), (0, 0)],
    ("three-clusters", "mixed"): [(D, 0), (-ROOT, 0), (0, 0), (0, 0)],
}


@pytest.mark.parametrize(("name", "snr"), list(TABLE))
def test_means_are_those_of_the_table(name, snr):
    mixture = gd.data_model(name, dim=D, snr=snr, rho=0.3, variance=0.2)
    np.testing.assert_allclose(mixture.means[:, :2].numpy(), TABLE[name, snr])
    assert float(mixture.means[:, 2:].abs().max()) == 0
    assert mixture.labels.tolist() == [-1, -1, 1, 1]
    np.testing.assert_allclose(mixture.priors.numpy(), [0.35, 0.35, 0.15, 0.15])
    assert mixture.variance == 0.2


def test_rings():
    one = gd.data_model("ring", dim=D, clusters_per_label=1)
    np.testing.assert_allclose(one.means[:, :2].numpy(), [(ROOT, 0), (-ROOT, 0)], atol=1e-12)
    two, xor = gd.data_model("ring", dim=D, clusters_per_label=2), gd.data_model("xor", dim=D)
    np.testing.assert_allclose(two.means.numpy(), xor.means.numpy(), atol=1e-12)
    three = gd.data_model("ring", dim=D, clusters_per_label=3)
    angles = torch.rad2deg(torch.atan2(three.means[:, 1], three.means[:, 0])) % 360
    np.testing.assert_allclose(angles.numpy(), [0, 120, 240, 60, 180, 300], atol=1e-9)
    assert three.labels.tolist() == [-1, -1, -1, 1, 1, 1]


def test_overlaps_are_those_of_the_2021_code(reference):
    arrays = reference("iid_rhs_NG3_K2_relu_var0.5.npz")
    three = gd.data_model("ring", dim=D, clusters_per_label=3)
    np.testing.assert_allclose(three.mean_overlaps.numpy(), arrays["T"], atol=1e-6)


def test_random_means_have_the_radius():
    mixture = gd.data_model("random-means", dim=D, clusters_per_label=3, radius=2.0, seed=1)
    np.testing.assert_allclose((mixture.means.norm(dim=1) / ROOT).numpy(), [2.0] * 6)
    assert mixture.labels.tolist() == [-1, -1, -1, 1, 1, 1]


def test_rho_is_honoured_when_sampling():
    mixture = gd.data_model("xor", dim=8, rho=0.2)
    labels = mixture.sample(100_000, torch.Generator().manual_seed(0), torch.float32).labels
    share = float((labels > 0).double().mean())
    assert abs(share - 0.2) < 4 * math.sqrt(0.2 * 0.8 / 100_000)


@pytest.mark.parametrize(
    ("variance", "expected"), [(0.05, 0.00156), (0.1, 0.02503), (1.0, 0.36454)]
)
def test_the_oracle_of_the_xor(variance, expected):
    found = gd.data_model("xor", dim=D, variance=variance).bayes_error()
    assert abs(found.value - expected) < 6e-6
    assert found.standard_error == 0


@pytest.mark.parametrize(
    ("name", "options", "error", "word"),
    [
        ("xor", {"dim": 1}, RangeError, "`dim`"),
        ("xor", {"dim": 10, "variance": -1}, RangeError, "`variance`"),
        ("xor", {"dim": 10, "rho": 1.2}, RangeError, "`rho`"),
        ("xor", {"dim": 10, "snr": "lo"}, RangeError, "did you mean `low`"),
        ("ring", {"dim": 10, "clusters_per_label": 0}, RangeError, "`clusters_per_label`"),
        ("random-means", {"dim": 10, "radius": 0}, RangeError, "`radius`"),
        ("isotropic", {"means": [1.0, 2.0], "labels": [1]}, ShapeError, "`means`"),
        ("isotropic", {"means": [[1.0, 2.0]], "labels": [1, -1]}, ShapeError, "`labels`"),
        ("isotropic", {"means": [[1.0, 2.0]], "labels": [2]}, RangeError, "`labels`"),
        (
            "isotropic",
            {"means": [[1.0], [2.0]], "labels": [1, -1], "priors": [0.5, 0.4]},
            RangeError,
            r"`priors` sums to 0\.9",
        ),
    ],
)
def test_bad_arguments_are_named(name, options, error, word):
    with pytest.raises(error, match=word):
        gd.data_model(name, **options)
