"""An experiment, alone or in lists, and its configuration as plain values and YAML."""

from gmmdyn.experiment.configuration import Configuration as Configuration
from gmmdyn.experiment.experiment import Experiment as Experiment
from gmmdyn.experiment.experiment import build_theory as build_theory
from gmmdyn.experiment.plain_values import plain as plain
from gmmdyn.experiment.sections import section_options as section_options
from gmmdyn.experiment.yaml_text import read_yaml as read_yaml
from gmmdyn.experiment.yaml_text import write_yaml as write_yaml
