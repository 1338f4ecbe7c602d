"""Built-in data models, registered through the entry point `mixtures`."""

from gmmdyn import hookimpl
from gmmdyn.interfaces import DataModel
from gmmdyn_mixtures.from_data import FromData as FromData
from gmmdyn_mixtures.from_file import FromFile as FromFile
from gmmdyn_mixtures.from_file import save_mixture as save_mixture
from gmmdyn_mixtures.geometries import XOR as XOR
from gmmdyn_mixtures.geometries import RandomMeans as RandomMeans
from gmmdyn_mixtures.geometries import Ring as Ring
from gmmdyn_mixtures.geometries import ThreeClusters as ThreeClusters
from gmmdyn_mixtures.isotropic import Isotropic as Isotropic
from gmmdyn_mixtures.random_covariance import RandomCovariance as RandomCovariance


@hookimpl
def gmmdyn_data_models() -> dict[str, type[DataModel]]:
    """Register the data models."""
    return {
        "isotropic": Isotropic,
        "xor": XOR,
        "ring": Ring,
        "three-clusters": ThreeClusters,
        "random-means": RandomMeans,
        "random-covariance": RandomCovariance,
        "from-data": FromData,
        "from-file": FromFile,
    }
