"""Pictures of random features."""

from __future__ import annotations

import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from mpl_toolkits.mplot3d import Axes3D

import gmmdyn as gd
from gmmdyn import feature_errors
from gmmdyn.errors import RangeError, ShapeError
from gmmdyn.plot import plot_error_against_noise, plot_feature_errors, plot_feature_space
from gmmdyn_random_features.space_figure import _directions


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


def test_the_limit_is_drawn_where_it_applies():
    """At small noise D = 60 is too small for it: it would run below the Bayes error."""
    sigma = np.array([0.2, 0.3, 0.5, 0.7, 1.0, 1.5])
    found = feature_errors(sigma=sigma.tolist(), ratio=[2], dim=[60])
    bayes = found["bayes_error"].sel(geometry="xor", dim=60).to_numpy()
    limit = found["limit_classification_error"].sel(geometry="xor", dim=60, ratio=2).to_numpy()
    points = found["classification_error"].sel(geometry="xor", dim=60, ratio=2, seed=0).to_numpy()
    assert limit[1] < 0.8 * points[1]
    axes = plot_feature_errors(found).axes[0]
    (drawn,) = (
        line
        for line in axes.get_lines()
        if line.get_linestyle() == "-" and len(line.get_xdata()) > 10
    )
    assert min(drawn.get_xdata()) == pytest.approx(0.7)  # γ/(Dσ²) is 0.07, and 0.13 at 0.5
    assert max(drawn.get_xdata()) == pytest.approx(1.5)
    assert (drawn.get_ydata() >= np.interp(drawn.get_xdata(), sigma, bayes)).all()
    np.testing.assert_allclose(limit[3:], points[3:], rtol=0.05)


def test_points_of_every_ratio_are_drawn_against_the_variable_of_the_collapse():
    found = feature_errors(sigma=[0.5, 1.0], ratio=[2, 8], dim=[30, 60])
    axes = plot_feature_errors(found).axes[1]
    drawn = np.concatenate([bars.lines[0].get_xdata() for bars in axes.containers])
    constants = {}
    for g in (2, 8):
        # ReLU: a1 = 1/2, a2² = 1/(4π), r = 1/4 - 1/(2π); k = 2 a2² m/a1², the resolvent at r/a1².
        z = 1 - 2 / math.pi
        b = 1 - g + z
        constants[g] = 2 / math.pi * (math.sqrt(b * b + 4 * g * z) - b) / (2 * g * z)
    wanted = [
        s * (d / (g * constants[g])) ** 0.25 for d in (30, 60) for g in (2, 8) for s in (0.5, 1)
    ]
    np.testing.assert_allclose(drawn, wanted, rtol=1e-9)
    lines = [line for line in axes.get_lines() if len(line.get_xdata()) > 10]
    assert len(lines) == 1
    x, error = lines[0].get_data()
    np.testing.assert_allclose(error, [0.5 * math.erfc(v**-2 / 2**1.5) for v in x], atol=1e-3)


def test_odd_activations_have_no_collapse():
    found = feature_errors(sigma=[0.5, 1.0], dim=[20], activation="erf")
    assert np.isnan(found["scaled_noise"]).all()
    assert len(plot_feature_errors(found).axes) == 1


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
