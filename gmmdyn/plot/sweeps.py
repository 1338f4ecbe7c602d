"""Figures of sweeps: phase diagrams of two parameters, curves of one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from gmmdyn import checks
from gmmdyn.errors import RangeError
from gmmdyn.plot import style
from gmmdyn.sweeping.dataset import final_values

if TYPE_CHECKING:
    import xarray as xr


def plot_sweep(
    dataset: xr.Dataset,
    path: str | Path | None = None,
    x: str | None = None,
    y: str | None = None,
) -> Figure:
    """Draw both errors at the last time against one or two swept parameters.

    Args:
        dataset: from `gmmdyn.sweep`; select among further parameters before, with `isel` or `sel`.
        path: a PNG or PDF file to write as well; an existing one is replaced.
        x: the parameter on the horizontal axis; by default the last one.
        y: the parameter on the vertical axis of a phase diagram; by default the one before.

    Returns:
        For one parameter two curves, for two parameters two heat maps, with points that failed in
        grey. Parameters at equal ratios have a logarithmic axis. Replicas are averaged.

    Raises:
        RangeError: if there are no or more than two parameters, or one of that name is missing, or
            the ending of `path` is unknown.
        OutputError: if it cannot be written.
    """
    names = [str(name) for name in dataset["message"].dims]
    if len(names) not in (1, 2):
        raise RangeError(
            f"the sweep has {len(names)} parameters; select values with `isel` or `sel` until one "
            "or two are left."
        )
    across = checks.choice("x", names[-1] if x is None else x, names)
    rest = [name for name in names if name != across]
    if rest and y is not None:
        checks.choice("y", y, rest)
    drawn = [name for name in style.LABELS if name in dataset]
    with mpl.rc_context(style.RC):
        figure = style.new_figure(5.2 * len(drawn), 4.2)
        panels = figure.subplots(1, len(drawn), squeeze=False)[0]
        for name, axes in zip(drawn, panels, strict=True):
            final = final_values(dataset, name)
            if rest:
                _heat_map(figure, axes, final.transpose(rest[0], across), name)
            else:
                _curve(axes, final)
                axes.set_ylabel(style.LABELS[name])
        figure.suptitle(_title(dataset))
    if path is not None:
        style.save_figure(figure, path)
    return figure


def _heat_map(figure: Figure, axes: Axes, values: xr.DataArray, name: str) -> None:
    vertical, horizontal = (str(dim) for dim in values.dims)
    x, x_log = _edges(values[horizontal].to_numpy())
    y, y_log = _edges(values[vertical].to_numpy())
    axes.set_facecolor("#bbbbbb")
    mesh = axes.pcolormesh(x, y, np.ma.masked_invalid(values.to_numpy()), cmap="viridis")
    bar = figure.colorbar(mesh, ax=axes)
    bar.set_label(style.LABELS[name])
    for which, label, logarithmic in (("x", horizontal, x_log), ("y", vertical, y_log)):
        axes.set(**{f"{which}label": label.replace("_", " ")})
        coordinate = values[label]
        if coordinate.dtype.kind not in "if":
            axes.set(**{f"{which}ticks": range(coordinate.size)})
            axes.set(**{f"{which}ticklabels": coordinate.to_numpy().tolist()})
        elif logarithmic:
            style.logarithmic_axis(axes, which)


def _curve(axes: Axes, values: xr.DataArray) -> None:
    name = str(values.dims[0])
    coordinate = values[name].to_numpy()
    numeric = coordinate.dtype.kind in "if"
    axes.plot(
        coordinate if numeric else np.arange(coordinate.size),
        values.to_numpy(),
        "o-",
        color=style.PALETTE[0],
    )
    axes.set_xlabel(name.replace("_", " "))
    axes.set_ylim(bottom=0)
    if not numeric:
        axes.set_xticks(range(coordinate.size), coordinate.tolist())
    elif _edges(coordinate)[1]:
        style.logarithmic_axis(axes, "x")


def _edges(values: np.ndarray) -> tuple[np.ndarray, bool]:
    """Return the edges of cells around values, and whether these are at equal ratios."""
    if values.dtype.kind not in "if":
        return np.arange(values.size + 1) - 0.5, False
    values = values.astype(float)
    if values.size == 1:
        width = 0.5 * abs(values[0]) or 0.5
        return np.array([values[0] - width, values[0] + width]), False
    logarithmic = bool((values > 0).all())
    if logarithmic:
        ratios = np.diff(np.log(values))
        steps = np.diff(values)
        logarithmic = bool(np.ptp(np.abs(ratios)) < np.ptp(np.abs(steps)) / np.abs(steps).max())
    scaled = np.log(values) if logarithmic else values
    middle = (scaled[1:] + scaled[:-1]) / 2
    ends = (2 * scaled[:1] - middle[:1], 2 * scaled[-1:] - middle[-1:])
    edges = np.concatenate([ends[0], middle, ends[1]])
    return np.exp(edges) if logarithmic else edges, logarithmic


def _title(dataset: xr.Dataset) -> str:
    about: dict[str, Any] = json.loads(dataset.attrs.get("sweep", "{}"))
    base = about.get("base", {})
    parts = [
        str(section["name"])
        for section in (base.get("data_model"), base.get("network"))
        if isinstance(section, dict) and "name" in section
    ]
    runs = {"solve": "theory", "simulate": "simulation"}
    parts.append(runs.get(str(about.get("run")), ""))
    time = dataset["time"].to_numpy()[-1] if "time" in dataset.coords else None
    if time is not None:
        parts.append("fixed point" if np.isinf(time) else f"t = {time:.4g}")
    return " · ".join(filter(None, parts))
