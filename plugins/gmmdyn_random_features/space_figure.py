"""Clouds of features with the plane that separates them, and the outputs of each cluster."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import matplotlib as mpl
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from gmmdyn import checks
from gmmdyn.errors import RangeError
from gmmdyn.plot import style

if TYPE_CHECKING:
    from gmmdyn.interfaces import FeatureNetwork, GaussianMixture

_SHOWN = 250  # points of a cluster in the cloud; the histogram has all


class OutputMoments(Protocol):
    """What predicts the outputs of each cluster, such as the readout of `random-features`."""

    @property
    def output_means(self) -> Sequence[float] | np.ndarray:
        """Means, shape `(C,)`."""

    @property
    def output_variances(self) -> Sequence[float] | np.ndarray:
        """Variances, shape `(C,)`."""


def plot_feature_space(
    mixture: GaussianMixture,
    network: FeatureNetwork,
    prediction: OutputMoments | None = None,
    path: str | Path | None = None,
    *,
    points: int = 4000,
    seed: int = 0,
) -> Figure:
    r"""Draw the clusters in feature space, the plane that separates them, and their outputs.

    Args:
        mixture: where points come from.
        network: a trained one; its readout is the normal of the plane.
        prediction: means and variances of the output in each cluster, for Gaussian curves.
        path: a PNG or PDF file to write as well; an existing one is replaced.
        points: drawn from each cluster, at least 10.
        seed: of the points.

    Returns:
        On the left the features in three orthonormal directions: the two in which the means of the
        clusters differ most, and the rest of the readout $w$. So $w$ lies in the space that is
        drawn, and the plane is where the output changes sign, exactly. On the right histograms of
        the output in each cluster.

    Raises:
        RangeError: if the readout is zero, there are fewer than three features, a number is out of
            range, or the ending of `path` is unknown.
        OutputError: if it cannot be written.
    """
    count = checks.whole("points", points, at_least=10)
    if network.size < 3:
        raise RangeError(f"the network has {network.size} features; it takes at least 3.")
    weights = network.readout.detach().cpu().double().numpy() / math.sqrt(network.size)
    if not weights.any():
        raise RangeError("the readout of the network is 0; train it or give `readout`.")
    offset = 0.0 if network.bias is None else float(network.bias.detach())
    clouds = _clouds(mixture, network, count, checks.whole("seed", seed, at_least=0))
    alive = [c for c, cloud in enumerate(clouds) if len(cloud)]
    directions = _directions(np.array([clouds[c].mean(0) for c in alive]), weights)
    labels = mixture.labels.tolist()
    hues = style.colours(len(labels))
    with mpl.rc_context(style.RC):
        figure = style.new_figure(10.6, 4.9)
        grid = figure.add_gridspec(1, 2, width_ratios=(1.15, 1))
        space: Any = figure.add_subplot(grid[0], projection="3d")
        axes = figure.add_subplot(grid[1])
        for c in alive:
            shown = clouds[c][:_SHOWN] @ directions.T
            marker = "o" if labels[c] > 0 else "^"
            space.scatter(*shown.T, s=11, color=hues[c], marker=marker, alpha=0.7, linewidths=0)
        _plane(space, directions @ weights, offset, [clouds[c] @ directions.T for c in alive])
        for axis, text in zip("xyz", ("means, 1st", "means, 2nd", "rest of w"), strict=True):
            space.set(**{f"{axis}label": text})
            getattr(space, f"{axis}axis").set_major_locator(mpl.ticker.MaxNLocator(3))
            getattr(space, f"{axis}axis").labelpad = 6
        space.tick_params(labelsize=8, pad=1)
        space.set_box_aspect(None, zoom=1.0)
        _histograms(axes, clouds, weights, offset, hues, prediction)
        handles: list[Any] = [
            Line2D(
                [],
                [],
                color=hues[c],
                marker="o" if labels[c] > 0 else "^",
                linestyle="",
                label=f"cluster {c}, label {labels[c]:+g}",
            )
            for c in alive
        ]
        handles.append(Patch(color="0.5", alpha=0.35, label="output 0"))
        if prediction is not None:
            handles.append(Line2D([], [], color="0.2", label="Gaussian prediction"))
        figure.legend(handles=handles, loc="outside lower center", ncols=min(3, len(handles)))
        figure.suptitle(f"features in space · D = {network.dim}, P = {network.size}")
    if path is not None:
        style.save_figure(figure, path)
    return figure


def _clouds(
    mixture: GaussianMixture, network: FeatureNetwork, count: int, seed: int
) -> list[np.ndarray]:
    """Return features of each cluster, `(n, P)`; none of a cluster that never occurs."""
    generator = torch.Generator(mixture.means.device).manual_seed(seed)
    total = count * len(mixture.labels)
    batch = mixture.sample(total, generator, network.projection.dtype)
    with torch.no_grad():
        features = network.features(batch.inputs.to(network.projection.device)).cpu().numpy()
    clusters = batch.clusters.cpu().numpy()
    return [features[clusters == c] for c in range(len(mixture.labels))]


def _directions(means: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return three orthonormal directions, `(3, P)`, whose span holds the weights."""
    _, _, spread = np.linalg.svd(means - means.mean(0), full_matrices=False)
    # Any directions will do for what is missing, as with two clusters.
    spare = np.eye(3, len(weights))
    found: list[np.ndarray] = []
    for candidate in (*spread[: min(2, len(means) - 1)], weights, *spare):
        rest = candidate - sum((one @ candidate) * one for one in found)
        length = float(np.linalg.norm(rest))
        if length > 1e-8 * float(np.linalg.norm(candidate)) and len(found) < 3:
            found.append(rest / length)
    return np.array(found)


