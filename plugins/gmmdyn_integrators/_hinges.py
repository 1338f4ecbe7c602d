r"""Expectations of one or two piecewise-linear units over Gaussian fields, in closed form.

A piecewise-linear g is a line plus hinges, g(x) = o + s x + sum_j J_j (x - c_j)_+, so everything
with at most two units is a moment of a bivariate normal truncated to an orthant (Rosenbaum, JRSS B
23, 405 (1961)). In standard units U, V of correlation rho, with alpha = (m - c)/tau, r = sqrt(1 -
rho²), the indicator 1 of U > -alpha and V > -beta, A = phi(alpha) Phi((beta - rho alpha)/r) and its
mirror image B:

    E[1] = Phi2(alpha, beta; rho)       E[U 1] = A + rho B
    E[UV 1] = rho (E[1] - alpha A - beta B) + r phi(alpha) phi((beta - rho alpha)/r)

Shapes: mean (N, K), covariance (N, K, K) for N = batch times clusters; H = K J hinges.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from scipy.special import ndtr, owens_t

# Beyond this many standard deviations the normal density underflows.
_FAR = 38.0
# Equal or opposite units have correlation ±1; this much less moves an expectation by 1e-8 or so.
_NEAREST = 1e-15


class Line(NamedTuple):
    """A piecewise-linear activation as a line plus hinges.

    Attributes:
        offset: o.
        slope: s.
        kinks: c, shape `(J,)`.
        jumps: J_j, shape `(J,)`.
    """

    offset: float
    slope: float
    kinks: np.ndarray
    jumps: np.ndarray


class Pairs(NamedTuple):
    """Expectations of units k (first) and i (second).

    Attributes:
        slope: E[g'(x_k)], shape `(N, K)`.
        value: E[g(x_k)], shape `(N, K)`.
        slope_slope: E[g'(x_k) g'(x_i)], shape `(N, K, K)`.
        slope_value: E[g'(x_k) g(x_i)], shape `(N, K, K)`.
        value_value: E[g(x_k) g(x_i)], shape `(N, K, K)`.
    """

    slope: np.ndarray
    value: np.ndarray
    slope_slope: np.ndarray
    slope_value: np.ndarray
    value_value: np.ndarray


def _density(x: np.ndarray) -> np.ndarray:
    return np.asarray(np.exp(-0.5 * x * x) / math.sqrt(2 * math.pi))


def orthant(alpha: np.ndarray, beta: np.ndarray, rho: np.ndarray) -> np.ndarray:
    """Return the bivariate normal cdf by Owen's T, for |rho| < 1.

    Args:
        alpha: any shape.
        beta: same shape.
        rho: correlations, same shape.

    Returns:
        P(U <= alpha, V <= beta), which is P(U > -alpha, V > -beta).
    """
    r = np.sqrt((1 - rho) * (1 + rho))
    with np.errstate(divide="ignore", invalid="ignore"):
        one = owens_t(alpha, (beta - rho * alpha) / (alpha * r))
        two = owens_t(beta, (alpha - rho * beta) / (beta * r))
    opposite = (alpha * beta < 0) | ((alpha * beta == 0) & (alpha + beta < 0))
    general = 0.5 * (ndtr(alpha) + ndtr(beta)) - one - two - 0.5 * opposite
    origin = (alpha == 0) & (beta == 0)
    return np.asarray(np.where(origin, 0.25 + np.arcsin(rho) / (2 * math.pi), general))


def pairs(line: Line, mean: np.ndarray, covariance: np.ndarray) -> Pairs:
    """Compute the expectations of one and two units.

    Args:
        line: the activation.
        mean: of the fields, shape `(N, K)`.
        covariance: of the fields, shape `(N, K, K)`, positive semi-definite.

    Returns:
        The expectations.
    """
    hidden = mean.shape[1]
    # A solver's trial may lie a little outside of the possible; `covariance_factor` sees to more.
    variance = np.maximum(covariance.diagonal(axis1=1, axis2=2), 0)
    deviation = np.sqrt(variance)  # (N, K)
    size = len(line.kinks)
    jumps = np.tile(line.jumps, hidden)
    tau = np.repeat(deviation, size, axis=1)  # (N, H)
    above = np.repeat(mean, size, axis=1) - np.tile(line.kinks, hidden)
    with np.errstate(divide="ignore", invalid="ignore"):
        alpha = np.clip(np.nan_to_num(above / tau), -_FAR, _FAR)
        outer = deviation[:, :, None] * deviation[:, None, :]
        rho = np.nan_to_num(covariance / outer)
    rho = np.clip(rho, -1 + _NEAREST, 1 - _NEAREST)
    rho = np.repeat(np.repeat(rho, size, axis=1), size, axis=2)  # (N, H, H)

    a, b = np.broadcast_arrays(alpha[:, :, None], alpha[:, None, :])
    r = np.sqrt((1 - rho) * (1 + rho))
    far = (b - rho * a) / r
    both = orthant(a, b, rho)
    first = _density(a) * ndtr(far)
    second = first.swapaxes(1, 2)
    left = first + rho * second  # E[U 1]; its mirror image is E[V 1]
    right = left.swapaxes(1, 2)
    product = rho * (both - a * first - b * second) + r * _density(a) * _density(far)
    ramp = tau[:, None, :] * (right + b * both)  # E[1(x_h > c) (x_i - c)_+]
    ramps = tau[:, :, None] * tau[:, None, :] * (product + a * right + b * left + a * b * both)

    def units(by_hinge: np.ndarray, weight: np.ndarray) -> np.ndarray:
        """Add up the hinges of each unit along the last axis."""
        weighted = by_hinge * weight
        return np.asarray(weighted.reshape(*weighted.shape[:-1], hidden, size).sum(-1))

    def unit_pairs(by_hinges: np.ndarray) -> np.ndarray:
        inner = units(by_hinges, jumps).swapaxes(1, 2)
        return units(inner, jumps).swapaxes(1, 2)

    up, density = ndtr(alpha), _density(alpha)
    hinge = tau * (density + alpha * up)  # E[(x - c)_+]
    step, rise = units(up, jumps), units(hinge, jumps)  # sums J P(x > c), J E[(x - c)_+]
    with np.errstate(divide="ignore", invalid="ignore"):
        spike = np.where(tau > 0, density / tau, 0.0)
    spikes = units(spike, jumps)  # sum J N(c; m, tau²)
    # Stein: E[x_k h(x_i)] = m_k E[h] + Cov_ki E[h']
    x_step = mean[:, :, None] * step[:, None, :] + covariance * spikes[:, None, :]
    x_rise = mean[:, :, None] * rise[:, None, :] + covariance * step[:, None, :]
    xx = mean[:, :, None] * mean[:, None, :] + covariance
    o, s = line.offset, line.slope
    linear = o + s * mean
    return Pairs(
        slope=s + step,
        value=linear + rise,
        slope_slope=s * s + s * (step[:, :, None] + step[:, None, :]) + unit_pairs(both),
        slope_value=s * (linear + rise)[:, None, :]
        + o * step[:, :, None]
        + s * x_step.swapaxes(1, 2)
        + unit_pairs(ramp),
        value_value=o * o
        + o * s * (mean[:, :, None] + mean[:, None, :])
        + s * s * xx
        + o * (rise[:, :, None] + rise[:, None, :])
        + s * (x_rise + x_rise.swapaxes(1, 2))
        + unit_pairs(ramps),
    )
