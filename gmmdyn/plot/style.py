"""What all figures share: sizes, colours, axes, the title, how they are written."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from gmmdyn.errors import RangeError
from gmmdyn.trajectory import Trajectory
from gmmdyn.trajectory.files import written_whole
from gmmdyn.trajectory.time_units import TIME_UNITS

# For a full page in a paper, legible when printed at half the size.
RC: dict[Any, Any] = {
    "font.size": 11,
    "axes.titlesize": 11,
    "axes.labelsize": 12,
    "figure.titlesize": 11,
    "legend.fontsize": 10,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.formatter.limits": (-3, 4),
    "axes.formatter.useoffset": False,
    "lines.linewidth": 1.6,
    "lines.markersize": 4.5,
    "legend.frameon": False,
    "pdf.fonttype": 42,  # text stays text
}
DPI = 150
# Curves that have a panel of their own in figures of errors, and what stands at its axis.
LABELS = {
    "pmse": r"pmse  $\frac{1}{2}\,\langle (y - \varphi)^2 \rangle$",
    "classification_error": "classification error",
}

# Okabe and Ito, "Color universal design", 2008, without the yellow that vanishes on white.
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")
SIMULATION, THEORY, BAYES = PALETTE[0], PALETTE[1], "#555555"


def new_figure(width: float, height: float) -> Figure:
    """Return an empty figure that needs no display.

    Args:
        width: in inches.
        height: in inches.

    Returns:
        The figure.
    """
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def colours(count: int) -> list[str]:
    """Return colours that can be told apart without seeing red and green apart.

    Args:
        count: how many.

    Returns:
        Distinct hues for few, steps from dark to light for many.
    """
    if count <= len(PALETTE):
        return list(PALETTE[:count])
    steps = mpl.colormaps["viridis"](np.linspace(0, 0.93, count))
    return [mpl.colors.to_hex(step) for step in steps]


def label_of(name: str) -> str:
    """Return what stands at the axis of a curve.

    Args:
        name: of the curve.

    Returns:
        The label; of a curve of one's own its name in words.
    """
    return LABELS.get(name, name.replace("_", " "))


def on_axis(trajectory: Trajectory, logarithmic: bool) -> np.ndarray:
    """Say which times can be drawn.

    Args:
        trajectory: what is drawn.
        logarithmic: whether the axis of time is; it has no place for t = 0.

    Returns:
        A mask, shape `(T,)`.
    """
    times = trajectory.times
    return np.asarray(np.isfinite(times) & ((times > 0) | (not logarithmic)))


def time_is_logarithmic(*trajectories: Trajectory | None) -> bool:
    """Say whether the axis of time is logarithmic: unless t = 0 is all there is.

    Args:
        *trajectories: what is drawn on it.

    Returns:
        Whether there is a positive time.

    Raises:
        RangeError: if no time is finite, as for a fixed point.
    """
    every = np.concatenate([t.times for t in trajectories if t is not None])
    if not np.isfinite(every).any():
        raise RangeError("the trajectory has no finite time, so it is no curve that can be drawn.")
    return bool((every[np.isfinite(every)] > 0).any())


def logarithmic_axis(axes: Axes, which: str) -> None:
    """Make an axis logarithmic, with plain numbers where they are short.

    Args:
        axes: where.
        which: `"x"` or `"y"`; the values are already drawn.
    """
    axes.set(**{f"{which}scale": "log"})
    axis = axes.xaxis if which == "x" else axes.yaxis
    low, high = sorted(axis.get_view_interval())
    if high < 100 * low:  # powers of ten alone would be one or two labels
        axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.set_minor_formatter(NullFormatter())
    axis.set_major_formatter(FuncFormatter(_short))


def _short(value: float, _: int | None = None) -> str:
    if 1e-4 < value < 1e5:
        return f"{value:g}"
    exponent = int(np.floor(np.log10(value) + 1e-9)) if value > 0 else 0
    factor = f"{value / 10.0**exponent:g}"
    return f"$10^{{{exponent}}}$" if factor == "1" else rf"${factor}\times 10^{{{exponent}}}$"


def label_time(axes: Axes, logarithmic: bool, time_unit: str = "t") -> None:
    """Set up the axis of time.

    Args:
        axes: where.
        logarithmic: the scale.
        time_unit: a key of `TIME_UNITS`.
    """
    axes.set_xlabel(TIME_UNITS[time_unit][1])
    if logarithmic:
        logarithmic_axis(axes, "x")


def title_of(trajectory: Trajectory, simulated: Trajectory | None) -> str:
    """Return a short title from the metadata.

    Args:
        trajectory: whose experiment is named.
        simulated: whose replicas are counted, if there are any.

    Returns:
        Such as `xor · committee, K = 4, relu · D = 200 · 5 replicas`, of what is known.
    """
    experiment = trajectory.metadata.get("experiment", {})
    parts = [_name(experiment.get("data_model"))]
    network = experiment.get("network", {})
    units = trajectory.curves["Q"].shape[-1] if "Q" in trajectory.curves else network.get("hidden")
    size = f"K = {units}" if units is not None else ""
    if network.get("features") is not None:
        size = f"P = {network['features']}"
    elif network.get("ratio") is not None:
        size = f"P/D = {network['ratio']:g}"
    names = (_name(network), size, _name(network.get("activation")))
    parts.append(", ".join(filter(None, names)))
    dim = trajectory.metadata.get("dim")
    parts.append(f"D = {dim}" if dim is not None else "")
    if simulated is not None:
        count = simulated.replicas or simulated.metadata.get("replicas")
        parts.append(f"{count} replica{'' if count == 1 else 's'}" if count is not None else "")
    return " · ".join(filter(None, parts))


def save_figure(figure: Figure, path: str | Path) -> Path:
    """Write a figure, whole or not at all.

    Args:
        figure: what to write.
        path: a `.png` (150 dots an inch) or `.pdf` file; an existing one is replaced.

    Returns:
        The path.

    Raises:
        RangeError: if the ending is another one.
        OutputError: if it cannot be written.
    """
    target = Path(path)
    ending = target.suffix.lower()
    if ending not in (".png", ".pdf"):
        raise RangeError(f"`path` is `{path}`; give a file that ends in .png or .pdf.")
    with written_whole(target) as temporary, mpl.rc_context(RC):
        figure.savefig(temporary, dpi=DPI, format=ending[1:])
    return target


def _name(description: Any) -> str:
    if isinstance(description, Mapping):
        whole = description.get("name") or str(description.get("class", "")).rpartition(".")[2]
        return str(whole)
    return description if isinstance(description, str) else ""