def _plane(space: Any, normal: np.ndarray, offset: float, clouds: list[np.ndarray]) -> None:
    """Draw where normal·c + offset = 0, inside the box of the clouds."""
    every = np.concatenate(clouds)
    low, high = np.quantile(every, 0.002, axis=0), np.quantile(every, 0.998, axis=0)
    along = int(np.abs(normal * (high - low)).argmax())  # solved for this coordinate
    one, two = (axis for axis in range(3) if axis != along)
    grid = np.meshgrid(*(np.linspace(low[axis], high[axis], 24) for axis in (one, two)))
    solved = -(offset + normal[one] * grid[0] + normal[two] * grid[1]) / normal[along]
    outside = (solved < low[along]) | (solved > high[along])
    surface: list[np.ndarray] = [np.zeros(0)] * 3
    surface[one], surface[two] = grid
    surface[along] = np.where(outside, np.nan, solved)
    space.plot_surface(*surface, color="0.5", alpha=0.3, linewidth=0, antialiased=False)
    space.set(xlim=(low[0], high[0]), ylim=(low[1], high[1]), zlim=(low[2], high[2]))
    # Seen nearly along the plane, so that the clouds lie on its two sides.
    upright = normal * (high - low)
    steep = math.hypot(upright[0], upright[1]) > 0.3 * abs(upright[2])
    turn = math.degrees(math.atan2(upright[1], upright[0])) + 72 if steep else -58
    space.view_init(elev=16, azim=turn)


def _histograms(
    axes: Axes,
    clouds: list[np.ndarray],
    weights: np.ndarray,
    offset: float,
    hues: list[str],
    prediction: OutputMoments | None,
) -> None:
    outputs = [cloud @ weights + offset for cloud in clouds]
    every = np.concatenate(outputs)
    low, high = np.quantile(every, [0.0005, 0.9995]).tolist()
    edges = np.linspace(low, high, 60).tolist()
    for c, values in enumerate(outputs):
        if not len(values):
            continue
        axes.hist(values, edges, density=True, histtype="stepfilled", color=hues[c], alpha=0.25)
        axes.hist(values, edges, density=True, histtype="step", color=hues[c], linewidth=0.9)
        if prediction is not None:
            mean = float(prediction.output_means[c])
            variance = float(prediction.output_variances[c])
            grid = np.linspace(edges[0], edges[-1], 300)
            curve = np.exp(-((grid - mean) ** 2) / (2 * variance)) / math.sqrt(
                2 * math.pi * variance
            )
            axes.plot(grid, curve, color=hues[c], linewidth=1.8)
    axes.axvline(0, color="0.5", linewidth=1)
    axes.set(xlabel=r"output  $w \cdot z / \sqrt{P} + b$", ylabel="density", ylim=(0, None))
