"""Grids of experiments: run anywhere, resumed after a kill, one labelled dataset."""

from gmmdyn.sweeping.axes import Axis as Axis
from gmmdyn.sweeping.axes import read_axis as read_axis
from gmmdyn.sweeping.grid import sweep as sweep
