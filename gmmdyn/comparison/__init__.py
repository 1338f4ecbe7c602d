"""Simulation and theory side by side: scores, a table, figures."""

from gmmdyn.comparison.comparison import Comparison as Comparison
from gmmdyn.comparison.comparison import compare as compare
