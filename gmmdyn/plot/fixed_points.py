"""Figures of fixed points: errors along a parameter, or of all that were found."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from gmmdyn.plot import style
from gmmdyn.plot.curves import LABELS

if TYPE_CHECKING:
    import xarray as xr


def plot_fixed_points(dataset: xr.Dataset, path: str | Path | None = None) -> Figure:
    """Draw both errors of fixed points.

    Args:
        dataset: from `gmmdyn.follow_fixed_point` or `gmmdyn.find_fixed_points`.
        path: a PNG or PDF file to write as well; an existing one is replaced.

    Returns:
        Stable ones as filled points, others as open ones, against the parameter or the number of
        the fixed point, with the Bayes error as a dashed line where it is the same for all. A
        parameter whose values are all positive and span more than a decade has a logarithmic axis.

    Raises:
        RangeError: if the ending of `path` is unknown.
        OutputError: if it cannot be written.
    """
    name = str(dataset["message"].dims[0])
    about = json.loads(dataset.attrs["fixed_points"])
    drawn = [label for label in LABELS if label in dataset]
    with mpl.rc_context(style.RC):
        figure = style.new_figure(4.8 * max(1, len(drawn)), 4.0)
        panels = figure.subplots(1, max(1, len(drawn)), squeeze=False)[0]
        for label, axes in zip(drawn, panels, strict=False):
            _draw(axes, dataset, name, label)
            bayes = about.get("bayes_error")
            if label == "classification_error" and bayes is not None:
                axes.axhline(bayes, linestyle="--", color=style.BAYES, label="Bayes error")
            axes.legend()
        sections = (about["base"].get("data_model") or {}, about["base"].get("network") or {})
        figure.suptitle(" · ".join(str(s["name"]) for s in sections if "name" in s))
    if path is not None:
        style.save_figure(figure, path)
    return figure


def _draw(axes: Axes, dataset: xr.Dataset, name: str, label: str) -> None:
    x, y = dataset[name].to_numpy(), dataset[label].to_numpy()
    stable = dataset["stability"].to_numpy() == "stable"
    along = name != "fixed_point"
    if along:
        axes.plot(x, y, color=style.THEORY, linewidth=1.0, zorder=2)
    for mask, face, text in ((stable, style.THEORY, "stable"), (~stable, "white", "not stable")):
        if bool((mask & np.isfinite(y)).any()):
            axes.plot(
                x[mask],
                y[mask],
                "o",
                color=style.THEORY,
                markerfacecolor=face,
                label=text,
                zorder=3,
            )
    axes.set_xlabel(name.replace("_", " "))
    axes.set_ylabel(LABELS[label])
    if along and bool((x > 0).all()) and x.max() > 10 * x.min():
        style.logarithmic_axis(axes, "x")
    elif not along:
        axes.set_xticks(x)
    axes.set_ylim(bottom=0)
