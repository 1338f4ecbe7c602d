"""Built-in integrators, registered through the entry point `integrators`."""

from gmmdyn import hookimpl
from gmmdyn.interfaces import Integrator
from gmmdyn_integrators.closed_form import ClosedForm as ClosedForm
from gmmdyn_integrators.gauss_hermite import GaussHermite as GaussHermite
from gmmdyn_integrators.monte_carlo import MonteCarlo as MonteCarlo
from gmmdyn_integrators.preintegrated import PreIntegrated as PreIntegrated
from gmmdyn_integrators.sobol import Sobol as Sobol


@hookimpl
def gmmdyn_integrators() -> dict[str, type[Integrator]]:
    """Register the integrators."""
    return {
        "closed-form": ClosedForm,
        "gauss-hermite": GaussHermite,
        "monte-carlo": MonteCarlo,
        "preintegrated": PreIntegrated,
        "sobol": Sobol,
    }
