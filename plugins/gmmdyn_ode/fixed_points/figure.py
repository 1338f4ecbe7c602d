"""Figures of fixed points: errors along a parameter, or of all that were found."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from gmmdyn.plot import style

if TYPE_CHECKING:
    import xarray as xr

_OPEN = {"markerfacecolor": "white"}
_MARKERS: dict[str, dict[str, Any]] = {
    "stable": {"marker": "o", "linestyle": "none"},
    "marginal": {"marker": "o", "linestyle": "none", "fillstyle": "left"},
    "saddle": {"marker": "o", "linestyle": "none", **_OPEN},
    "stability unknown": {"marker": "s", "linestyle": "none", **_OPEN},
    "not converged": {"marker": "x", "linestyle": "none"},
}


def plot_fixed_points(dataset: xr.Dataset, path: str | Path | None = None) -> Figure:
    """Draw both errors of fixed points.

    Args:
        dataset: from `gmmdyn.follow_fixed_point` or `gmmdyn.find_fixed_points`.
        path: a PNG or PDF file to write as well; an existing one is replaced.

    Returns:
        The errors against the parameter or the number of the fixed point: stable ones as filled
        points, marginal ones as half filled, others as open ones, what did not converge as a cross,
        with the Bayes error as a dashed line where it is the same for all. A line joins neighbours
        on one branch that are both unstable or both not; each branch has its colour. A parameter
        whose values are all positive and span more than a decade has a logarithmic axis.

    Raises:
        RangeError: if the ending of `path` is unknown.
        OutputError: if it cannot be written.
    """
    name = str(dataset["message"].dims[0])
    about = json.loads(dataset.attrs["fixed_points"])
    drawn = [label for label in style.LABELS if label in dataset]
    with mpl.rc_context(style.RC):
        figure = style.new_figure(4.8 * max(1, len(drawn)), 4.0)
        panels = figure.subplots(1, max(1, len(drawn)), squeeze=False)[0]
        for label, axes in zip(drawn, panels, strict=False):
            _draw(axes, dataset, name, label)
            bayes = about.get("bayes_error")
            if label == "classification_error" and bayes is not None:
                axes.axhline(bayes, linestyle="--", color=style.BAYES, label="Bayes error")
            axes.legend(handles=_legend(dataset, axes))
        sections = (about["base"].get("data_model") or {}, about["base"].get("network") or {})
        figure.suptitle(" · ".join(str(s["name"]) for s in sections if "name" in s))
    if path is not None:
        style.save_figure(figure, path)
    return figure


def _draw(axes: Axes, dataset: xr.Dataset, name: str, label: str) -> None:
    x, y = dataset[name].to_numpy(), dataset[label].to_numpy()
    along = name != "fixed_point"
    branches, looks = _branches(dataset), _looks(dataset)
    colours = _colours(branches)
    for run in _runs(branches, looks, np.isfinite(y)) if along else []:
        axes.plot(x[run], y[run], color=colours[branches[run.start]], linewidth=1.0, zorder=2)
    for here, there, branch, look in zip(x, y, branches, looks, strict=True):
        if np.isfinite(there):
            axes.plot(here, there, color=colours[branch], zorder=3, **_MARKERS[look])
    axes.set_xlabel(name.replace("_", " "))
    axes.set_ylabel(style.LABELS[label])
    if along and bool((x > 0).all()) and x.max() > 10 * x.min():
        style.logarithmic_axis(axes, "x")
    elif not along:
        axes.set_xticks(x)
    # The highest marker is whole.
    axes.set_ylim(0, 1.08 * float(np.nanmax(y, initial=0.0)) or None)


def _branches(dataset: xr.Dataset) -> list[int]:
    if "branch" in dataset:
        return [int(number) for number in dataset["branch"].to_numpy()]
    return [0] * dataset["message"].size


def _looks(dataset: xr.Dataset) -> list[str]:
    """Return the key of `_MARKERS` of each fixed point."""
    pairs = zip(dataset["stability"].to_numpy(), dataset["message"].to_numpy(), strict=True)
    return [
        "not converged" if message else str(word) if word in _MARKERS else "stability unknown"
        for word, message in pairs
    ]


def _colours(branches: list[int]) -> dict[int, str]:
    """Return the colour of each branch: one alone has that of all theory, what is on none grey."""
    numbers = sorted({number for number in branches if number >= 0})
    palette = [style.THEORY] if len(numbers) < 2 else style.colours(len(numbers))
    return {-1: style.BAYES, **dict(zip(numbers, palette, strict=False))}


def _runs(branches: list[int], looks: list[str], drawn: np.ndarray) -> list[slice]:
    """Return the stretches that a line joins: of one branch and either unstable or not."""
    kinds = [
        (branch, "stable" if look == "marginal" else look) if there and branch >= 0 else None
        for branch, look, there in zip(branches, looks, drawn, strict=True)
    ]
    runs, start = [], 0
    for stop in range(1, len(kinds) + 1):
        if stop == len(kinds) or kinds[stop] != kinds[start]:
            if kinds[start] is not None and stop - start > 1:
                runs.append(slice(start, stop))
            start = stop
    return runs


def _legend(dataset: xr.Dataset, axes: Axes) -> list[Any]:
    """Return what explains the markers, the colours and the Bayes error."""
    branches, looks = _branches(dataset), _looks(dataset)
    colours = _colours(branches)
    plain = style.THEORY if len(colours) < 3 else "black"
    marks = [
        Line2D([], [], color=plain, label=look, **mark)
        for look, mark in _MARKERS.items()
        if look in looks
    ]
    lines = [
        Line2D([], [], color=colour, linewidth=1.0, label=f"branch {number}")
        for number, colour in colours.items()
        if number >= 0 and len(colours) > 2
    ]
    others = [line for line in axes.get_lines() if not str(line.get_label()).startswith("_")]
    return [*marks, *lines, *others]
