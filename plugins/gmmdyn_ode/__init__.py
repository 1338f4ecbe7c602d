"""Ordinary differential equations of the order parameters, entry point `ode`."""

from gmmdyn import hookimpl
from gmmdyn.interfaces import Theory
from gmmdyn_ode.theory import ODE as ODE


@hookimpl
def gmmdyn_theories() -> dict[str, type[Theory]]:
    """Register the theory."""
    return {"ode": ODE}
