"""Units of any smooth nonlinearity: Gauss-Hermite quadrature, and Mehler's series for pairs."""

from __future__ import annotations

import math

import numpy as np
import torch

from gmmdyn.interfaces import Activation
from gmmdyn_random_features._fields import (
    Fields,
    UnitCumulants,
    UnitMoments,
    correlation,
    evaluate,
)

# Nodes of Gauss-Hermite quadrature: exact for polynomials up to degree 255.
_NODES = 128
# Terms of Mehler's series; the terms decay like rho^k.
_TERMS = 64


def _nodes() -> tuple[np.ndarray, np.ndarray]:
    nodes, weights = np.polynomial.hermite_e.hermegauss(_NODES)
    return nodes, weights / math.sqrt(2 * math.pi)


def moments(activation: Activation, mean: np.ndarray, deviation: np.ndarray) -> UnitMoments:
    """Compute the moments; see `unit_moments`."""
    nodes, weights = _nodes()
    value, first = np.zeros_like(mean), np.zeros_like(mean)
    for node, weight in zip(nodes, weights, strict=True):
        at = evaluate(activation, mean + deviation * node)
        value += weight * at
        first += weight * node * at
    residual = np.zeros_like(mean)
    for node, weight in zip(nodes, weights, strict=True):
        at = evaluate(activation, mean + deviation * node)
        residual += weight * (at - value - first * node) ** 2
    with torch.no_grad():
        slope = activation.derivative(torch.from_numpy(mean)).numpy().copy()
    np.divide(first, deviation, out=slope, where=deviation > 0)
    return UnitMoments(value, slope, residual)


def cumulants(activation: Activation, mean: np.ndarray, deviation: np.ndarray) -> UnitCumulants:
    """Compute the cumulants; see `unit_cumulants`."""
    nodes, weights = _nodes()
    values = evaluate(activation, mean + deviation * nodes[:, None])
    centred = values - weights @ values
    along, bent = weights * nodes, weights * (nodes**2 - 1) / math.sqrt(2)
    cubic = weights * (nodes**3 - 3 * nodes) / math.sqrt(6)
    square = centred**2
    return UnitCumulants(
        first=along @ centred,
        second=bent @ centred,
        third=cubic @ centred,
        square_first=along @ square,
        square_second=bent @ square,
        cube=weights @ (square * centred),
    )


def covariances(
    activation: Activation,
    first: Fields,
    second: Fields,
    covariance: np.ndarray,
) -> np.ndarray:
    """Sum c_k(u) c_k(v) rho^k over the Hermite coefficients c_k, k >= 1."""
    left, right = (coefficients(activation, *fields) for fields in (first, second))
    rho = correlation(covariance, first[1], second[1])
    total = np.zeros_like(rho)
    for one, two in zip(left[:0:-1], right[:0:-1], strict=True):  # Horner
        total = rho * (total + one[:, None] * two)
    return total


def coefficients(activation: Activation, mean: np.ndarray, deviation: np.ndarray) -> np.ndarray:
    """Return the coefficients on the normalised Hermite polynomials, shape `(_TERMS + 1, N)`."""
    nodes, weights = _nodes()
    basis = np.empty((_TERMS + 1, _NODES))
    basis[0], basis[1] = 1.0, nodes
    for k in range(1, _TERMS):
        basis[k + 1] = (nodes * basis[k] - math.sqrt(k) * basis[k - 1]) / math.sqrt(k + 1)
    values = evaluate(activation, mean + deviation * nodes[:, None])
    return np.asarray((basis * weights) @ values)
