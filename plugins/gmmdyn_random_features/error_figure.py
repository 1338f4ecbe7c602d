"""Errors of random features against the noise, and their collapse."""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from scipy.special import ndtr, ndtri

from gmmdyn.errors import RangeError, ShapeError
from gmmdyn.plot import style

if TYPE_CHECKING:
    import xarray as xr

# The probit of the leading order in 1/D is off by about 0.1 where gamma/(D sigma²) is 0.1, by 0.3
# where it is 0.6 (XOR, ReLU, D from 60 to 600, gamma 2 and 5).
_LARGE = 0.1
_LIMIT = "0.3"


def plot_feature_errors(dataset: xr.Dataset, path: str | Path | None = None) -> Figure:
    r"""Draw the classification error of random features against the noise.

    Args:
        dataset: from `gmmdyn.feature_errors`.
        path: a PNG or PDF file to write as well; an existing one is replaced.

    Returns:
        One row for each geometry. On the left the error against $\sigma$: finite D as points, the
        mean over seeds with its standard deviation where there are several; the leading order in
        1/D as lines, where it is known and $\gamma/(D\sigma^2)$ at most 0.1 (beyond, D is too
        small for it); the Bayes error dashed. On the right, where it is known, the same points
        against $x = \sigma\,(D/(\gamma k(\gamma)))^{1/4}$, with the one curve that the points at a
        given x tend to as D grows.

    Raises:
        RangeError: if the ending of `path` is unknown.
        OutputError: if it cannot be written.
    """
    collapses = bool(np.isfinite(dataset["scaled_noise"]).any())
    names = dataset["geometry"].to_numpy()
    pairs = [(d, g) for d in dataset["dim"].to_numpy() for g in dataset["ratio"].to_numpy()]
    hues = style.colours(len(pairs))
    with mpl.rc_context(style.RC):
        figure = style.new_figure(9.6 if collapses else 5.8, 0.9 + 3.4 * len(names))
        panels = figure.subplots(len(names), 1 + collapses, squeeze=False, sharey=True)
        for name, row in zip(names, panels, strict=True):
            part = dataset.sel(geometry=name)
            for (dim, ratio), hue in zip(pairs, hues, strict=True):
                one = part.sel(dim=dim, ratio=ratio)
                sigma = one["sigma"].to_numpy()
                _draw(row[0], sigma, one, hue)
                limit = one["limit_classification_error"].to_numpy()
                applies = np.isfinite(limit) & (ratio / (dim * sigma**2) <= _LARGE)
                _draw_line(row[0], sigma[applies], limit[applies], hue, 2)
                if collapses:
                    _draw(row[1], one["scaled_noise"].to_numpy(), one, hue)
            if collapses:
                x, limit = (
                    part[name].to_numpy().ravel()
                    for name in ("scaled_noise", "limit_classification_error")
                )
                _draw_line(row[1], x, limit, _LIMIT, 2)
            _draw_bayes(row[0], part)
            row[0].set_ylabel("classification error")
            row[0].set_title(f"{name}", loc="left")
            for axes, label in zip(
                row, (r"noise $\sigma$", r"$\sigma\, (D / [\gamma k(\gamma)])^{1/4}$"), strict=False
            ):
                axes.axhline(0.5, color="0.75", linewidth=0.8, zorder=0)
                axes.set(ylim=(-0.012, 0.53), xlabel=label)
                style.logarithmic_axis(axes, "x")
        settings = json.loads(dataset.attrs["settings"])
        figure.suptitle(
            f"random features · {settings['activation']} · {settings['snr']} SNR"
            + (f" · ridge {settings['ridge']:g}" if settings["ridge"] else "")
            + (f" · {dataset.sizes['seed']} projections" if dataset.sizes["seed"] > 1 else "")
        )
        handles = [
            Line2D([], [], color=hue, marker="o", mfc="w", ls="", label=f"D = {d}, γ = {g:g}")
            for (d, g), hue in zip(pairs, hues, strict=True)
        ]
        if collapses:
            handles.append(Line2D([], [], color=_LIMIT, label=f"D → ∞ (left: γ/(Dσ²) ≤ {_LARGE})"))
        handles.append(Line2D([], [], color=style.BAYES, linestyle="--", label="Bayes error"))
        figure.legend(handles=handles, loc="outside lower center", ncols=min(4, len(handles)))
    if path is not None:
        style.save_figure(figure, path)
    return figure


