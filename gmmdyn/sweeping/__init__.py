"""Grids of experiments: run anywhere, resumed after a kill, one labelled dataset."""

from gmmdyn.sweeping.axes import Axis as Axis
from gmmdyn.sweeping.axes import full_name as full_name
from gmmdyn.sweeping.axes import read_axis as read_axis
from gmmdyn.sweeping.axes import with_value as with_value
from gmmdyn.sweeping.bar import point_bar as point_bar
from gmmdyn.sweeping.grid import sweep as sweep
from gmmdyn.sweeping.points import Outcome as Outcome
from gmmdyn.sweeping.points import key_of as key_of
from gmmdyn.sweeping.store import Store as Store
