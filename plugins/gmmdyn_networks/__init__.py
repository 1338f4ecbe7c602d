"""Built-in networks, registered through the entry point `networks`."""

from gmmdyn import hookimpl
from gmmdyn.interfaces import Network
from gmmdyn_networks.committee import Committee as Committee
from gmmdyn_networks.random_features import RandomFeatures as RandomFeatures


@hookimpl
def gmmdyn_networks() -> dict[str, type[Network]]:
    """Register the networks."""
    return {"committee": Committee, "random-features": RandomFeatures}
