"""What simulations measure and theories predict: curves in time, order parameters, their files."""

from gmmdyn.trajectory.estimate import Estimate as Estimate
from gmmdyn.trajectory.order_parameters import OrderParameters as OrderParameters
from gmmdyn.trajectory.trajectory import CURVES as CURVES
from gmmdyn.trajectory.trajectory import Source as Source
from gmmdyn.trajectory.trajectory import Trajectory as Trajectory
