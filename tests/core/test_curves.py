"""Curves of one's own: in a trajectory, its files, comparisons and figures."""

from __future__ import annotations

import numpy as np
import pytest

import gmmdyn as gd
from gmmdyn.errors import ShapeError, UnknownCurveError
from gmmdyn.plot import plot_errors, plot_order_parameters, plot_trajectory

TIMES = np.array([0.0, 1.0, 10.0])


def simulated(replicas: int = 4) -> gd.Trajectory:
    """Replicas whose own curves have known means and spreads."""
    spread = np.arange(replicas) - (replicas - 1) / 2
    pmse = 0.5 + 0.01 * np.tile(spread, (3, 1))
    margin = np.array([0.0, -1.0, 2.0])[:, None] + spread
    overlap = np.einsum("t,ab->tab", [1.0, 2.0, 3.0], [[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]])
    overlap = overlap[:, None] + spread[:, None, None]
    curves = {
        "pmse": pmse,
        "margin": gd.Curve(margin),
        "overlap": gd.Curve(overlap, ("class", "direction")),
    }
    return gd.Trajectory(TIMES, curves, "simulation")


def predicted() -> gd.Trajectory:
    whole = simulated(1)
    curves = {
        name: gd.Curve(value[:, 0], whole.dimensions[name]) for name, value in whole.curves.items()
    }
    curves["pmse"] = curves["pmse"].values
    return gd.Trajectory(TIMES, curves, "theory")


def test_a_curve_of_ones_own_is_an_attribute_with_named_dimensions():
    run = simulated()
    assert run.overlap.shape == (3, 4, 3, 2)
    assert run.margin is run["margin"]
    assert run.dimensions == {"pmse": (), "margin": (), "overlap": ("class", "direction")}
    assert run.replicas == 4
    assert "overlap (3, 4, 3, 2)" in repr(run)
    dataset = run.to_xarray()
    assert dataset["overlap"].dims == ("time", "replica", "class", "direction")
    assert dataset["margin"].dims == ("time", "replica")
    with pytest.raises(UnknownCurveError, match="did you mean `overlap`"):
        run.overlapp  # noqa: B018


def test_files_keep_the_names_of_dimensions(tmp_path):
    run = simulated()
    for one in (run, run.mean()):
        again = gd.Trajectory.load(one.save(tmp_path / "run.nc"))
        assert again.dimensions == one.dimensions
        for group in ("curves", "errors"):
            ours, theirs = getattr(one, group), getattr(again, group)
            assert list(ours) == list(theirs)
            for name, value in ours.items():
                np.testing.assert_array_equal(theirs[name], value)


def test_the_mean_over_replicas_has_the_standard_error_of_the_mean():
    """Of -1.5, -0.5, 0.5, 1.5: the variance is 5/3, that of the mean 5/12."""
    mean = simulated().mean()
    np.testing.assert_allclose(mean.margin, [0, -1, 2])
    np.testing.assert_allclose(mean.overlap[1], [[2, 4], [6, 8], [10, 12]])
    np.testing.assert_allclose(mean.errors["overlap"], np.sqrt(5 / 12))
    assert mean.replicas is None
    assert mean.dimensions["overlap"] == ("class", "direction")


def test_shared_curves_are_compared_whatever_their_name():
    shifted = predicted()
    own = {name: gd.Curve(shifted[name], shifted.dimensions[name]) for name in ("overlap",)}
    moved = gd.Curve(shifted.margin + 2 * np.sqrt(5 / 12))
    theory = gd.Trajectory(TIMES, {"pmse": shifted.pmse, "margin": moved, **own}, "theory")
    compared = gd.compare(simulated(), theory)
    assert compared.names == ("pmse", "margin", "overlap")
    np.testing.assert_allclose(compared.z_scores("margin"), -2)
    np.testing.assert_allclose(compared.z_scores("overlap"), 0, atol=1e-12)
    assert "Largest |z| of margin: 2.0" in compared.table()
    other = gd.Trajectory(TIMES, {"overlap": gd.Curve(own["overlap"].values, ("b", "a"))}, "theory")
    with pytest.raises(ShapeError, match=r"`overlap` of `simulated` has .*class, dir.*b, a"):
        gd.compare(simulated(), other)


