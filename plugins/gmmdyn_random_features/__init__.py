"""Random features in closed form, entry point `random-features`.

The names are imported on first use: the command `random-features` is listed without them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gmmdyn import hookimpl, lazily

if TYPE_CHECKING:
    from gmmdyn.interfaces import Theory
    from gmmdyn_random_features.dynamics import LearningCurve as LearningCurve
    from gmmdyn_random_features.dynamics import Modes as Modes
    from gmmdyn_random_features.dynamics import learning_curve as learning_curve
    from gmmdyn_random_features.dynamics import mean_weights as mean_weights
    from gmmdyn_random_features.dynamics import modes as modes
    from gmmdyn_random_features.dynamics_theory import (
        RandomFeaturesDynamics as RandomFeaturesDynamics,
    )
    from gmmdyn_random_features.error_figure import (
        plot_error_against_noise as plot_error_against_noise,
    )
    from gmmdyn_random_features.error_figure import plot_feature_errors as plot_feature_errors
    from gmmdyn_random_features.grid import feature_errors as feature_errors
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
    from gmmdyn_random_features.space_figure import plot_feature_space as plot_feature_space
    from gmmdyn_random_features.statistics import FeatureStatistics as FeatureStatistics
    from gmmdyn_random_features.statistics import feature_statistics as feature_statistics
    from gmmdyn_random_features.theory import RandomFeatures as RandomFeatures

_HOME = {
    "LearningCurve": "dynamics",
    "Modes": "dynamics",
    "learning_curve": "dynamics",
    "mean_weights": "dynamics",
    "modes": "dynamics",
    "plot_error_against_noise": "error_figure",
    "plot_feature_errors": "error_figure",
    "Gap": "readout",
    "first_order_gap": "readout",
    "feature_errors": "grid",
    "RandomFeaturesDynamics": "dynamics_theory",
    "RandomFeaturesLimit": "limits",
    "Limit": "limits",
    "limit_constant": "limits",
    "limit_errors": "limits",
    "marchenko_pastur_resolvent": "limits",
    "Readout": "readout",
    "optimal_readout": "readout",
    "plot_feature_space": "space_figure",
    "FeatureStatistics": "statistics",
    "feature_statistics": "statistics",
    "RandomFeatures": "theory",
}

__getattr__ = lazily(__name__, _HOME)


@hookimpl
def gmmdyn_theories() -> dict[str, type[Theory]]:
    """Register the theories."""
    from gmmdyn_random_features.dynamics_theory import RandomFeaturesDynamics
    from gmmdyn_random_features.limits import RandomFeaturesLimit
    from gmmdyn_random_features.theory import RandomFeatures

    return {
        "random-features": RandomFeatures,
        "random-features-dynamics": RandomFeaturesDynamics,
        "random-features-limit": RandomFeaturesLimit,
    }
