"""Built-in activations, registered through the entry point `activations`."""

from gmmdyn import hookimpl
from gmmdyn.interfaces import Activation
from gmmdyn_activations.erf import Erf as Erf
from gmmdyn_activations.linear import Linear as Linear
from gmmdyn_activations.relu import ReLU as ReLU


@hookimpl
def gmmdyn_activations() -> dict[str, type[Activation]]:
    """Register the activations."""
    return {"erf": Erf, "linear": Linear, "relu": ReLU}
