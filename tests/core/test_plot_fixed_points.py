"""Figures of fixed points join neighbours on one branch, and nothing else."""

from __future__ import annotations

import numpy as np
import pytest

from gmmdyn import Trajectory
from gmmdyn.plot import plot_fixed_points
from gmmdyn_ode.fixed_points.dataset import assemble
from gmmdyn_ode.fixed_points.kept import Entry


def branch_of(*points):
    """Points of (value, pmse, branch, stability)."""
    entries = []
    for _, pmse, branch, stability in points:
        curves = {"pmse": [pmse], "classification_error": [0.1]}
        about = {"stability": stability, "solver": {"residual": 0.0}}
        message = "it gave up" if stability == "failed" else ""
        found = Trajectory([np.inf], curves, "theory", metadata=about)
        entries.append(Entry(found, message, branch))
    values = [value for value, *_ in points]
    dataset = assemble("weight_decay", values, entries, {"base": {}, "bayes_error": 0.05})
    return dataset.assign(branch=("weight_decay", [entry.branch for entry in entries]))


def joined(axes):
    """The values that each solid line joins."""
    return [line.get_xdata().tolist() for line in axes.get_lines() if line.get_linestyle() == "-"]


def marked(axes):
    """The marker, its filling and the colour at each value."""
    lines = [line for line in axes.get_lines() if line.get_linestyle() == "None"]
    return {
        float(line.get_xdata()[0]): (
            line.get_marker(),
            line.get_fillstyle(),
            line.get_markerfacecolor() == "white",
            line.get_color(),
        )
        for line in lines
    }


def test_no_line_joins_branches_or_stable_and_unstable_points():
    dataset = branch_of(
        (1.0, 0.5, 0, "stable"),
        (2.0, 0.4, 0, "marginal"),
        (3.0, 0.4, 0, "saddle"),
        (4.0, 0.3, 0, "saddle"),
        (5.0, 0.2, 1, "saddle"),
        (6.0, 0.2, 1, "stable"),
        (7.0, 0.2, -1, "failed"),
        (8.0, 0.2, 1, "stable"),
        (9.0, 0.2, 1, "stable"),
    )
    for axes in plot_fixed_points(dataset).axes:
        assert joined(axes) == [[1.0, 2.0], [3.0, 4.0], [8.0, 9.0]]


def test_markers_tell_stability_and_colours_tell_branches(tmp_path):
    dataset = branch_of(
        (1.0, 0.5, 0, "stable"),
        (2.0, 0.4, 0, "marginal"),
        (3.0, 0.4, 0, "saddle"),
        (4.0, 0.3, 1, "unknown"),
        (5.0, 0.3, -1, "failed"),
    )
    figure = plot_fixed_points(dataset, tmp_path / "found.png")
    marks = marked(figure.axes[0])
    assert [marks[value][0] for value in (1.0, 2.0, 3.0, 4.0, 5.0)] == ["o", "o", "o", "s", "x"]
    assert [marks[value][1] for value in (1.0, 2.0)] == ["full", "left"]
    assert [marks[value][2] for value in (1.0, 3.0)] == [False, True]
    assert marks[1.0][3] == marks[3.0][3] != marks[4.0][3]
    legend = [text.get_text() for text in figure.axes[0].get_legend().get_texts()]
    states = ["stable", "marginal", "saddle", "stability unknown", "not converged"]
    assert legend == [*states, "branch 0", "branch 1"]


def test_one_branch_is_not_numbered():
    figure = plot_fixed_points(branch_of((1.0, 0.5, 0, "stable"), (2.0, 0.4, 0, "stable")))
    legends = [[text.get_text() for text in axes.get_legend().get_texts()] for axes in figure.axes]
    assert legends == [["stable"], ["stable", "Bayes error"]]


def test_what_has_no_pmse_is_left_out():
    dataset = branch_of((1.0, 0.5, 0, "stable"), (2.0, 0.4, 0, "stable"), (3.0, 0.3, 0, "stable"))
    dataset["pmse"][1] = np.nan
    axes = plot_fixed_points(dataset).axes[0]
    assert joined(axes) == []
    assert sorted(marked(axes)) == [1.0, 3.0]


@pytest.mark.parametrize("values", [(1.0, 2.0), (0.0, 20.0)])
def test_the_axis_is_linear_unless_positive_values_span_a_decade(values):
    dataset = branch_of(*((value, 0.5, 0, "stable") for value in values))
    assert plot_fixed_points(dataset).axes[0].get_xscale() == "linear"