@pytest.mark.parametrize(
    ("curves", "sentence"),
    [
        ({"lost": np.zeros(2)}, r"unknown curve `lost`; .*`gd.Curve\(array\)` for one number"),
        ({"lost": np.zeros((2, 3, 3))}, r"give `gd.Curve\(array, dims\)` with the names"),
        ({"times": gd.Curve(np.zeros(2))}, "`times` cannot be the name of a curve"),
        ({"mean": gd.Curve(np.zeros(2))}, "`mean` cannot be the name of a curve"),
        ({"dimensions": gd.Curve(np.zeros(2))}, "`dimensions` cannot be the name"),
        ({"replica": gd.Curve(np.zeros(2))}, "`replica` cannot be the name"),
        ({"two words": gd.Curve(np.zeros(2))}, "give an identifier"),
        ({"lost_se": gd.Curve(np.zeros(2))}, "`lost_se` cannot be the name"),
        ({"lost": gd.Curve(np.zeros((2, 3)), ("a", "b"))}, "does not fit 2 times and .* a, b"),
        ({"lost": gd.Curve(np.zeros((3, 2)), ("a",))}, "does not fit 2 times and .* a"),
        (
            {"v": np.zeros((2, 3)), "lost": gd.Curve(np.zeros((2, 4)), ("unit",))},
            "`lost` has 4 entries along `unit`, which is 3 long in `v`",
        ),
        (
            {"lost": gd.Curve(np.zeros((2, 4)), ("pmse",)), "pmse": np.zeros(2)},
            "along `pmse`, which is the name of a curve",
        ),
        (
            {"pmse": np.zeros((2, 3)), "lost": gd.Curve(np.zeros((2, 4)))},
            "the same replicas, or none has; here `pmse` 3, `lost` 4",
        ),
        (
            {"pmse": np.zeros((2, 3)), "lost": gd.Curve(np.zeros(2))},
            "here `pmse` 3, `lost` none",
        ),
    ],
)
def test_what_cannot_be_a_curve_is_refused(curves, sentence):
    with pytest.raises(ShapeError, match=sentence):
        gd.Trajectory([0, 1], curves, "simulation")


@pytest.mark.parametrize(
    ("shape", "dims", "sentence"),
    [
        ((3,), "class", "`dims` is 'class'; give a tuple"),
        ((3,), ("time",), "names other than `time`"),
        ((3,), ("two words",), "give a tuple of names"),
        ((3, 3), ("a", "a"), "a name of its own"),
        ((3,), ("a", "b"), r"`values` has shape \(3,\)"),
    ],
)
def test_dimensions_that_cannot_be_are_refused(shape, dims, sentence):
    with pytest.raises(ShapeError, match=sentence):
        gd.Curve(np.zeros(shape), dims)


def test_one_number_a_time_has_a_panel_beside_the_errors():
    figure = plot_trajectory(simulated())
    assert [axes.get_ylabel() for axes in figure.axes][1:] == ["margin"]
    low, _ = figure.axes[1].get_ylim()
    assert low < -1  # the axis of a curve that is negative does not start at 0
    both = plot_errors(gd.compare(simulated(), predicted()))
    (line,) = [line for line in both.axes[1].get_lines() if line.get_label() == "theory"]
    np.testing.assert_allclose(line.get_ydata(), [-1, 2])  # t = 0 has no place on its axis


def test_others_have_a_panel_beside_the_order_parameters():
    figure = plot_order_parameters(simulated())
    (axes,) = figure.axes
    assert axes.get_ylabel() == "overlap"
    assert len(axes.containers) == 3 * 2
    (legend,) = figure.legends
    texts = [text.get_text() for text in legend.get_texts()]
    assert texts == ["simulation", "\nclass", "0", "1", "2"]
