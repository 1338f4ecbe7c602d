"""Learning dynamics of neural networks on Gaussian mixtures: simulation and theory on one plot.

The public names are imported on first use, so that `import gmmdyn` costs nothing and the command
line answers at once.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gmmdyn.algorithm import Loss as Loss
    from gmmdyn.algorithm import OnlineSGD as OnlineSGD
    from gmmdyn.algorithm import Schedule as Schedule
    from gmmdyn.comparison import Comparison as Comparison
    from gmmdyn.comparison import compare as compare
    from gmmdyn.experiment import Experiment as Experiment
    from gmmdyn.experiment.lists import simulate_many as simulate_many
    from gmmdyn.experiment.lists import solve_many as solve_many
    from gmmdyn.fixed_points import find_fixed_points as find_fixed_points
    from gmmdyn.fixed_points import follow_fixed_point as follow_fixed_point
    from gmmdyn.fixed_points import load_fixed_points as load_fixed_points
    from gmmdyn.interfaces import Activation as Activation
    from gmmdyn.interfaces import Batch as Batch
    from gmmdyn.interfaces import DataModel as DataModel
    from gmmdyn.interfaces import FeatureNetwork as FeatureNetwork
    from gmmdyn.interfaces import GaussianMixture as GaussianMixture
    from gmmdyn.interfaces import Integrator as Integrator
    from gmmdyn.interfaces import IsotropicMixture as IsotropicMixture
    from gmmdyn.interfaces import Network as Network
    from gmmdyn.interfaces import Theory as Theory
    from gmmdyn.interfaces import TwoLayerNetwork as TwoLayerNetwork
    from gmmdyn.registry.components import activation as activation
    from gmmdyn.registry.components import data_model as data_model
    from gmmdyn.registry.components import integrator as integrator
    from gmmdyn.registry.components import network as network
    from gmmdyn.registry.components import theory as theory
    from gmmdyn.registry.hookspecs import hookimpl as hookimpl
    from gmmdyn.sweeping import sweep as sweep
    from gmmdyn.trajectory import Estimate as Estimate
    from gmmdyn.trajectory import OrderParameters as OrderParameters
    from gmmdyn.trajectory import Trajectory as Trajectory
    from gmmdyn.trajectory.times import recording_times as recording_times

__version__ = "0.1.0"

_HOME = {
    "Loss": "algorithm",
    "OnlineSGD": "algorithm",
    "Schedule": "algorithm",
    "Comparison": "comparison",
    "compare": "comparison",
    "Experiment": "experiment",
    "simulate_many": "experiment.lists",
    "solve_many": "experiment.lists",
    "find_fixed_points": "fixed_points",
    "follow_fixed_point": "fixed_points",
    "load_fixed_points": "fixed_points",
    "Activation": "interfaces",
    "Batch": "interfaces",
    "DataModel": "interfaces",
    "FeatureNetwork": "interfaces",
    "GaussianMixture": "interfaces",
    "Integrator": "interfaces",
    "IsotropicMixture": "interfaces",
    "Network": "interfaces",
    "Theory": "interfaces",
    "TwoLayerNetwork": "interfaces",
    "activation": "registry.components",
    "data_model": "registry.components",
    "integrator": "registry.components",
    "network": "registry.components",
    "theory": "registry.components",
    "hookimpl": "registry.hookspecs",
    "sweep": "sweeping",
    "Estimate": "trajectory",
    "OrderParameters": "trajectory",
    "Trajectory": "trajectory",
    "recording_times": "trajectory.times",
}

__all__ = [*sorted(_HOME), "__version__"]


def __getattr__(name: str) -> Any:
    """Import a public name from where it lives (PEP 562)."""
    if name not in _HOME:
        raise AttributeError(f"module `gmmdyn` has no attribute `{name}`")
    value = getattr(import_module(f"gmmdyn.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
