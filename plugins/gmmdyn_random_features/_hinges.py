"""Piecewise-linear units: a line and hinges.

On the piece where m lies psi is a line; the rest are hinges J (±(u - c))_+ that open away from m,
so that nothing large cancels when a kink is far.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from scipy.special import ndtr

from gmmdyn.interfaces import Activation
from gmmdyn.normal import excess
from gmmdyn_random_features._fields import (
    Fields,
    UnitCumulants,
    UnitMoments,
    correlation,
    density,
    evaluate,
)

# The density is 0 to rounding beyond so many deviations.
_FAR = 40.0


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


def cumulants(activation: Activation, mean: np.ndarray, deviation: np.ndarray) -> UnitCumulants:
    """Compute the cumulants piece by piece; see `unit_cumulants`. Good to rounding of psi(m)."""
    kinks = np.array(activation.kinks)
    with np.errstate(divide="ignore", invalid="ignore"):
        edges = np.nan_to_num((kinks[:, None] - mean) / deviation, nan=_FAR, posinf=_FAR)
    edges = np.clip(edges, -_FAR, _FAR)
    end = np.full((1, len(mean)), _FAR)
    edges = np.concatenate([-end, edges, end])
    # On each piece psi(u) - E psi is height + rise xi, so that all is in E[xi^n; piece], n <= 4.
    middles = np.concatenate([kinks[:1] - 1, (kinks[1:] + kinks[:-1]) / 2, kinks[-1:] + 1])
    if not len(kinks):
        middles = np.zeros(1)
    total = moments(activation, mean, deviation).mean
    found = np.zeros((6, len(mean)))
    values = evaluate(activation, middles)
    for j, slope in enumerate(activation.slopes):
        m = _truncated(edges[j], edges[j + 1])
        height = values[j] + slope * (mean - middles[j]) - total
        rise = slope * deviation
        # Moments of (height + rise xi)^k xi^n.
        one = [height * m[n] + rise * m[n + 1] for n in range(4)]
        two = [height * one[n] + rise * one[n + 1] for n in range(3)]
        found += [
            one[1],
            (one[2] - one[0]) / math.sqrt(2),
            (one[3] - 3 * one[1]) / math.sqrt(6),
            two[1],
            (two[2] - two[0]) / math.sqrt(2),
            height * two[0] + rise * two[1],
        ]
    return UnitCumulants(*found)


def _truncated(left: np.ndarray, right: np.ndarray) -> list[np.ndarray]:
    """Return E[xi^n; left < xi < right] for n up to 4."""
    below, above = density(left), density(right)
    found = [ndtr(right) - ndtr(left), below - above]
    for n in range(2, 5):
        edge = left ** (n - 1) * below - right ** (n - 1) * above
        found.append((n - 1) * found[n - 2] + edge)
    return found


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
        a = -np.where(tau > 0, left.distance[j] / tau, _FAR)[:, None]
        b = -np.where(tau_ > 0, right.distance[k] / tau_, _FAR)[None, :]
    a, b = np.maximum(a, -_FAR), np.maximum(b, -_FAR)
    rho = rho * left.side[j][:, None] * right.side[k]
    r = np.sqrt((1 - rho) * (1 + rho))
    a, b = np.broadcast_arrays(a, b)
    both = excess(a, b, rho) + ndtr(a) * ndtr(b)
    far, far_ = (b - rho * a) / r, (a - rho * b) / r
    one, two = density(a) * ndtr(far), density(b) * ndtr(far_)
    product = rho * (both - a * one - b * two) + r * density(a) * density(far)
    standard = product + a * (two + rho * one) + b * (one + rho * two) + a * b * both
    return np.asarray(tau[:, None] * tau_ * standard)
