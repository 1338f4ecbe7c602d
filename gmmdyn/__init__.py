"""Learning dynamics of neural networks on Gaussian mixtures: simulation and theory on one plot.

The public names are imported on first use, so that `import gmmdyn` costs nothing and the command
line answers at once. Plugins add functions, which are names of `gmmdyn` too: entry points of the
group `gmmdyn.functions`.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gmmdyn.algorithm import Loss as Loss
    from gmmdyn.algorithm import OnlineSGD as OnlineSGD
    from gmmdyn.algorithm import Schedule as Schedule
    from gmmdyn.algorithm import SquareLoss as SquareLoss
    from gmmdyn.comparison import Comparison as Comparison
    from gmmdyn.comparison import compare as compare
    from gmmdyn.experiment import Experiment as Experiment
    from gmmdyn.experiment.lists import simulate_many as simulate_many
    from gmmdyn.experiment.lists import solve_many as solve_many
    from gmmdyn.interfaces import Activation as Activation
    from gmmdyn.interfaces import Batch as Batch
    from gmmdyn.interfaces import DataModel as DataModel
    from gmmdyn.interfaces import Engine as Engine
    from gmmdyn.interfaces import FeatureNetwork as FeatureNetwork
    from gmmdyn.interfaces import GaussianMixture as GaussianMixture
    from gmmdyn.interfaces import Integrator as Integrator
    from gmmdyn.interfaces import IsotropicMixture as IsotropicMixture
    from gmmdyn.interfaces import Network as Network
    from gmmdyn.interfaces import Segment as Segment
    from gmmdyn.interfaces import Theory as Theory
    from gmmdyn.interfaces import TwoLayerNetwork as TwoLayerNetwork
    from gmmdyn.registry.components import activation as activation
    from gmmdyn.registry.components import data_model as data_model
    from gmmdyn.registry.components import integrator as integrator
    from gmmdyn.registry.components import loss as loss
    from gmmdyn.registry.components import network as network
    from gmmdyn.registry.components import theory as theory
    from gmmdyn.registry.hookspecs import hookimpl as hookimpl
    from gmmdyn.sweeping import sweep as sweep
    from gmmdyn.trajectory import Curve as Curve
    from gmmdyn.trajectory import Estimate as Estimate
    from gmmdyn.trajectory import OrderParameters as OrderParameters
    from gmmdyn.trajectory import Trajectory as Trajectory
    from gmmdyn.trajectory.times import recording_times as recording_times

__version__ = "0.1.0"

_HOME = {
    "Loss": "algorithm",
    "OnlineSGD": "algorithm",
    "Schedule": "algorithm",
    "SquareLoss": "algorithm",
    "Comparison": "comparison",
    "compare": "comparison",
    "Experiment": "experiment",
    "simulate_many": "experiment.lists",
    "solve_many": "experiment.lists",
    "Activation": "interfaces",
    "Batch": "interfaces",
    "DataModel": "interfaces",
    "Engine": "interfaces",
    "FeatureNetwork": "interfaces",
    "GaussianMixture": "interfaces",
    "Integrator": "interfaces",
    "IsotropicMixture": "interfaces",
    "Network": "interfaces",
    "Segment": "interfaces",
    "Theory": "interfaces",
    "TwoLayerNetwork": "interfaces",
    "activation": "registry.components",
    "data_model": "registry.components",
    "integrator": "registry.components",
    "loss": "registry.components",
    "network": "registry.components",
    "theory": "registry.components",
    "hookimpl": "registry.hookspecs",
    "sweep": "sweeping",
    "Curve": "trajectory",
    "Estimate": "trajectory",
    "OrderParameters": "trajectory",
    "Trajectory": "trajectory",
    "recording_times": "trajectory.times",
}

__all__ = [*sorted(_HOME), "__version__", "lazily"]


def lazily(package: str, home: Mapping[str, str], group: str | None = None) -> Callable[[str], Any]:
    """Return the `__getattr__` of a package whose names are imported on first use (PEP 562).

    A package of a plugin that has commands needs it, if it imports anything heavy: the commands are
    listed without.

    Args:
        package: its `__name__`.
        home: the module within it of each name; no name may be that of a module.
        group: of entry points that name functions which plugins add to the package, or None.

    Returns:
        The function; it raises AttributeError if there is no such name.
    """

    def attribute(name: str) -> Any:
        if name in home:
            value = getattr(import_module(f"{package}.{home[name]}"), name)
        elif group is None or name.startswith("_") or find_spec(f"{package}.{name}") is not None:
            raise AttributeError(f"module `{package}` has no attribute `{name}`")
        else:
            value = import_module("gmmdyn.registry.entry_points").extension(group, name)
            if value is None:
                raise AttributeError(f"module `{package}` has no attribute `{name}`")
        vars(sys.modules[package])[name] = value
        return value

    return attribute


__getattr__ = lazily(__name__, _HOME, "gmmdyn.functions")


def __dir__() -> list[str]:
    return __all__
