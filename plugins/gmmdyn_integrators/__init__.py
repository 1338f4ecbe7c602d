"""Built-in integrators, registered through the entry point `integrators`."""

from gmmdyn import hookimpl
from gmmdyn.interfaces import Integrator
from gmmdyn_integrators.monte_carlo import MonteCarlo as MonteCarlo
from gmmdyn_integrators.preintegrated import PreIntegrated as PreIntegrated
from gmmdyn_integrators.sobol import Sobol as Sobol


@hookimpl
def gmmdyn_integrators() -> dict[str, type[Integrator]]:
    """Register the integrators."""
    return {"monte-carlo": MonteCarlo, "preintegrated": PreIntegrated, "sobol": Sobol}
