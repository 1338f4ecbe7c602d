"""Pictures of random features."""

from __future__ import annotations

import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from mpl_toolkits.mplot3d import Axes3D

import gmmdyn as gd
from gmmdyn.errors import RangeError, ShapeError
from gmmdyn.feature_errors import feature_errors
from gmmdyn.plot import plot_error_against_noise, plot_feature_errors, plot_feature_space
from gmmdyn.plot.feature_space import _directions


def small(**options):
    mixture = gd.data_model("xor", dim=20, variance=0.05)
    options = {"readout": "random", "bias": 0.2, **options}
    return mixture, gd.network("random-features", dim=20, features=30, **options)


def test_the_drawn_directions_hold_the_readout():
    rng = np.random.default_rng(0)
    for clusters in (1, 2, 3, 4):
        means, weights = rng.standard_normal((clusters, 9)), rng.standard_normal(9)
        found = _directions(means, weights)
        np.testing.assert_allclose(found @ found.T, np.eye(3), atol=1e-12)
        np.testing.assert_allclose(found.T @ (found @ weights), weights, atol=1e-12)


def test_no_error_below_bayes_is_drawn():
    """The leading order in 1/D falls below it where D is too small for it, as it is here."""
    found = feature_errors(sigma=[0.1, 0.15, 0.2, 0.3, 0.5, 0.8], ratio=[5], dim=[20])
    bayes = found["bayes_error"].sel(geometry="xor", dim=20).to_numpy()
    limit = found["limit_classification_error"].sel(geometry="xor", dim=20, ratio=5).to_numpy()
    assert (limit < bayes).any()
    assert (limit > bayes).any()
    axes = plot_feature_errors(found).axes[0]
    lines = [line for line in axes.get_lines() if line.get_linestyle() == "-"]
    (drawn,) = [line for line in lines if len(line.get_xdata()) > 10]
    (oracle,) = [line for line in axes.get_lines() if line.get_linestyle() == "--"]
    expected = np.interp(drawn.get_xdata(), *oracle.get_data())
    assert (drawn.get_ydata() >= expected - 1e-12).all()
    assert max(drawn.get_xdata()) == pytest.approx(0.8)


def test_the_plane_is_where_the_output_changes_sign(monkeypatch):
    mixture, network = small()
    drawn = []
    monkeypatch.setattr(Axes3D, "plot_surface", lambda self, *grid, **style: drawn.append(grid))
    axes = plot_feature_space(mixture, network, points=50).axes[1]
    corners = np.stack([coordinate.ravel() for coordinate in drawn[0]], axis=1)
    corners = corners[np.isfinite(corners).all(1)]
    assert len(corners) > 20
    batch = mixture.sample(4 * 50, torch.Generator().manual_seed(0), torch.float32)
    features = network.features(batch.inputs).detach().numpy()
    means = np.array([features[batch.clusters.numpy() == c].mean(0) for c in range(4)])
    weights = network.readout.detach().numpy().astype(float) / math.sqrt(30)
    normal = _directions(means, weights) @ weights
    outputs = corners @ normal + 0.2
    assert np.abs(outputs).max() < 1e-5 * np.abs(corners @ normal).max() + 1e-5
    assert axes.get_xlabel().startswith("output")


def test_the_gaussians_are_those_predicted(tmp_path):
    mixture, network = small()
    prediction = SimpleNamespace(output_means=[0.0, 1, 2, 3], output_variances=[1.0, 4, 9, 16])
    path = tmp_path / "space.png"
    figure = plot_feature_space(mixture, network, prediction, path, points=50)
    assert path.read_bytes().startswith(b"\x89PNG")
    curves = [line for line in figure.axes[1].lines if len(line.get_xdata()) == 300]
    assert len(curves) == 4
    for cluster, line in enumerate(curves):
        x, y = line.get_data()
        width = cluster + 1
        wanted = np.exp(-((x - cluster) ** 2) / (2 * width**2)) / (width * math.sqrt(2 * math.pi))
        np.testing.assert_allclose(y, wanted)


def test_what_cannot_be_drawn_is_one_sentence():
    mixture, network = small(readout="zeros")
    with pytest.raises(RangeError, match="readout of the network is 0"):
        plot_feature_space(mixture, network)
    two = gd.network("random-features", dim=20, features=2, readout="random")
    with pytest.raises(RangeError, match="has 2 features"):
        plot_feature_space(mixture, two)
    with pytest.raises(RangeError, match="`curves` is empty"):
        plot_error_against_noise({})
    with pytest.raises(ShapeError, match="`linear` has"):
        plot_error_against_noise({"linear": ([0.1, 0.2], [0.3])})


def test_each_classifier_has_its_points_on_the_plot():
    curves = {"one": ([0.3, 0.1], [0.4, 0.2]), "two": ([0.2], [0.1])}
    axes = plot_error_against_noise(curves).axes[0]
    points = {line.get_label(): line.get_xydata().tolist() for line in axes.lines}
    assert points["one"] == [[0.3, 0.4], [0.1, 0.2]]
    assert points["two"] == [[0.2, 0.1]]
