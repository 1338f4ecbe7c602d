"""Order parameters against time."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from gmmdyn.errors import RangeError
from gmmdyn.plot import style
from gmmdyn.plot.subject import SideBySide, pair_of
from gmmdyn.trajectory import Trajectory
from gmmdyn.trajectory.time_units import in_unit
from gmmdyn.trajectory.times import logarithmic_choice

MOST_CURVES = 120  # in one panel, evenly chosen among more
MOST_POINTS = 16  # on one curve, evenly chosen on the logarithmic axis
MOST_ENTRIES = 12  # of a legend


@dataclass(frozen=True)
class _Panel:
    """Some entries of one order parameter, and the unit or cluster that colours each.

    Attributes:
        label: of the axis.
        curve: the key in the trajectory.
        index: of the entries, one array for each dimension after time.
        colour: unit or cluster of each entry.
        by: which of the two it is.
    """

    label: str
    curve: str
    index: tuple[np.ndarray, ...]
    colour: np.ndarray
    by: str

    def at(self, entry: int) -> tuple[slice | int, ...]:
        """Return the index of one entry, at all times."""
        return (slice(None), *(int(i[entry]) for i in self.index))


def plot_order_parameters(
    subject: SideBySide | Trajectory, path: str | Path | None = None, time_unit: str = "t"
) -> Figure:
    """Draw Q, R, v and the bias, if there is one, against t = updates/D.

    Args:
        subject: a comparison, or one trajectory.
        path: a PNG or PDF file to write as well; an existing one is replaced.
        time_unit: `"t"`, `"t*sqrt(D)"` (natural at high SNR, where |mu| = D) or `"t*D"`.

    Returns:
        One panel each for the diagonal of Q, its upper triangle, R, v and b: simulation as points
        with the standard error over replicas, theory as lines. R is coloured by cluster, the others
        by hidden unit (the triangle by the lower of its two). Units and clusters are numbered from
        0, as in the arrays. Of very many entries some are drawn, evenly chosen.

    Raises:
        RangeError: if no order parameters were recorded, no time is finite, or the ending of
            `path` or `time_unit` is unknown.
        OutputError: if it cannot be written.
    """
    simulated, predicted = (None if t is None else in_unit(t, time_unit) for t in pair_of(subject))
    drawn = [t for t in (simulated, predicted) if t is not None]
    panels = _panels(drawn[0])
    logarithmic = style.time_is_logarithmic(*drawn)
    with mpl.rc_context(style.RC):
        rows = (len(panels) + 1) // 2
        figure = style.new_figure(10 if len(panels) > 1 else 5.6, 0.9 + 3.1 * rows)
        grid = figure.subplots(rows, min(2, len(panels)), squeeze=False).ravel()
        for panel, axes in zip(panels, grid, strict=False):
            _draw(axes, panel, simulated, predicted, logarithmic)
            style.label_time(axes, logarithmic, time_unit)
        for axes in grid[: max(0, len(panels) - 2)]:
            axes.set_xlabel("")
        for axes in grid[len(panels) :]:
            axes.remove()
        figure.suptitle(style.title_of(drawn[0], simulated))
        _legend(figure, panels, simulated, predicted)
    if path is not None:
        style.save_figure(figure, path)
    return figure


def _panels(trajectory: Trajectory) -> list[_Panel]:
    panels = []
    if "Q" in trajectory.curves:
        units = np.arange(trajectory["Q"].shape[-1])
        panels.append(_Panel("$Q_{kk}$", "Q", (units, units), units, "unit"))
        first, second = np.triu_indices(units.size, 1)
        if first.size:
            label = r"$Q_{k\ell}$,  $k < \ell$"
            panels.append(_Panel(label, "Q", (first, second), first, "unit"))
    if "R" in trajectory.curves:
        cluster, unit = (i.ravel() for i in np.indices(trajectory["R"].shape[-2:]))
        panels.append(_Panel(r"$R_{\alpha k}$", "R", (cluster, unit), cluster, "cluster"))
    for name in ("v", "b"):
        if name in trajectory.curves:
            units = np.arange(trajectory[name].shape[-1])
            panels.append(_Panel(f"${name}_k$", name, (units,), units, "unit"))
    if not panels:
        raise RangeError("the trajectory has no order parameters; it recorded errors only.")
    return panels


def _draw(
    axes: Axes,
    panel: _Panel,
    simulated: Trajectory | None,
    predicted: Trajectory | None,
    logarithmic: bool,
) -> None:
    total = panel.colour.size
    chosen = np.unique(np.linspace(0, total - 1, min(total, MOST_CURVES)).round().astype(int))
    hues = style.colours(int(panel.colour.max()) + 1)
    if predicted is not None and panel.curve in predicted.curves:
        kept = np.flatnonzero(style.on_axis(predicted, logarithmic))
        curve = predicted.mean()[panel.curve][kept]
        for entry in chosen:
            line = curve[panel.at(entry)]
            hue = hues[panel.colour[entry]]
            axes.plot(predicted.times[kept], line, color=hue, linewidth=1.3, zorder=2)
    if simulated is not None and panel.curve in simulated.curves:
        kept = np.flatnonzero(style.on_axis(simulated, logarithmic))
        kept = kept[logarithmic_choice(simulated.times[kept], MOST_POINTS)]
        mean = simulated.mean()[panel.curve][kept]
        error = simulated.standard_error(panel.curve)[kept]
        known = bool(np.isfinite(error).any())
        for entry in chosen:
            axes.errorbar(
                simulated.times[kept],
                mean[panel.at(entry)],
                yerr=error[panel.at(entry)] if known else None,
                fmt="o",
                color=hues[panel.colour[entry]],
                markersize=3.5,
                elinewidth=1,
                zorder=3,
            )
    low, high = axes.get_ylim()
    middle = (low + high) / 2
    if high - low < 1e-3 * abs(middle):  # a constant, not its rounding
        axes.set_ylim(middle - 0.1 * abs(middle), middle + 0.1 * abs(middle))
    axes.set_ylabel(panel.label)
    if chosen.size < total:
        axes.set_title(f"{chosen.size} of {total} shown", loc="right", fontsize=9)


def _legend(
    figure: Figure,
    panels: list[_Panel],
    simulated: Trajectory | None,
    predicted: Trajectory | None,
) -> None:
    handles = []
    if simulated is not None:
        handles.append(Line2D([], [], label="simulation", color="0.3", marker="o", linestyle=""))
    if predicted is not None:
        handles.append(Line2D([], [], label="theory", color="0.3"))
    for by, symbol in (("unit", "k"), ("cluster", r"\alpha")):
        sizes = [int(panel.colour.max()) + 1 for panel in panels if panel.by == by]
        if not sizes:
            continue
        hues = style.colours(max(sizes))
        handles.append(Line2D([], [], label=f"\n{by} ${symbol}$", linestyle=""))
        shown = np.linspace(0, len(hues) - 1, min(len(hues), MOST_ENTRIES)).round().astype(int)
        handles.extend(
            Line2D([], [], label=str(i), color=hues[i], marker="s", markersize=7, linestyle="")
            for i in shown
        )
    figure.legend(handles=handles, loc="outside right upper", labelspacing=0.25)