def _draw(axes: Axes, x: np.ndarray, one: xr.Dataset, hue: str) -> None:
    order = np.argsort(x)
    values = one["classification_error"]
    spread = values.std("seed", ddof=1).to_numpy()[order] if values.sizes["seed"] > 1 else None
    axes.errorbar(
        x[order],
        values.mean("seed").to_numpy()[order],
        yerr=spread,
        fmt="o",
        color=hue,
        markerfacecolor="white",
        zorder=3,
    )


def _draw_line(axes: Axes, x: np.ndarray, error: np.ndarray, hue: str, layer: int) -> None:
    order = np.argsort(x)
    axes.plot(*_between(x[order], error[order]), color=hue, linewidth=1.2, zorder=layer)


def _draw_bayes(axes: Axes, part: xr.Dataset) -> None:
    order = np.argsort(part["sigma"].to_numpy())
    bayes = part["bayes_error"].isel(dim=0).to_numpy()[order]
    x = part["sigma"].to_numpy()[order]
    axes.plot(*_between(x, bayes), color=style.BAYES, linestyle="--", linewidth=1.3, zorder=1)


def _between(x: np.ndarray, errors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Fill in a smooth curve: these errors are normal tails beyond about a power of x."""
    known = (errors > 0) & (errors < 0.5)
    if known.sum() < 2:
        return x, errors
    fine = np.geomspace(x[known][0], x[known][-1], 200)
    tails = np.exp(np.interp(np.log(fine), np.log(x[known]), np.log(-ndtri(errors[known]))))
    return fine, ndtr(-tails)


def plot_error_against_noise(
    curves: Mapping[str, tuple[Sequence[float] | np.ndarray, Sequence[float] | np.ndarray]],
    path: str | Path | None = None,
    title: str = "",
) -> Figure:
    r"""Draw classification errors of several classifiers against 1/SNR = $\sigma$.

    The signal is the distance of the clusters from the origin, $|\mu|/\sqrt{D} = 1$.

    Args:
        curves: by the name of the classifier its $\sigma$ and errors, each `(n,)`. One point is
            drawn where it is alone, a line through them otherwise.
        path: a PNG or PDF file to write as well; an existing one is replaced.
        title: above the figure.

    Returns:
        The figure, with chance as a grey line.

    Raises:
        ShapeError: if the arrays of a curve do not fit each other.
        RangeError: if there are no curves, or the ending of `path` is unknown.
        OutputError: if it cannot be written.
    """
    if not curves:
        raise RangeError("`curves` is empty; give at least one.")
    hues = style.colours(len(curves))
    with mpl.rc_context(style.RC):
        figure = style.new_figure(6.4, 5.0)
        axes = figure.subplots()
        for (name, (sigma, error)), hue, marker in zip(
            curves.items(), hues, itertools.cycle("osD^vP"), strict=False
        ):
            x, y = np.asarray(sigma, dtype=float), np.asarray(error, dtype=float)
            if x.ndim != 1 or x.shape != y.shape:
                raise ShapeError(
                    f"`{name}` has {x.shape} noise levels and {y.shape} errors; give as many."
                )
            order = np.argsort(x)
            axes.plot(*_between(x[order], y[order]), color=hue, linewidth=1.4)
            axes.plot(x, y, marker, color=hue, markerfacecolor="white", label=name)
        axes.axhline(0.5, color="0.75", linewidth=0.8, zorder=0)
        axes.annotate(
            "chance", (0.01, 0.5), xycoords=("axes fraction", "data"), va="bottom", color="0.45"
        )
        axes.set(ylim=(-0.012, 0.54), xlabel=r"1/SNR = $\sigma$", ylabel="classification error")
        style.logarithmic_axis(axes, "x")
        figure.legend(loc="outside lower center", ncols=2)
        figure.suptitle(title)
    if path is not None:
        style.save_figure(figure, path)
    return figure
