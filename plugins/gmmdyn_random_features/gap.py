"""How far first-order covariances of features are from the exact ones."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from gmmdyn_random_features.readout import noise_covariance, optimal_readout
from gmmdyn_random_features.statistics import FeatureStatistics


class Gap(NamedTuple):
    """First order less exact.

    Attributes:
        largest: largest entry by absolute value of the difference of the covariances within
            clusters (averaged over them), as a share of the mean variance of a feature.
        relative: Frobenius norm of that difference over that of the exact covariance.
        pmse: difference of the pmse of the best readouts, each by its own covariances.
        classification_error: likewise.
    """

    largest: float
    relative: float
    pmse: float
    classification_error: float


def first_order_gap(statistics: FeatureStatistics, *, ridge: float = 0.0, bias: bool = True) -> Gap:
    r"""Say what the first-order covariances neglect.

    For features with correlated fields they neglect $\sum_{k\ge2} c_k(i)c_k(j)\rho_{ij}^k$, where
    $\rho_{ij}$ is of order $1/\sqrt{D}$ for random directions: entries of order $1/D$. It costs
    $P^2$ evaluations of the exact covariance for each cluster, and a Cholesky factor.

    Args:
        statistics: of the features.
        ridge: $\kappa$ of the readouts, not negative.
        bias: whether they have an intercept.

    Returns:
        The differences.

    Raises:
        RangeError: if the ridge is negative.
    """
    first = optimal_readout(statistics, ridge=ridge, bias=bias)
    exact = optimal_readout(statistics, ridge=ridge, bias=bias, order="exact")
    covariance = np.zeros((statistics.size, statistics.size))
    for alpha, prior in enumerate(statistics.priors):
        if prior > 0:
            covariance += prior * statistics.covariance(alpha, "exact")
    difference = noise_covariance(statistics) - covariance
    return Gap(
        float(np.abs(difference).max() / covariance.diagonal().mean()),
        float(np.linalg.norm(difference) / np.linalg.norm(covariance)),
        first.pmse - exact.pmse,
        first.classification_error - exact.classification_error,
    )
