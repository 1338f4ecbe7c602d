"""Figures of trajectories and comparisons; the only place that imports matplotlib.

Figures belong to no window and to no global state of pyplot: they are returned, and written to a
file if a path is given. Plugins add figures of their own, which are names of this package too:
entry points of the group `gmmdyn.plot`.
"""

from __future__ import annotations

from matplotlib.figure import Figure as Figure

from gmmdyn import lazily
from gmmdyn.plot.curves import plot_errors as plot_errors
from gmmdyn.plot.curves import plot_trajectory as plot_trajectory
from gmmdyn.plot.order_parameters import plot_order_parameters as plot_order_parameters
from gmmdyn.plot.plane import animate_plane as animate_plane
from gmmdyn.plot.plane import plot_plane as plot_plane
from gmmdyn.plot.style import save_figure as save_figure
from gmmdyn.plot.sweeps import plot_sweep as plot_sweep

__all__ = [
    "Figure",
    "animate_plane",
    "plot_errors",
    "plot_order_parameters",
    "plot_plane",
    "plot_sweep",
    "plot_trajectory",
    "save_figure",
]

__getattr__ = lazily(__name__, {}, "gmmdyn.plot")
