"""Piecewise-linear units: a line and hinges.

On the piece where m lies psi is a line; the rest are hinges J (±(u - c))_+ that open away from m,
so that nothing large cancels when a kink is far.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.special import ndtr

from gmmdyn.interfaces import Activation
from gmmdyn.normal import excess
from gmmdyn_random_features._fields import Fields, UnitMoments, correlation, density, evaluate


class _Hinges(NamedTuple):
    """Hinges of every unit, shapes `(J, ...)`; `side` is +1 for those that open to the right."""

    jumps: np.ndarray
    side: np.ndarray
    distance: np.ndarray
    chance: np.ndarray  # that the hinge is open
    first: np.ndarray  # mean of the ramp
    second: np.ndarray  # mean of its square


def _hinges(activation: Activation, mean: np.ndarray, deviation: np.ndarray) -> _Hinges:
    jumps = np.diff(np.array(activation.slopes))
    apart = np.array([mean - kink for kink in activation.kinks]).reshape(-1, *mean.shape)
    distance = np.abs(apart)
    with np.errstate(divide="ignore", invalid="ignore"):
        beta = np.where(deviation > 0, distance / deviation, np.inf)
    chance, height = ndtr(-beta), density(beta)
    first = deviation * height - distance * chance
    second = (deviation**2 + distance**2) * chance - distance * deviation * height
    # Below 0 by rounding only, and only where the chance itself is below 1e-15 or so.
    first, second = np.maximum(first, 0), np.maximum(second, 0)
    return _Hinges(jumps, np.where(apart > 0, -1.0, 1.0), distance, chance, first, second)


def _local_slope(activation: Activation, mean: np.ndarray) -> np.ndarray:
    return np.asarray(np.array(activation.slopes)[np.searchsorted(activation.kinks, mean)])


def moments(activation: Activation, mean: np.ndarray, deviation: np.ndarray) -> UnitMoments:
    """Compute the moments; see `unit_moments`."""
    slope = _local_slope(activation, mean)
    value = evaluate(activation, mean)
    rise = np.zeros_like(mean)
    tilt = np.zeros_like(mean)
    square = np.zeros_like(mean)
    hinges = _hinges(activation, mean, deviation)
    for j, jump in enumerate(hinges.jumps):
        rise += jump * hinges.first[j]
        tilt += jump * hinges.side[j] * hinges.chance[j]
        square += jump**2 * hinges.second[j]
        for k in range(j):
            # On one side of m the farther hinge decides; on opposite sides never both are open.
            same = hinges.side[j] == hinges.side[k]
            far = np.where(hinges.distance[j] > hinges.distance[k], 1, 0).astype(bool)
            gap = np.abs(hinges.distance[j] - hinges.distance[k])
            ramp = np.where(far, hinges.first[j], hinges.first[k])
            ramps = np.where(far, hinges.second[j], hinges.second[k])
            square += 2 * jump * hinges.jumps[k] * same * (ramps + gap * ramp)
    residual = square - rise**2 - (deviation * tilt) ** 2
    return UnitMoments(value + rise, slope + tilt, np.maximum(residual, 0))


def covariances(
    activation: Activation,
    first: Fields,
    second: Fields,
    covariance: np.ndarray,
) -> np.ndarray:
    """Compute the covariances of pairs; see `pair_covariance`."""
    left, right = (_hinges(activation, *fields) for fields in (first, second))
    slopes = [_local_slope(activation, fields[0]) for fields in (first, second)]
    tilts = [(h.jumps[:, None] * h.side * h.chance).sum(0) for h in (left, right)]
    linear = slopes[0][:, None] * (slopes[1] + tilts[1]) + tilts[0][:, None] * slopes[1]
    total = linear * covariance
    rho = correlation(covariance, first[1], second[1])
    for j, jump in enumerate(left.jumps):
        for k, other in enumerate(right.jumps):
            ramps = _ramps(left, right, j, k, first[1], second[1], rho)
            total += jump * other * (ramps - left.first[j][:, None] * right.first[k])
    return np.asarray(total)


def _ramps(
    left: _Hinges,
    right: _Hinges,
    j: int,
    k: int,
    tau: np.ndarray,
    tau_: np.ndarray,
    rho: np.ndarray,
) -> np.ndarray:
    """E of the product of two ramps: moments of a bivariate normal truncated to an orthant."""
    with np.errstate(divide="ignore", invalid="ignore"):
        a = -np.where(tau > 0, left.distance[j] / tau, 40.0)[:, None]
        b = -np.where(tau_ > 0, right.distance[k] / tau_, 40.0)[None, :]
    a, b = np.maximum(a, -40.0), np.maximum(b, -40.0)  # the density is 0 beyond
    rho = rho * left.side[j][:, None] * right.side[k]
    r = np.sqrt((1 - rho) * (1 + rho))
    a, b = np.broadcast_arrays(a, b)
    both = excess(a, b, rho) + ndtr(a) * ndtr(b)
    far, far_ = (b - rho * a) / r, (a - rho * b) / r
    one, two = density(a) * ndtr(far), density(b) * ndtr(far_)
    product = rho * (both - a * one - b * two) + r * density(a) * density(far)
    standard = product + a * (two + rho * one) + b * (one + rho * two) + a * b * both
    return np.asarray(tau[:, None] * tau_ * standard)
