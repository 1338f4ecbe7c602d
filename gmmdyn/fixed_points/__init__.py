"""Many fixed points: along a parameter, and from many starts."""

from gmmdyn.fixed_points.continuation import follow_fixed_point as follow_fixed_point
from gmmdyn.fixed_points.dataset import load_fixed_points as load_fixed_points
from gmmdyn.fixed_points.multistart import find_fixed_points as find_fixed_points
