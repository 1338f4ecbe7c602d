"""An experiment, alone or in lists, and its configuration as plain values and YAML."""

from gmmdyn.experiment.configuration import Configuration as Configuration
from gmmdyn.experiment.experiment import Experiment as Experiment
from gmmdyn.experiment.experiment import build_theory as build_theory
