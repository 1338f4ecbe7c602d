"""The dynamics of order parameters and its fixed points, entry point `ode`.

The names are imported on first use: the command `fixed-point` is listed without them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gmmdyn import hookimpl, lazily

if TYPE_CHECKING:
    from gmmdyn.interfaces import Theory
    from gmmdyn_ode.differentiable import Flow as Flow
    from gmmdyn_ode.differentiable import flow as flow
    from gmmdyn_ode.finite_size.theory import FiniteSize as FiniteSize
    from gmmdyn_ode.fixed_points.continuation import follow_fixed_point as follow_fixed_point
    from gmmdyn_ode.fixed_points.dataset import load_fixed_points as load_fixed_points
    from gmmdyn_ode.fixed_points.figure import plot_fixed_points as plot_fixed_points
    from gmmdyn_ode.fixed_points.multistart import find_fixed_points as find_fixed_points
    from gmmdyn_ode.problem import Problem as Problem
    from gmmdyn_ode.state import State as State
    from gmmdyn_ode.state_evolution.theory import StateEvolution as StateEvolution
    from gmmdyn_ode.theory import ODE as ODE

_HOME = {
    "Flow": "differentiable",
    "flow": "differentiable",
    "FiniteSize": "finite_size.theory",
    "follow_fixed_point": "fixed_points.continuation",
    "load_fixed_points": "fixed_points.dataset",
    "plot_fixed_points": "fixed_points.figure",
    "find_fixed_points": "fixed_points.multistart",
    "Problem": "problem",
    "State": "state",
    "StateEvolution": "state_evolution.theory",
    "ODE": "theory",
}

__getattr__ = lazily(__name__, _HOME)


@hookimpl
def gmmdyn_theories() -> dict[str, type[Theory]]:
    """Register the theories."""
    from gmmdyn_ode.finite_size.theory import FiniteSize
    from gmmdyn_ode.state_evolution.theory import StateEvolution
    from gmmdyn_ode.theory import ODE

    return {"ode": ODE, "finite-size": FiniteSize, "state-evolution": StateEvolution}
