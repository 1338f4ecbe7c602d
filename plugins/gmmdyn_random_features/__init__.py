"""Random features in closed form, entry point `random-features`."""

from gmmdyn import hookimpl
from gmmdyn.interfaces import Theory
from gmmdyn_random_features.limits import Limit as Limit
from gmmdyn_random_features.limits import limit_constant as limit_constant
from gmmdyn_random_features.limits import limit_errors as limit_errors
from gmmdyn_random_features.limits import (
    marchenko_pastur_resolvent as marchenko_pastur_resolvent,
)
from gmmdyn_random_features.readout import Readout as Readout
from gmmdyn_random_features.readout import optimal_readout as optimal_readout
from gmmdyn_random_features.statistics import FeatureStatistics as FeatureStatistics
from gmmdyn_random_features.statistics import feature_statistics as feature_statistics
from gmmdyn_random_features.theory import RandomFeatures as RandomFeatures


@hookimpl
def gmmdyn_theories() -> dict[str, type[Theory]]:
    """Register the theory."""
    return {"random-features": RandomFeatures}
