"""Units of the error function in closed form.

erf(u/√2) is 2 Φ(u) - 1, and Φ(u) the probability that an independent normal number lies below u, so
that means and covariances are normal probabilities of one and two variables.
"""

from __future__ import annotations

import numpy as np
from scipy.special import ndtr

from gmmdyn.interfaces import Activation
from gmmdyn.normal import excess
from gmmdyn_random_features._fields import Fields, UnitMoments, density


def describes(activation: Activation) -> bool:
    """Say whether psi is the error function."""
    return activation.closed_form == "erf"


def moments(mean: np.ndarray, deviation: np.ndarray) -> UnitMoments:
    """Compute the moments; see `unit_moments`."""
    variance = deviation**2
    beta = mean / np.sqrt(1 + variance)
    slope = 2 * density(beta) / np.sqrt(1 + variance)
    spread = 4 * excess(beta, beta, variance / (1 + variance))
    residual = np.maximum(spread - slope**2 * variance, 0)
    return UnitMoments(ndtr(beta) - ndtr(-beta), slope, residual)


def covariances(first: Fields, second: Fields, covariance: np.ndarray) -> np.ndarray:
    """Compute the covariances of pairs; see `pair_covariance`."""
    scales = [np.sqrt(1 + fields[1] ** 2) for fields in (first, second)]
    betas = [fields[0] / scale for fields, scale in zip((first, second), scales, strict=True)]
    rho = covariance / (scales[0][:, None] * scales[1])
    return 4 * excess(betas[0][:, None], betas[1], rho)
