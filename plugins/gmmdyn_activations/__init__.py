"""Built-in activations, registered through the entry point `activations`."""

from gmmdyn import hookimpl
from gmmdyn.interfaces import Activation
from gmmdyn_activations.abs import Abs as Abs
from gmmdyn_activations.erf import Erf as Erf
from gmmdyn_activations.hard_tanh import HardTanh as HardTanh
from gmmdyn_activations.leaky_relu import LeakyReLU as LeakyReLU
from gmmdyn_activations.linear import Linear as Linear
from gmmdyn_activations.relu import ReLU as ReLU
from gmmdyn_activations.tanh import Tanh as Tanh


@hookimpl
def gmmdyn_activations() -> dict[str, type[Activation]]:
    """Register the activations."""
    return {
        "abs": Abs,
        "erf": Erf,
        "hard-tanh": HardTanh,
        "leaky-relu": LeakyReLU,
        "linear": Linear,
        "relu": ReLU,
        "tanh": Tanh,
    }
