# mypy: allow-untyped-defs
# ruff: noqa: ANN001, ANN201, ANN202
r"""Compiled normal probabilities of one and two variables; imported when first needed.

The bivariate cdf is Gauss–Legendre quadrature of Plackett's identity over the angle arcsin(rho),
and for |rho| near 1 of the difference from |rho| = 1, less its leading terms, in Genz's form: about
1e-15 everywhere.

References:
    Drezner and Wesolowsky, Journal of Statistical Computation and Simulation 35, 101 (1990);
    Genz, Statistics and Computing 14, 251 (2004), section 2.3.
"""

from __future__ import annotations

import math

import numpy as np
from numba import float64, njit, void

# The integrand is an entire function of the angle: the smaller that is, the fewer nodes it takes.
_FEW, _FEW_WEIGHTS = np.polynomial.legendre.leggauss(6)
_SOME, _SOME_WEIGHTS = np.polynomial.legendre.leggauss(12)
_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(20)
_ROOT_TWO = math.sqrt(2.0)
_ROOT_TWO_PI = math.sqrt(2.0 * math.pi)


@njit(float64(float64), cache=True, nogil=True)
def cdf(x):
    """Return Φ(x)."""
    return 0.5 * math.erfc(-x / _ROOT_TWO)


@njit(float64(float64), cache=True, nogil=True)
def density(x):
    """Return φ(x)."""
    return math.exp(-0.5 * x * x) / _ROOT_TWO_PI


@njit(float64(float64, float64, float64), cache=True, nogil=True)
def _extreme(a, b, rho):
    """Return `cdf2` for 0.925 <= |rho| <= 1, from its value at |rho| = 1."""
    h, k = -a, -b
    if rho < 0.0:
        k = -k
    total = 0.0
    if abs(rho) < 1.0:
        left = (1.0 - rho) * (1.0 + rho)
        root = math.sqrt(left)
        gap = (h - k) * (h - k)
        product = h * k
        c = (4.0 - product) / 8.0
        d = (12.0 - product) / 16.0
        exponent = -0.5 * (gap / left + product)
        if exponent > -700.0:
            series = (
                1.0 - c * (gap - left) * (1.0 - d * gap / 5.0) / 3.0 + c * d * left * left / 5.0
            )
            total = root * math.exp(exponent) * series
        if product > -1400.0:
            far = math.sqrt(gap)
            total -= (
                math.exp(-0.5 * product)
                * _ROOT_TWO_PI
                * cdf(-far / root)
                * far
                * (1.0 - c * gap * (1.0 - d * gap / 5.0) / 3.0)
            )
        for i in range(len(_NODES)):
            square = (0.5 * root * (1.0 + _NODES[i])) ** 2
            exponent = -0.5 * (gap / square + product)
            if exponent > -700.0:
                one = math.sqrt(1.0 - square)
                tail = math.exp(-0.5 * product * square / (1.0 + one) ** 2) / one
                series = 1.0 + c * square * (1.0 + d * square)
                total += 0.5 * root * _WEIGHTS[i] * math.exp(exponent) * (tail - series)
        total = -total / (2.0 * math.pi)
    if rho > 0.0:
        return total + cdf(-max(h, k))
    total = -total
    if h < k:
        if h < 0.0:
            total += cdf(k) - cdf(h)
        else:
            total += cdf(-h) - cdf(-k)
    return total


@njit(float64(float64, float64, float64), cache=True, nogil=True)
def excess(a, b, rho):
    """Return P(U <= a, V <= b) - P(U <= a) P(V <= b); see `cdf2`."""
    if rho == 0.0:
        return 0.0
    if abs(rho) >= 0.925:
        return _extreme(a, b, rho) - cdf(a) * cdf(b)
    squares, product, angle = 0.5 * (a * a + b * b), a * b, math.asin(rho)
    total = 0.0
    count = 6 if abs(rho) < 0.3 else (12 if abs(rho) < 0.75 else 20)
    for i in range(count):
        if count == 6:
            node, weight = _FEW[i], _FEW_WEIGHTS[i]
        elif count == 12:
            node, weight = _SOME[i], _SOME_WEIGHTS[i]
        else:
            node, weight = _NODES[i], _WEIGHTS[i]
        sine = math.sin(0.5 * angle * (1.0 + node))
        total += weight * math.exp((sine * product - squares) / (1.0 - sine * sine))
    return total * angle / (4.0 * math.pi)


@njit(float64(float64, float64, float64), cache=True, nogil=True)
def cdf2(a, b, rho):
    """Return P(U <= a, V <= b) of standard normal numbers with correlation rho, |rho| <= 1."""
    if abs(rho) >= 0.925:
        return _extreme(a, b, rho)
    return excess(a, b, rho) + cdf(a) * cdf(b)


_row = float64[::1]


@njit(void(_row, _row, _row, _row), cache=True, nogil=True)
def excess_of_each(a, b, rho, out):
    """Write `excess` of each triple of numbers, all of shape `(N,)`."""
    for n in range(len(out)):
        out[n] = excess(a[n], b[n], rho[n])
