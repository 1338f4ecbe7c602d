"""Many fixed points: along a parameter, from many starts, and which of them are one."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

import gmmdyn as gd
from gmmdyn.errors import ConfigError, ConvergenceError, DataError, RangeError, ShapeError
from gmmdyn.experiment.configuration import Configuration
from gmmdyn.fixed_points.symmetry import distance, symmetries
from gmmdyn.fixed_points.table import table
from gmmdyn.plot import plot_fixed_points
from gmmdyn.trajectory.files import write_netcdf


def linear(decay=0.05, dim=100, hidden=1):
    """One unit, g(x) = x, two opposite clusters: its fixed points have a closed form."""
    mixture = gd.data_model("ring", dim=dim, clusters_per_label=1, variance=0.0)
    network = gd.network(
        "committee", dim=dim, hidden=hidden, activation="linear", init_scale=0.5, seed=3
    )
    return gd.Experiment(mixture, network, gd.OnlineSGD(0.2, decay))


def test_a_branch_follows_its_closed_form_to_the_collapse():
    """Without noise and with |w| = |v| = s on the mean, s (1 - s²) = kappa s: s² = 1 - kappa.

    At kappa > 1 only s = 0 is left. pmse = (1 - s²)²/2 = kappa²/2.
    """
    decays = [0.05, 0.2, 0.5, 1.2]
    branch = gd.follow_fixed_point(linear(), "weight_decay", decays)
    assert branch["weight_decay"].values.tolist() == decays
    s2 = np.array([0.95, 0.8, 0.5, 0.0])
    np.testing.assert_allclose(branch["v"].values[:, 0] ** 2, s2, atol=1e-8)
    np.testing.assert_allclose(branch["pmse"], (1 - s2) ** 2 / 2, atol=1e-8)
    assert (branch["stability"] == "stable").all()
    assert (branch["residual"] < 1e-12).all()
    # The network without weights is a fixed point at every decay: another branch.
    assert branch["branch"].values.tolist() == [0, 0, 0, 1]
    (ended,) = json.loads(branch.attrs["fixed_points"])["ended"]
    assert (ended["branch"], ended["why"], ended["next"]) == (0, "ended", 1.2)
    assert ended["last"] < 1 <= ended["beyond"] < 1.06 * ended["last"]
    # Along the branch d/dt of s: eta (1 - 3 s² - kappa) = -2 eta s².
    slowest = branch["eigenvalue"].values[:3].max(axis=1)
    assert (slowest < 0).all()
    sought = -2 * 0.2 * s2[:3]
    assert (np.abs(branch["eigenvalue"].values[:3] - sought[:, None]).min(axis=1) < 1e-7).all()


def test_a_branch_can_change_the_mixture_and_is_kept_in_a_file(tmp_path):
    branch = gd.follow_fixed_point(linear(), "data_model.variance", [0.0, 0.1])
    single = gd.Experiment(
        gd.data_model("ring", dim=100, clusters_per_label=1, variance=0.1),
        linear().network,
        linear().algorithm,
    ).solve("state-evolution")
    np.testing.assert_allclose(branch["pmse"][1], single.pmse[0], atol=1e-8)
    path = write_netcdf(tmp_path / "branch.nc", branch)
    again = gd.load_fixed_points(path)
    assert again.identical(branch) or again.equals(branch)
    assert json.loads(again.attrs["fixed_points"])["along"] == "data_model.variance"
    lines = table(branch).splitlines()
    assert lines[0].split()[:4] == ["variance", "branch", "pmse", "error"]
    assert lines[2].split()[0] == "0.1"
    assert f"{single.pmse[0]:.6f}" in lines[2]
    assert lines[2].endswith("  stable")
    assert branch["branch"].values.tolist() == [0, 0]
    with pytest.raises(DataError, match="give one with fixed points"):
        gd.load_fixed_points(tmp_path / "none.nc")
    figure = plot_fixed_points(branch, tmp_path / "branch.png")
    assert (tmp_path / "branch.png").stat().st_size > 5000
    assert figure.axes[0].get_xlabel() == "variance"


def test_a_point_that_fails_is_named_and_the_branch_goes_on():
    branch = gd.follow_fixed_point(
        linear(), "weight_decay", [0.05, 0.1], method="damped", max_evaluations=3
    )
    assert all("stopped at the residual" in text for text in branch["message"].values.tolist())
    assert branch["branch"].values.tolist() == [-1, -1]
    assert branch["stability"].values.tolist() == ["", ""]
    rows = [line.split() for line in table(branch).splitlines()[1:3]]
    assert all(row[1] == "-" and row[-2:] == ["not", "converged"] for row in rows)


def test_what_a_branch_refuses():
    with pytest.raises(ConfigError, match="no option `weight_dekay`"):
        gd.follow_fixed_point(linear(), "weight_dekay", [0.1])
    with pytest.raises(ConfigError, match="`values` is empty"):
        gd.follow_fixed_point(linear(), "weight_decay", [])
    with pytest.raises(RangeError, match="`snr` is 'high'"):
        gd.follow_fixed_point("xor", "snr", ["high"])
    with pytest.raises(ConfigError, match="no parameter of the experiment"):
        gd.follow_fixed_point(linear(), "theory.tolerance", [1e-9])
    with pytest.raises(ConfigError, match="`hidden` changes how many units"):
        gd.follow_fixed_point(linear(), "hidden", [1, 2])
    with pytest.raises(ConfigError, match="`clusters_per_label` changes how many units"):
        gd.follow_fixed_point(linear(), "clusters_per_label", [1, 2])
    with pytest.raises(RangeError, match="`weight_decay` is -1"):  # before the first is looked for
        gd.follow_fixed_point(linear(), "weight_decay", [0.1, -1.0], tolerance=1e-300)
    other = linear(hidden=2).network.order_parameters(linear().data_model)
    with pytest.raises(ShapeError, match=r"`initial` has R of shape \(2, 2\); give shape \(2, 1\)"):
        gd.follow_fixed_point(linear(), "weight_decay", [0.1], initial=other)


def test_many_starts_find_the_fixed_points_once_each():
    """s and -s are one by exchange of the labels, or of w and v with their signs."""
    found = gd.find_fixed_points(linear(), 4, seed=1)
    assert found.sizes["fixed_point"] == 1
    assert found["starts"].values.tolist() == [4]
    np.testing.assert_allclose(found["pmse"], 0.05**2 / 2, atol=1e-8)
    assert "starts" in table(found).splitlines()[0]


def test_starts_that_fail_are_counted():
    with pytest.raises(ConvergenceError):
        gd.find_fixed_points(linear(), 2, method="damped", max_evaluations=3)
    with pytest.raises(RangeError, match="`starts`"):
        gd.find_fixed_points(linear(), 0)


def test_the_symmetries_of_the_xor_are_those_of_the_square():
    """Eight, of which four keep the labels and four exchange them."""
    found = symmetries(gd.data_model("xor", dim=10))
    assert len(found) == 8
    assert sum(symmetry.sign > 0 for symmetry in found) == 4
    unequal = symmetries(gd.data_model("xor", dim=10, rho=0.3))
    assert len(unequal) == 4
    assert all(symmetry.sign > 0 for symmetry in unequal)


def test_distance_knows_a_permutation_and_a_rotation():
    mixture = gd.data_model("xor", dim=50)
    generator = torch.Generator().manual_seed(0)
    w = torch.randn(3, 50, generator=generator, dtype=torch.float64)
    w[:, :2] *= 5
    v = torch.tensor([0.3, -0.7, 1.1], dtype=torch.float64)
    one = mixture.order_parameters(w, v)
    turned = w.clone()
    turned[:, 0], turned[:, 1] = -w[:, 1], w[:, 0]  # a quarter turn exchanges the labels
    two = mixture.order_parameters(turned[[2, 0, 1]], -v[[2, 0, 1]])
    allowed = symmetries(mixture)
    assert distance(one, two, allowed) < 1e-12
    assert distance(one, two, allowed[:1]) > 0.01
    wrong = mixture.order_parameters(turned[[2, 0, 1]], v[[2, 0, 1]])
    assert distance(one, wrong, allowed) > 0.01


def test_a_parameter_of_the_activation_can_be_followed():
    """With slope 1 the leaky unit is linear: s² = 1 - kappa, as above."""
    mixture = gd.data_model("ring", dim=100, clusters_per_label=1, variance=0.0)
    network = gd.network(
        "committee",
        dim=100,
        hidden=1,
        activation=gd.activation("leaky-relu", slope=0.9),
        init_scale=0.5,
        seed=3,
    )
    experiment = gd.Experiment(mixture, network, gd.OnlineSGD(0.2, 0.05))
    found = gd.follow_fixed_point(experiment, "network.activation.slope", [0.9, 1.0])
    assert found["activation.slope"].values.tolist() == [0.9, 1.0]
    np.testing.assert_allclose(found["v"].values[1, 0] ** 2, 0.95, atol=1e-8)


@pytest.mark.science
def test_the_documented_branch_is_left_for_the_fixed_point_of_a_single_search():
    """XOR, informed: near kappa = 0.029 the symmetric fixed point becomes a saddle."""
    base = Configuration.load("xor").updated("network", {"init": "informed"})
    decays = [0.1, 0.0316227766, 0.01, 0.00316227766]
    found = gd.follow_fixed_point(base, "weight_decay", decays)
    assert (found["stability"] == "stable").all()
    assert found["branch"].values.tolist() == [0, 0, 1, 1]
    singles = [
        gd.Experiment.from_configuration(base.updated("algorithm", {"weight_decay": decay})).solve(
            "state-evolution"
        )
        for decay in decays
    ]
    np.testing.assert_allclose(found["pmse"], [each.pmse[0] for each in singles], rtol=2e-4)
    (ended,) = json.loads(found.attrs["fixed_points"])["ended"]
    assert (ended["branch"], ended["why"]) == (0, "unstable")
    assert 0.01 < ended["beyond"] < ended["last"] < 0.0316227766


@pytest.mark.science
def test_the_fixed_points_of_four_units_on_the_xor():
    """The best one has a unit for each mean; others leave out one mean or more."""
    mixture = gd.data_model("xor", dim=1000, variance=0.05)
    network = gd.network("committee", dim=1000, hidden=4)
    experiment = gd.Experiment(mixture, network, gd.OnlineSGD(0.1, 0.05))
    found = gd.find_fixed_points(experiment, 24, seed=2)
    assert 2 <= found.sizes["fixed_point"] <= 6
    # Which mean has two units makes another fixed point, but hardly another error.
    assert (np.diff(found["pmse"]) >= 0).all()
    assert float(found["pmse"][1] - found["pmse"][0]) > 0.1
    best = found.isel(fixed_point=0)
    assert best["stability"] == "stable"
    assert abs(float(best["classification_error"]) - 0.0016) < 1e-4
    bayes = mixture.bayes_error().value
    assert (found["classification_error"] > bayes - 3 * found["classification_error_se"]).all()
