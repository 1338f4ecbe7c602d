"""Hidden units in the plane of the means."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from matplotlib.collections import LineCollection, PathCollection
from PIL import Image

import gmmdyn as gd
from gmmdyn.errors import RangeError
from gmmdyn.plot import animate_plane, plot_plane
from gmmdyn.plot.directions import mean_plane

DIM = 30


def weights(count=5, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, DIM, generator=generator, dtype=torch.float64)


def placed(mixture, first_layer):
    """Coordinates by the order parameters alone."""
    state = mixture.order_parameters(first_layer, torch.ones(len(first_layer)))
    return mean_plane(mixture).points(state.Q.numpy()[None], state.R.numpy()[None])[0]


def test_on_the_xor_the_coordinates_are_the_first_two_of_the_weights():
    """Its means are the axes ±e1 and ±e2 of the inputs, so the plane is known."""
    mixture = gd.data_model("xor", dim=DIM, variance=0.05)
    plane = mean_plane(mixture)
    np.testing.assert_allclose(plane.means[[0, 1]], [[1, 0], [-1, 0]], atol=1e-12)
    np.testing.assert_allclose(np.abs(plane.means[[2, 3]]), [[0, 1], [0, 1]], atol=1e-12)
    assert plane.means[2, 1] == -plane.means[3, 1]
    # Towards the first mean of each label, which is one of ±e1 and ±e2 times the root of D.
    across = 2 if plane.means[2, 1] > 0 else 3
    signs = [mixture.means[0].sum() / DIM**0.5, mixture.means[across].sum() / DIM**0.5]
    first_layer = weights()
    expected = first_layer.numpy()[:, :2] / math.sqrt(DIM) * np.array(signs)
    np.testing.assert_allclose(placed(mixture, first_layer), expected, atol=1e-12)
    np.testing.assert_allclose(placed(mixture, mixture.means), plane.means, atol=1e-12)
    for root in plane.roots:
        np.testing.assert_allclose(root @ root.T, 0.05 * np.eye(2), atol=1e-12)


@pytest.mark.parametrize("count", [2, 3, 5])
def test_coordinates_are_those_of_an_orthogonal_projection(count):
    """By the vectors themselves, which order parameters never see."""
    means = weights(count, seed=1)
    labels = [1] * (count - 1) + [-1]
    spread = torch.diag(torch.linspace(0.1, 2.0, DIM, dtype=torch.float64))
    mixture = gd.data_model("random-covariance", means=means, labels=labels, covariance=spread)
    plane = mean_plane(mixture)
    basis = plane.coefficients @ means.numpy() / math.sqrt(DIM)
    np.testing.assert_allclose(basis @ basis.T, np.eye(2), atol=1e-12)
    first_layer = weights()
    expected = first_layer.numpy() @ basis.T / math.sqrt(DIM)
    np.testing.assert_allclose(placed(mixture, first_layer), expected, atol=1e-12)
    for root in plane.roots:
        np.testing.assert_allclose(root @ root.T, basis @ spread.numpy() @ basis.T, atol=1e-12)
    held = (plane.means**2).sum() / float(mixture.mean_overlaps.trace())
    # Two dimensions hold all of two means, and of more the most that any two can.
    values = np.linalg.eigvalsh(mixture.mean_overlaps.numpy())
    assert held == pytest.approx(values[-2:].sum() / values.sum())


def test_of_collinear_means_the_second_axis_is_the_rest():
    mixture = gd.data_model("three-clusters", dim=DIM, variance=0.05)
    first_layer = weights()
    found = placed(mixture, first_layer)
    squares = (first_layer.numpy() ** 2).sum(axis=1) / DIM
    np.testing.assert_allclose((found**2).sum(axis=1), squares, rtol=1e-12)
    np.testing.assert_array_equal(mean_plane(mixture).means[:, 1], 0)


def experiment():
    mixture = gd.data_model("xor", dim=DIM, variance=0.05)
    network = gd.network("committee", dim=DIM, hidden=3, activation="erf", init_scale=1.0, seed=2)
    return gd.Experiment(mixture, network, gd.OnlineSGD(0.5))


def test_the_figure_holds_both_trajectories(tmp_path):
    problem = experiment()
    mixture = problem.data_model
    run = problem.simulate(times=[0, 1, 2, 4], replicas=3, test_size=50)
    theory = problem.solve("ode", times=[0, 1, 2, 4])
    target = tmp_path / "plane.png"
    axes = plot_plane(gd.compare(run, theory), mixture, target).axes[0]
    assert target.read_bytes().startswith(b"\x89PNG")
    lines = [part for part in axes.collections if isinstance(part, LineCollection)]
    assert len(lines) == 3
    state = theory.order_parameters(-1)
    wanted = mean_plane(mixture).points(state.Q.numpy()[None], state.R.numpy()[None])[0]
    ends = np.array([part.get_segments()[-1][-1] for part in lines])
    np.testing.assert_allclose(ends, wanted)
    points = [part for part in axes.collections if isinstance(part, PathCollection)]
    assert [len(part.get_offsets()) for part in points] == [4, 4, 4, 3, 3]
    one = plot_plane(run, mixture, replica=1).axes[0]
    points = [part for part in one.collections if isinstance(part, PathCollection)]
    state = run.order_parameters(-1, replica=1)
    wanted = mean_plane(mixture).points(state.Q.numpy()[None], state.R.numpy()[None])[0]
    np.testing.assert_allclose(points[-1].get_offsets(), wanted)


def test_the_animation_has_a_frame_for_each_time(tmp_path):
    problem = experiment()
    theory = problem.solve("ode", times=[0, 1, 2, 4])
    target = animate_plane(theory, problem.data_model, tmp_path / "plane.gif")
    with Image.open(target) as found:
        assert found.n_frames == 4
    animate_plane(theory, problem.data_model, target, frames=2, time_unit="t*D")
    with Image.open(target) as found:
        assert found.n_frames == 2
    assert [path.name for path in tmp_path.iterdir()] == ["plane.gif"]


def test_what_cannot_be_drawn_is_refused(tmp_path):
    problem = experiment()
    theory = problem.solve("ode", times=[0, 1])
    errors = gd.Trajectory([0.0, 1.0], {"pmse": np.ones(2)}, "theory")
    other = gd.data_model("ring", dim=DIM, clusters_per_label=3)
    rest = problem.solve("state-evolution", method="damped", tolerance=1e9)
    run = problem.simulate(times=[0, 1], replicas=2, test_size=10)
    centred = gd.data_model("isotropic", means=np.zeros((1, DIM)), labels=[1], variance=1.0)
    for subject, mixture, options, match in [
        (errors, problem.data_model, {}, "no order parameters"),
        (theory, other, {}, "has 4 clusters but the mixture 6"),
        (rest, problem.data_model, {}, "no finite time"),
        (run, problem.data_model, {"replica": 2}, "`replica` is 2"),
        (theory, problem.data_model, {"time_unit": "hours"}, "`time_unit`"),
        (theory, centred, {}, "all means"),
    ]:
        with pytest.raises(RangeError, match=match):
            plot_plane(subject, mixture, **options)
    with pytest.raises(RangeError, match=r"ends in \.gif"):
        animate_plane(theory, problem.data_model, tmp_path / "plane.mp4")
