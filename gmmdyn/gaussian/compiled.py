# mypy: allow-untyped-defs
# ruff: noqa: ANN001, ANN201, ANN202
r"""Compiled twins of the formulas of `gmmdyn.gaussian`; imported when first needed.

Of single numbers and small arrays of float64, for loops over many clusters or pairs of units. The
torch forms say what the formulas of units are.

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
from numba import float64, int64, njit, void

# The integrand is an entire function of the angle: the smaller that is, the fewer nodes it takes.
_FEW, _FEW_WEIGHTS = np.polynomial.legendre.leggauss(6)
_SOME, _SOME_WEIGHTS = np.polynomial.legendre.leggauss(12)
_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(20)
_ROOT_TWO = math.sqrt(2.0)
_ROOT_TWO_PI = math.sqrt(2.0 * math.pi)
# Beyond this many standard deviations the normal density underflows.
_FAR = 40.0
# Equal or opposite units have correlation ±1; this much less moves an expectation by 1e-8 or so.
_NEAREST = 1.0 - 1e-15

_cube = float64[:, :, ::1]
_rows = float64[:, ::1]
_row = float64[::1]


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


@njit(void(_row, _row, _row, _row), cache=True, nogil=True)
def excess_of_each(a, b, rho, out):
    """Write `excess` of each triple of numbers, all of shape `(N,)`."""
    for n in range(len(out)):
        out[n] = excess(a[n], b[n], rho[n])


@njit(float64(float64, float64, _row, _row, _row), cache=True, nogil=True)
def kinked_mean(mean, deviation, kinks, offsets, slopes):
    """Return E[g(x)] for x ~ N(mean, deviation²); see `piecewise_linear`."""
    total = offsets[0] + slopes[0] * mean
    for j in range(len(kinks)):
        above = mean - kinks[j]
        jump = slopes[j + 1] - slopes[j]
        if deviation > 0.0:
            ratio = above / deviation
            total += jump * (above * cdf(ratio) + deviation * density(ratio))
        elif above > 0.0:
            total += jump * above
    return total


@njit(cache=True, nogil=True, inline="always")
def _standard(both, one, two, flat, a, b, rho):
    """Return E[U 1], E[V 1], E[UV 1], E[U² 1] and E[V² 1]; see `piecewise_linear_pairs`."""
    return (
        one + rho * two,
        two + rho * one,
        rho * (both - a * one - b * two) + flat,
        both - a * one - rho * rho * b * two + rho * flat,
        both - b * two - rho * rho * a * one + rho * flat,
    )


@njit(
    void(float64, float64, float64, float64, float64, float64, float64, _rows),
    cache=True,
    nogil=True,
)
def truncated(m0, m1, t0, t1, a, b, rho, x):
    """Write E[x_0^i x_1^j 1] to x[i, j], i + j <= 2; see `piecewise_linear_pairs.truncated`."""
    r = math.sqrt((1.0 - rho) * (1.0 + rho))
    one, two, flat = 0.0, 0.0, 0.0
    if a >= _FAR and b >= _FAR:
        both = 1.0
    elif a >= _FAR:
        both, two = cdf(b), density(b)
    elif b >= _FAR:
        both, one = cdf(a), density(a)
    else:
        far = (b - rho * a) / r
        both = cdf2(a, b, rho)
        one = density(a) * cdf(far)
        two = density(b) * cdf((a - rho * b) / r)
        flat = r * density(a) * density(far)
    u, v, uv, uu, vv = _standard(both, one, two, flat, a, b, rho)
    x[0, 0] = both
    x[1, 0] = m0 * both + t0 * u
    x[0, 1] = m1 * both + t1 * v
    x[1, 1] = m0 * m1 * both + m0 * t1 * v + m1 * t0 * u + t0 * t1 * uv
    x[2, 0] = m0 * m0 * both + 2.0 * m0 * t0 * u + t0 * t0 * uu
    x[0, 2] = m1 * m1 * both + 2.0 * m1 * t1 * v + t1 * t1 * vv


@njit(float64(_rows, _row, _row), cache=True, nogil=True)
def product_mean(x, p, q):
    """Return the expectation of p(x_0) q(x_1) from that of the powers; of degree 2 at most."""
    return (
        p[0] * (q[0] * x[0, 0] + q[1] * x[0, 1] + q[2] * x[0, 2])
        + p[1] * (q[0] * x[1, 0] + q[1] * x[1, 1])
        + p[2] * q[0] * x[2, 0]
    )


@njit(void(_row, _cube, _row, _cube, _row, _rows, _rows), cache=True, nogil=True)
def ramp_covariances(u, left, v, right, jumps, covariance, out):
    """Write the covariances of sums of ramps; see `piecewise_linear_pairs.covariances`.

    Args:
        u: deviations of the fields u, shape `(M,)`.
        left: side, ratio, probability, density and mean of their ramps, as in
            `piecewise_linear.Ramps`, shape `(5, J, M)`.
        v: deviations of the fields v, shape `(N,)`.
        right: of their ramps, shape `(5, J, N)`.
        jumps: of the slope at the kinks, shape `(J,)`.
        covariance: Cov(u, v), shape `(M, N)`.
        out: shape `(M, N)`.
    """
    for m in range(len(u)):
        for n in range(len(v)):
            out[m, n] = 0.0
            scale = u[m] * v[n]
            if scale == 0.0:
                continue
            correlation = min(max(covariance[m, n] / scale, -_NEAREST), _NEAREST)
            for j in range(len(jumps)):
                for k in range(len(jumps)):
                    rho = correlation * left[0, j, m] * right[0, k, n]
                    a, b = -left[1, j, m], -right[1, k, n]
                    r = math.sqrt((1.0 - rho) * (1.0 + rho))
                    far = (b - rho * a) / r
                    both = excess(a, b, rho) + left[2, j, m] * right[2, k, n]
                    one = left[3, j, m] * cdf(far)
                    two = right[3, k, n] * cdf((a - rho * b) / r)
                    flat = r * left[3, j, m] * density(far)
                    x, y, xy, _, _ = _standard(both, one, two, flat, a, b, rho)
                    ramps = scale * (xy + a * y + b * x + a * b * both)
                    ramps -= left[4, j, m] * right[4, k, n]
                    out[m, n] += jumps[j] * jumps[k] * ramps


@njit(float64(_row, _rows, int64, _row, _rows), cache=True, nogil=True)
def erf_tilt(mean, covariance, unit, new_mean, new_covariance):
    """Write the Gaussian tilted by g' of a unit, and return E[g']; see `error_function.tilted`."""
    hidden = len(mean)
    spread = 1.0 + covariance[unit, unit]
    pull = mean[unit] / spread
    for k in range(hidden):
        new_mean[k] = mean[k] - covariance[k, unit] * pull
        gain = covariance[k, unit] / spread
        for i in range(k, hidden):
            new_covariance[k, i] = covariance[k, i] - gain * covariance[i, unit]
            new_covariance[i, k] = new_covariance[k, i]
    return math.sqrt(2.0 / (math.pi * spread)) * math.exp(-0.5 * mean[unit] * pull)


@njit(void(_row, _rows, _row, _row, _row), cache=True, nogil=True)
def erf_means(mean, covariance, scale, argument, value):
    """Write s_k = 1/sqrt(1 + Q_kk), a_k = m_k s_k and E[g_k]; see `error_function`."""
    for k in range(len(mean)):
        scale[k] = 1.0 / math.sqrt(1.0 + covariance[k, k])
        argument[k] = mean[k] * scale[k]
        value[k] = 1.0 - 2.0 * cdf(-argument[k])


@njit(float64(_rows, int64, int64, _row, _row, _row), cache=True, nogil=True)
def erf_pair(covariance, k, i, scale, argument, value):
    """Return E[g_k g_i] from what `erf_means` wrote; see `error_function`."""
    rho = covariance[k, i] * scale[k] * scale[i]
    return 4.0 * excess(argument[k], argument[i], rho) + value[k] * value[i]
