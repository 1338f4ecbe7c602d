"""Random features in closed form, entry point `random-features`."""

from gmmdyn import hookimpl
from gmmdyn.interfaces import Theory
from gmmdyn_random_features.dynamics import LearningCurve as LearningCurve
from gmmdyn_random_features.dynamics import Modes as Modes
from gmmdyn_random_features.dynamics import learning_curve as learning_curve
from gmmdyn_random_features.dynamics import mean_weights as mean_weights
from gmmdyn_random_features.dynamics import modes as modes
from gmmdyn_random_features.dynamics_theory import RandomFeaturesDynamics as RandomFeaturesDynamics
from gmmdyn_random_features.limits import Limit as Limit
from gmmdyn_random_features.limits import RandomFeaturesLimit as RandomFeaturesLimit
from gmmdyn_random_features.limits import limit_constant as limit_constant
from gmmdyn_random_features.limits import limit_errors as limit_errors
from gmmdyn_random_features.limits import (
    marchenko_pastur_resolvent as marchenko_pastur_resolvent,
)
from gmmdyn_random_features.readout import Gap as Gap
from gmmdyn_random_features.readout import Readout as Readout
from gmmdyn_random_features.readout import first_order_gap as first_order_gap
from gmmdyn_random_features.readout import optimal_readout as optimal_readout
from gmmdyn_random_features.statistics import FeatureStatistics as FeatureStatistics
from gmmdyn_random_features.statistics import feature_statistics as feature_statistics
from gmmdyn_random_features.theory import RandomFeatures as RandomFeatures


@hookimpl
def gmmdyn_theories() -> dict[str, type[Theory]]:
    """Register the theories."""
    return {
        "random-features": RandomFeatures,
        "random-features-dynamics": RandomFeaturesDynamics,
        "random-features-limit": RandomFeaturesLimit,
    }
