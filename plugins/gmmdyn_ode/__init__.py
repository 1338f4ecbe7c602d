"""The dynamics of order parameters and its fixed points, entry point `ode`."""

from gmmdyn import hookimpl
from gmmdyn.interfaces import Theory
from gmmdyn_ode.finite_size.theory import FiniteSize as FiniteSize
from gmmdyn_ode.flow import Flow as Flow
from gmmdyn_ode.flow import flow as flow
from gmmdyn_ode.problem import Problem as Problem
from gmmdyn_ode.state import State as State
from gmmdyn_ode.state_evolution.theory import StateEvolution as StateEvolution
from gmmdyn_ode.theory import ODE as ODE


@hookimpl
def gmmdyn_theories() -> dict[str, type[Theory]]:
    """Register the theories."""
    return {"ode": ODE, "finite-size": FiniteSize, "state-evolution": StateEvolution}
