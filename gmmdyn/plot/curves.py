"""The two errors against time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import PolyCollection
from matplotlib.container import ErrorbarContainer
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from gmmdyn.plot import style
from gmmdyn.plot.subject import SideBySide
from gmmdyn.trajectory import Trajectory
from gmmdyn.trajectory.estimate import Estimate
from gmmdyn.trajectory.time_units import in_unit

LABELS = {
    "pmse": r"pmse  $\frac{1}{2}\,\langle (y - \varphi)^2 \rangle$",
    "classification_error": "classification error",
}

MOST_DECADES = 1e8  # a prediction of 1e-80 would flatten all that can be measured


def plot_errors(
    comparison: SideBySide, path: str | Path | None = None, time_unit: str = "t"
) -> Figure:
    """Draw pmse and classification error against t = updates/D on a logarithmic axis.

    Args:
        comparison: a simulation and what was predicted for it, if anything.
        path: a PNG or PDF file to write as well; an existing one is replaced.
        time_unit: `"t"`, `"t*sqrt(D)"` (natural at high SNR, where |mu| = D) or `"t*D"`.

    Returns:
        Simulation as points with the standard error over replicas, theory as lines, the Bayes error
        as a dashed line; a band is the integration error of the theory, where it is wider than the
        line. An error that spans more than a decade has a logarithmic axis. What is 0
        has no place on a logarithmic axis and is left out: t = 0, and errors that no test point
        showed.

    Raises:
        RangeError: if the ending of `path` or `time_unit` is unknown.
        OutputError: if it cannot be written.
    """
    parts = comparison.simulated, comparison.predicted, comparison.bayes_error
    return _plot(*parts, path, time_unit)


def plot_trajectory(
    trajectory: Trajectory, path: str | Path | None = None, time_unit: str = "t"
) -> Figure:
    """Draw the errors of one trajectory.

    Args:
        trajectory: a simulation or a prediction.
        path: a PNG or PDF file to write as well; an existing one is replaced.
        time_unit: `"t"`, `"t*sqrt(D)"` (natural at high SNR, where |mu| = D) or `"t*D"`.

    Returns:
        A figure as that of `plot_errors`.

    Raises:
        RangeError: if no time is finite, as for a fixed point, or the ending of `path` is unknown.
        OutputError: if it cannot be written.
    """
    bayes_error = trajectory.bayes_error
    if trajectory.source == "simulation":
        return _plot(trajectory, None, bayes_error, path, time_unit)
    return _plot(None, trajectory, bayes_error, path, time_unit)


def _plot(
    simulated: Trajectory | None,
    predicted: Trajectory | None,
    bayes_error: Estimate | None,
    path: str | Path | None,
    time_unit: str,
) -> Figure:
    simulated, predicted = (
        None if t is None else in_unit(t, time_unit) for t in (simulated, predicted)
    )
    drawn = [t for t in (simulated, predicted) if t is not None]
    logarithmic = style.time_is_logarithmic(*drawn)
    names = [name for name in LABELS if any(name in t.curves for t in drawn)]
    with mpl.rc_context(style.RC):
        figure = style.new_figure(4.6 * len(names), 4.1)
        panels = figure.subplots(1, len(names), squeeze=False)[0]
        handles: list[Any] = []  # artists and containers; matplotlib's types allow no containers
        for name, axes in zip(names, panels, strict=True):
            if simulated is not None and name in simulated.curves:
                handles.append(_draw_points(axes, simulated, name, logarithmic))
            if predicted is not None and name in predicted.curves:
                handles.append(_draw_line(axes, predicted, name, logarithmic))
            shown = [t for t in drawn if name in t.curves]
            _scale(axes, [t.mean()[name][style.on_axis(t, logarithmic)] for t in shown])
            if name == "classification_error" and bayes_error is not None:
                handles.append(_draw_bayes(axes, bayes_error.value))
            if predicted is not None and name in predicted.curves:
                handles += _draw_integration_error(axes, predicted, name, logarithmic)
            axes.set_ylabel(LABELS[name])
            style.label_time(axes, logarithmic, time_unit)
        figure.suptitle(style.title_of(drawn[0], simulated))
        entries = {str(handle.get_label()): handle for handle in handles}
        figure.legend(list(entries.values()), list(entries), loc="outside lower center", ncols=3)
    if path is not None:
        style.save_figure(figure, path)
    return figure


def _draw_points(
    axes: Axes, simulated: Trajectory, name: str, logarithmic: bool
) -> ErrorbarContainer:
    kept = style.on_axis(simulated, logarithmic)
    mean, error = simulated.mean()[name][kept], simulated.standard_error(name)[kept]
    known = bool(np.isfinite(error).any())
    return axes.errorbar(
        simulated.times[kept],
        mean,
        yerr=error if known else None,
        fmt="o",
        color=style.SIMULATION,
        markerfacecolor="white",
        markeredgewidth=1.1,
        elinewidth=1.1,
        label="simulation, mean ± standard error" if known else "simulation",
        zorder=3,
    )


def _draw_line(axes: Axes, predicted: Trajectory, name: str, logarithmic: bool) -> Line2D:
    kept = style.on_axis(predicted, logarithmic)
    (line,) = axes.plot(
        predicted.times[kept],
        predicted.mean()[name][kept],
        color=style.THEORY,
        label="theory",
        zorder=4,
    )
    return line


def _draw_integration_error(
    axes: Axes, predicted: Trajectory, name: str, logarithmic: bool
) -> list[PolyCollection]:
    """Draw a band of one integration error on either side, if the line does not hide it."""
    kept = style.on_axis(predicted, logarithmic)
    times, value = predicted.times[kept], predicted.mean()[name][kept]
    error = predicted.standard_error(name)[kept]
    low, high = axes.get_ylim()
    bounds = np.stack([np.clip(value - error, low, high), np.clip(value + error, low, high)])
    pixels = axes.transData.transform(np.stack([np.resize(times, bounds.size), bounds.ravel()], 1))
    width = np.diff(pixels[:, 1].reshape(2, -1), axis=0) * 72 / axes.figure.dpi
    visible = width[0] > mpl.rcParams["lines.linewidth"]
    if not np.any(visible):
        return []
    band = axes.fill_between(
        times, *bounds, color=style.THEORY, alpha=0.25, linewidth=0, label="± integration error"
    )
    axes.set_ylim(low, high)
    return [band]


def _scale(axes: Axes, curves: list[np.ndarray]) -> None:
    """Make the axis logarithmic if the values span more than a decade."""
    values = np.concatenate([curve.ravel() for curve in curves])
    positive = values[np.isfinite(values) & (values > 0)]
    if positive.size and positive.max() > 10 * positive.min():
        style.logarithmic_axis(axes, "y")
        axes.set_ylim(bottom=max(axes.get_ylim()[0], positive.max() / MOST_DECADES))
    elif positive.size:
        axes.set_ylim(bottom=0)


def _draw_bayes(axes: Axes, value: float) -> Line2D:
    label = f"Bayes error {value:.3g}"
    if axes.get_yscale() == "log":
        low, high = axes.get_ylim()
        if value < low / 10:  # an axis down to it would flatten the curves
            label += " (below the axis)"
        axes.set_ylim(low if value < low / 10 else min(low, 0.8 * value), high)
    return axes.axhline(
        value, linestyle="--", color=style.BAYES, linewidth=1.3, label=label, zorder=2
    )
