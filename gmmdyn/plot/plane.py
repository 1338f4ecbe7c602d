"""Hidden units in the plane of the means: where they go as the network learns."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import matplotlib as mpl
import numpy as np
from matplotlib.animation import FuncAnimation, PillowWriter
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.colors import LogNorm, Normalize
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from gmmdyn import checks
from gmmdyn.errors import RangeError
from gmmdyn.interfaces import GaussianMixture
from gmmdyn.plot import style
from gmmdyn.plot.directions import MeanPlane, mean_plane
from gmmdyn.plot.subject import SideBySide, pair_of
from gmmdyn.trajectory import Trajectory
from gmmdyn.trajectory.files import written_whole
from gmmdyn.trajectory.time_units import TIME_UNITS, in_unit

_TIMES = "viridis"


class _Path(NamedTuple):
    """Where the units of one trajectory are.

    Attributes:
        times: finite, in the unit that is drawn, shape `(T,)`.
        points: shape `(T, K, 2)`.
        readout: shape `(T, K)`, or `(T, K, O)` for several outputs.
        source: `"simulation"` or `"theory"`.
    """

    times: np.ndarray
    points: np.ndarray
    readout: np.ndarray
    source: str


def plot_plane(
    subject: SideBySide | Trajectory,
    mixture: GaussianMixture,
    path: str | Path | None = None,
    *,
    replica: int | None = None,
    time_unit: str = "t",
) -> Figure:
    r"""Draw how the hidden units move in the plane of the means, time as colour.

    A unit is the point $w_k/\sqrt{D}$ in the space of inputs, where the clusters are too, projected
    on that plane: a unit on a cross is the mean of a cluster. The plane is spanned by the means if
    they have two dimensions; of more it is the one that holds most of them; for collinear means the
    second axis is the length of the rest of $w_k/\sqrt{D}$.

    Args:
        subject: a comparison, or one trajectory with order parameters.
        mixture: the mixture that the trajectory is of.
        path: a PNG or PDF file to write as well; an existing one is replaced.
        replica: which run of the simulation; None is the mean over runs.
        time_unit: `"t"`, `"t*sqrt(D)"` or `"t*D"`.

    Returns:
        The figure: means as crosses and the noise as ellipses of one standard deviation, in the
        colour of the label; theory as lines and simulation as points, in the colour of the time;
        where units end as discs in the colour of the sign of their readout; of several outputs
        in that of the output that they feed most.

    Raises:
        RangeError: if no order parameters or finite times were recorded, there is no such replica,
            the mixture has another number of clusters or all its means are 0, or the ending of
            `path` or `time_unit` is unknown.
        OutputError: if it cannot be written.
    """
    plane = mean_plane(mixture)
    paths = _paths(subject, plane, replica, time_unit)
    norm = _norm([one.times for one in paths])
    with mpl.rc_context(style.RC):
        figure = style.new_figure(6.8, 5.4)
        axes = figure.subplots()
        _draw_clusters(axes, plane)
        for one in paths:
            _draw_path(axes, one, norm)
        _draw_ends(axes, paths[0])
        _frame(axes, plane, paths)
        colours = mpl.cm.ScalarMappable(norm, _TIMES)
        figure.colorbar(colours, ax=axes, label=TIME_UNITS[time_unit][1], shrink=0.8)
        figure.legend(handles=_handles(paths, plane), loc="outside lower center", ncols=3)
        figure.suptitle(_title(subject))
    if path is not None:
        style.save_figure(figure, path)
    return figure


def animate_plane(
    subject: SideBySide | Trajectory,
    mixture: GaussianMixture,
    path: str | Path,
    *,
    replica: int | None = None,
    time_unit: str = "t",
    frames: int = 50,
    frames_per_second: int = 10,
) -> Path:
    """Write an animation of what `plot_plane` draws, in frames at recorded times.

    Args:
        subject: a comparison, or one trajectory with order parameters.
        mixture: the mixture that the trajectory is of.
        path: a `.gif` file; an existing one is replaced.
        replica: which run of the simulation; None is the mean over runs.
        time_unit: `"t"`, `"t*sqrt(D)"` or `"t*D"`.
        frames: how many at the most, at least 2; evenly chosen among the recorded times.
        frames_per_second: at least 1.

    Returns:
        The path. Units are discs in the colour of their readout as in `plot_plane`, filled for the
        simulation and open for the theory, each with the way that it has come.

    Raises:
        RangeError: as `plot_plane`, and if the ending of `path` is another or a number is out of
            range.
        OutputError: if it cannot be written.
    """
    target = Path(path)
    if target.suffix.lower() != ".gif":
        raise RangeError(f"`path` is `{path}`; give a file that ends in .gif.")
    rate = checks.whole("frames_per_second", frames_per_second)
    plane = mean_plane(mixture)
    paths = _paths(subject, plane, replica, time_unit)
    times = paths[0].times
    most = checks.whole("frames", frames, at_least=2)
    times = times[np.unique(np.linspace(0, len(times) - 1, most).round().astype(int))]
    with mpl.rc_context(style.RC):
        figure = style.new_figure(5.4, 4.6)
        axes = figure.subplots()
        _draw_clusters(axes, plane)
        _frame(axes, plane, paths)
        figure.suptitle(_title(subject))
        movers = []
        for one in paths:
            count = one.points.shape[1]
            trails = [axes.plot([], [], color="0.6", linewidth=1)[0] for _ in range(count)]
            movers.append((trails, axes.scatter([], [], s=42, zorder=4), one))

        def show(frame: int) -> list[Line2D]:
            now = times[frame]
            axes.set_title(f"{time_unit} = {now:.3g}", loc="left")
            for trails, discs, one in movers:
                last = max(int(np.searchsorted(one.times, now, side="right")) - 1, 0)
                for unit, trail in enumerate(trails):
                    trail.set_data(*one.points[: last + 1, unit].T)
                hues = _hues_of(one.readout[last])
                discs.set_offsets(one.points[last])
                discs.set_edgecolor(hues)
                discs.set_facecolor(hues if one.source == "simulation" else "none")
            return []

        # Laid out once: again for each frame would take most of the time.
        show(0)
        figure.draw_without_rendering()
        figure.set_layout_engine("none")
        moving = FuncAnimation(figure, show, frames=len(times), blit=False)
        with written_whole(target) as temporary:
            moving.save(temporary, writer=PillowWriter(fps=rate), dpi=90)
    return target


def _paths(
    subject: SideBySide | Trajectory, plane: MeanPlane, replica: int | None, time_unit: str
) -> list[_Path]:
    paths = []
    for trajectory in pair_of(subject):
        if trajectory is None:
            continue
        for name in ("Q", "R", "v"):
            if name not in trajectory.curves:
                raise RangeError("the trajectory has no order parameters; it recorded errors only.")
        kept = np.isfinite(trajectory.times)
        if not kept.any():
            raise RangeError("the trajectory has no finite time, so no unit moves.")
        one = in_unit(_single(trajectory, replica), time_unit)
        points = plane.points(one["Q"][kept], one["R"][kept])
        paths.append(_Path(one.times[kept], points, one["v"][kept], trajectory.source))
    return paths


def _single(trajectory: Trajectory, replica: int | None) -> Trajectory:
    """One run of a simulation, or the mean of all."""
    count = trajectory.replicas
    if replica is None or count is None:
        return trajectory.mean()
    if not 0 <= checks.whole("replica", replica, at_least=0) < count:
        raise RangeError(f"`replica` is {replica}; the trajectory has {count} replicas.")
    curves = {name: value[:, replica] for name, value in trajectory.curves.items()}
    return Trajectory(trajectory.times, curves, trajectory.source, metadata=trajectory.metadata)


def _norm(times: list[np.ndarray]) -> Normalize:
    every = np.concatenate(times)
    positive = every[every > 0]
    if positive.size < 2 or positive.min() == positive.max():
        return Normalize(0, max(float(every.max()), 1e-9))
    return LogNorm(float(positive.min()), float(positive.max()), clip=True)


def _hues(count: int) -> list[str]:
    """Return the colours of the classes; of label or readout -1 and +1 with one output."""
    return style.colours(max(2, count))


def _hues_of(readout: np.ndarray) -> list[str]:
    """Return the colours of units: of the sign of the readout, or the output of the largest."""
    several = readout.ndim == 2
    classes = readout.argmax(1) if several else (readout > 0).astype(int)
    hues = _hues(readout.shape[1] if several else 1)
    return [hues[index] for index in classes]


def _draw_clusters(axes: Axes, plane: MeanPlane) -> None:
    angles = np.linspace(0, 2 * np.pi, 100)
    circle = np.array([np.cos(angles), np.sin(angles)])
    hues = _hues(plane.outputs)
    for centre, root, index in zip(plane.means, plane.roots, plane.classes, strict=True):
        hue = hues[index]
        axes.plot(*centre, "x", color=hue, markersize=9, markeredgewidth=2, zorder=5)
        axes.plot(*(centre[:, None] + root @ circle), color=hue, linewidth=1, alpha=0.6)


def _draw_path(axes: Axes, one: _Path, norm: Normalize) -> None:
    hues = mpl.colormaps[_TIMES]
    stamps = np.maximum(one.times, norm.vmin or 0)  # t = 0 has no logarithm
    for unit in range(one.points.shape[1]):
        way = one.points[:, unit]
        if one.source == "theory":
            pieces = np.stack([way[:-1], way[1:]], axis=1)
            axes.add_collection(
                LineCollection(list(pieces), array=stamps[1:], cmap=hues, norm=norm, zorder=2)
            )
        else:
            axes.scatter(
                way[:, 0], way[:, 1], c=stamps, cmap=hues, norm=norm, s=11, zorder=3, linewidths=0
            )


def _draw_ends(axes: Axes, one: _Path) -> None:
    first, last = one.points[0], one.points[-1]
    axes.scatter(first[:, 0], first[:, 1], s=16, facecolor="white", edgecolor="0.3", zorder=4)
    hues = _hues_of(one.readout[-1])
    axes.scatter(last[:, 0], last[:, 1], s=52, facecolor=hues, edgecolor="white", zorder=4)


def _frame(axes: Axes, plane: MeanPlane, paths: list[_Path]) -> None:
    spread = np.sqrt((plane.roots**2).sum(axis=2)) * 1.1
    every = np.concatenate(
        [plane.means - spread, plane.means + spread, *(p.points.reshape(-1, 2) for p in paths)]
    )
    low, high = every.min(axis=0), every.max(axis=0)
    margin = 0.05 * float((high - low).max())
    axes.set(
        xlim=(low[0] - margin, high[0] + margin),
        ylim=(low[1] - margin, high[1] + margin),
        xlabel=plane.names[0],
        ylabel=plane.names[1],
    )
    axes.set_aspect("equal")


def _handles(paths: list[_Path], plane: MeanPlane) -> list[Line2D]:
    hues = _hues(plane.outputs)
    means = [f"mean, class {index}" for index in range(plane.outputs)]
    ends = [f"end, v largest for {index}" for index in range(plane.outputs)]
    if plane.outputs == 1:
        means, ends = ["mean, label −1", "mean, label +1"], ["end, v < 0", "end, v > 0"]
    handles = [
        Line2D([], [], color=hue, marker="x", ls="", ms=8, mew=2, label=label)
        for label, hue in zip(means, hues, strict=True)
    ]
    looks = {"simulation": {"marker": "o", "linestyle": ""}, "theory": {"linestyle": "-"}}
    handles += [Line2D([], [], color="0.4", label=p.source, **looks[p.source]) for p in paths]  # type: ignore[arg-type]
    handles += [
        Line2D([], [], marker="o", markersize=8, color=hue, ls="", label=label)
        for label, hue in zip(ends, hues, strict=True)
    ]
    return handles


def _title(subject: SideBySide | Trajectory) -> str:
    simulated, predicted = pair_of(subject)
    drawn = predicted if simulated is None else simulated
    assert drawn is not None
    return style.title_of(drawn, simulated)
