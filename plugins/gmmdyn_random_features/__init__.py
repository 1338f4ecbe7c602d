"""Random features in closed form, entry point `random-features`."""

from gmmdyn import hookimpl
from gmmdyn.interfaces import Theory
from gmmdyn_random_features.readout import Readout as Readout
from gmmdyn_random_features.readout import optimal_readout as optimal_readout
from gmmdyn_random_features.statistics import FeatureStatistics as FeatureStatistics
from gmmdyn_random_features.statistics import feature_statistics as feature_statistics
from gmmdyn_random_features.theory import RandomFeatures as RandomFeatures


@hookimpl
def gmmdyn_theories() -> dict[str, type[Theory]]:
    """Register the theory."""
    return {"random-features": RandomFeatures}
