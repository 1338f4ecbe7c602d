r"""Moments of a nonlinearity of one Gaussian field, and covariances for two.

A field u ~ N(m, s²) goes through psi. The first Hermite coefficient is s a with the mean slope
a = E[psi'(u)] = Cov(psi(u), u)/s² (Stein), and what is left of the variance is

    residual = Var psi(u) - a² s²,

the share of all higher Hermite coefficients. It is computed as it stands, never as a difference of
the two large numbers, since it is what a regression on features divides by.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import torch
from scipy.special import ndtr, owens_t

from gmmdyn import activation as build_activation
from gmmdyn.interfaces import Activation

# Nodes of Gauss-Hermite quadrature: exact for polynomials up to degree 255.
_NODES = 128
# Terms of Mehler's series; the terms decay like rho^k.
_TERMS = 64
_NEAREST = 1e-15


class UnitMoments(NamedTuple):
    """Moments of psi(u), u ~ N(m, s²), each of the shape of m and s.

    Attributes:
        mean: E[psi(u)].
        slope: E[psi'(u)].
        residual: Var psi(u) - slope² s², not negative.
    """

    mean: np.ndarray
    slope: np.ndarray
    residual: np.ndarray


def unit_moments(activation: Activation, mean: np.ndarray, deviation: np.ndarray) -> UnitMoments:
    """Compute the moments of one unit.

    Closed form for piecewise-linear activations and the error function, Gauss-Hermite quadrature
    with 128 nodes for any other (spectrally accurate if it is smooth on the scale s, and
    only to about 1e-2 s at an undeclared kink).

    Args:
        activation: psi.
        mean: m, any shape.
        deviation: s, same shape, not negative.

    Returns:
        The moments.
    """
    if activation.slopes:
        return _straight(activation, mean, deviation)
    if _is_erf(activation):
        return _error_function(mean, deviation)
    return _quadrature(activation, mean, deviation)


def pair_covariance(
    activation: Activation,
    first: tuple[np.ndarray, np.ndarray],
    second: tuple[np.ndarray, np.ndarray],
    covariance: np.ndarray,
) -> np.ndarray:
    """Compute Cov(psi(u), psi(v)) for pairs of jointly Gaussian fields.

    Closed form by Owen's T for piecewise-linear activations (bivariate truncated moments,
    Rosenbaum 1961; the arc-cosine kernel of degree 1 if the means are 0) and for the error function
    (the arcsine kernel if the means are 0); for any other, 64 terms of Mehler's series, whose
    error is of the order of rho^65.

    Args:
        activation: psi.
        first: means and deviations of u, each shape `(M,)`.
        second: means and deviations of v, each shape `(N,)`.
        covariance: Cov(u, v), shape `(M, N)`.

    Returns:
        Shape `(M, N)`.
    """
    if activation.slopes:
        return _straight_pairs(activation, first, second, covariance)
    if _is_erf(activation):
        return _error_function_pairs(first, second, covariance)
    return _mehler(activation, first, second, covariance)


def orthant(alpha: np.ndarray, beta: np.ndarray, rho: np.ndarray) -> np.ndarray:
    """Return the bivariate normal cdf by Owen's T, for |rho| < 1.

    Args:
        alpha: any shape.
        beta: shape that broadcasts with it.
        rho: correlations, likewise.

    Returns:
        P(U <= alpha, V <= beta).
    """
    r = np.sqrt((1 - rho) * (1 + rho))
    with np.errstate(divide="ignore", invalid="ignore"):
        one = owens_t(alpha, (beta - rho * alpha) / (alpha * r))
        two = owens_t(beta, (alpha - rho * beta) / (beta * r))
    opposite = (alpha * beta < 0) | ((alpha * beta == 0) & (alpha + beta < 0))
    general = 0.5 * (ndtr(alpha) + ndtr(beta)) - one - two - 0.5 * opposite
    origin = (alpha == 0) & (beta == 0)
    return np.asarray(np.where(origin, 0.25 + np.arcsin(rho) / (2 * math.pi), general))


def _is_erf(activation: Activation) -> bool:
    return type(activation) is type(build_activation("erf"))


def _evaluate(activation: Activation, x: np.ndarray) -> np.ndarray:
    with torch.no_grad():
        return np.asarray(activation(torch.from_numpy(x)).numpy())


def _density(x: np.ndarray) -> np.ndarray:
    return np.asarray(np.exp(-0.5 * x * x) / math.sqrt(2 * math.pi))


def _correlation(covariance: np.ndarray, left: np.ndarray, right: np.ndarray) -> np.ndarray:
    with np.errstate(divide="ignore", invalid="ignore"):
        rho = np.nan_to_num(covariance / (left[:, None] * right[None, :]))
    return np.asarray(np.clip(rho, -1 + _NEAREST, 1 - _NEAREST))


# Piecewise-linear: on the piece where m lies psi is a line; the rest are hinges J (±(u - c))_+ that
# open away from m, so that nothing large cancels when a kink is far.


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
    chance, density = ndtr(-beta), _density(beta)
    first = deviation * density - distance * chance
    second = (deviation**2 + distance**2) * chance - distance * deviation * density
    # Below 0 by rounding only, and only where the chance itself is below 1e-15 or so.
    first, second = np.maximum(first, 0), np.maximum(second, 0)
    return _Hinges(jumps, np.where(apart > 0, -1.0, 1.0), distance, chance, first, second)


def _local_slope(activation: Activation, mean: np.ndarray) -> np.ndarray:
    return np.asarray(np.array(activation.slopes)[np.searchsorted(activation.kinks, mean)])


def _straight(activation: Activation, mean: np.ndarray, deviation: np.ndarray) -> UnitMoments:
    slope = _local_slope(activation, mean)
    value = _evaluate(activation, mean)
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


def _straight_pairs(
    activation: Activation,
    first: tuple[np.ndarray, np.ndarray],
    second: tuple[np.ndarray, np.ndarray],
    covariance: np.ndarray,
) -> np.ndarray:
    left, right = (_hinges(activation, *fields) for fields in (first, second))
    slopes = [_local_slope(activation, fields[0]) for fields in (first, second)]
    tilts = [(h.jumps[:, None] * h.side * h.chance).sum(0) for h in (left, right)]
    linear = slopes[0][:, None] * (slopes[1] + tilts[1]) + tilts[0][:, None] * slopes[1]
    total = linear * covariance
    rho = _correlation(covariance, first[1], second[1])
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
    both = orthant(a, b, rho)
    far, far_ = (b - rho * a) / r, (a - rho * b) / r
    one, two = _density(a) * ndtr(far), _density(b) * ndtr(far_)
    product = rho * (both - a * one - b * two) + r * _density(a) * _density(far)
    standard = product + a * (two + rho * one) + b * (one + rho * two) + a * b * both
    return np.asarray(tau[:, None] * tau_ * standard)


def _error_function(mean: np.ndarray, deviation: np.ndarray) -> UnitMoments:
    # erf(u/sqrt 2) = 2 Phi(u) - 1, so E Phi(u) = Phi(beta) and E Phi(u)² is a bivariate cdf.
    variance = deviation**2
    beta = mean / np.sqrt(1 + variance)
    slope = 2 * _density(beta) / np.sqrt(1 + variance)
    same = ndtr(beta) * ndtr(-beta) - 2 * owens_t(beta, 1 / np.sqrt(1 + 2 * variance))
    residual = np.maximum(4 * same - slope**2 * variance, 0)
    return UnitMoments(ndtr(beta) - ndtr(-beta), slope, residual)


def _error_function_pairs(
    first: tuple[np.ndarray, np.ndarray],
    second: tuple[np.ndarray, np.ndarray],
    covariance: np.ndarray,
) -> np.ndarray:
    scales = [np.sqrt(1 + fields[1] ** 2) for fields in (first, second)]
    betas = [fields[0] / scale for fields, scale in zip((first, second), scales, strict=True)]
    rho = covariance / (scales[0][:, None] * scales[1])
    a, b = np.broadcast_arrays(betas[0][:, None], betas[1])
    return np.asarray(4 * (orthant(a, b, rho) - ndtr(a) * ndtr(b)))


def _nodes() -> tuple[np.ndarray, np.ndarray]:
    nodes, weights = np.polynomial.hermite_e.hermegauss(_NODES)
    return nodes, weights / math.sqrt(2 * math.pi)


def _quadrature(activation: Activation, mean: np.ndarray, deviation: np.ndarray) -> UnitMoments:
    nodes, weights = _nodes()
    value, first = np.zeros_like(mean), np.zeros_like(mean)
    for node, weight in zip(nodes, weights, strict=True):
        at = _evaluate(activation, mean + deviation * node)
        value += weight * at
        first += weight * node * at
    residual = np.zeros_like(mean)
    for node, weight in zip(nodes, weights, strict=True):
        at = _evaluate(activation, mean + deviation * node)
        residual += weight * (at - value - first * node) ** 2
    with torch.no_grad():
        slope = activation.derivative(torch.from_numpy(mean)).numpy().copy()
    np.divide(first, deviation, out=slope, where=deviation > 0)
    return UnitMoments(value, slope, residual)


def _mehler(
    activation: Activation,
    first: tuple[np.ndarray, np.ndarray],
    second: tuple[np.ndarray, np.ndarray],
    covariance: np.ndarray,
) -> np.ndarray:
    """Sum c_k(u) c_k(v) rho^k over the Hermite coefficients c_k, k >= 1."""
    left, right = (_hermite(activation, *fields) for fields in (first, second))
    rho = _correlation(covariance, first[1], second[1])
    total = np.zeros_like(rho)
    for one, two in zip(left[:0:-1], right[:0:-1], strict=True):  # Horner
        total = rho * (total + one[:, None] * two)
    return total


def _hermite(activation: Activation, mean: np.ndarray, deviation: np.ndarray) -> np.ndarray:
    """Coefficients on the normalised Hermite polynomials, shape `(_TERMS + 1, N)`."""
    nodes, weights = _nodes()
    basis = np.empty((_TERMS + 1, _NODES))
    basis[0], basis[1] = 1.0, nodes
    for k in range(1, _TERMS):
        basis[k + 1] = (nodes * basis[k] - math.sqrt(k) * basis[k - 1]) / math.sqrt(k + 1)
    values = _evaluate(activation, mean + deviation * nodes[:, None])
    return np.asarray((basis * weights) @ values)


def hermite_coefficients(activation: Activation, deviation: float) -> tuple[float, float, float]:
    """Return a1 = E[psi s], a2 = E[psi (s² - 1)]/sqrt 2 and Var psi - a1² for psi(deviation s).

    An a1 or a2 below 1e-12 of the size of psi is 0, as it is for even and odd activations.

    Args:
        activation: psi.
        deviation: of the field, positive.

    Returns:
        The three numbers.
    """
    zero, spread = np.zeros(1), np.array([deviation])
    moments = unit_moments(activation, zero, spread)
    first = float(moments.slope[0]) * deviation
    if activation.slopes:
        # Only the curvature J delta(u - c) of the kinks counts: a2 = s² E[psi''(u)]/sqrt 2.
        kinks = np.array(activation.kinks) / deviation
        second = deviation * float(np.diff(activation.slopes) @ _density(kinks)) / math.sqrt(2)
    else:
        second = float(_hermite(activation, zero, spread)[2, 0])
    size = float(np.sqrt(first**2 + moments.residual[0] + moments.mean[0] ** 2))
    first, second = (0.0 if abs(a) < 1e-12 * size else a for a in (first, second))
    return first, second, float(moments.residual[0])
