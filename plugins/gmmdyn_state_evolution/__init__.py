"""Fixed points of the order parameters' dynamics, entry point `state-evolution`."""

from gmmdyn import hookimpl
from gmmdyn.interfaces import Theory
from gmmdyn_state_evolution.theory import StateEvolution as StateEvolution


@hookimpl
def gmmdyn_theories() -> dict[str, type[Theory]]:
    """Register the theory."""
    return {"state-evolution": StateEvolution}
