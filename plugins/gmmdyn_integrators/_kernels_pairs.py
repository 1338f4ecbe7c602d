# mypy: allow-untyped-defs
# ruff: noqa: ANN001, ANN202
r"""Compiled moments of networks of piecewise-linear units; imported when first needed.

The same numbers as `_hinges.py` gives in torch, where the formulas are: one cluster after the
other, each pair of units once.
"""

from __future__ import annotations

import math

import numpy as np
from numba import float64, njit, void

from gmmdyn.gaussian.compiled import cdf, cdf2, density
from gmmdyn_integrators._kept import kept
from gmmdyn_integrators._kernels_lines import noise as lines_noise
from gmmdyn_integrators._kernels_lines import noise_of_outputs as several
from gmmdyn_integrators._kernels_outputs import head, outputs
from gmmdyn_integrators._pieces import DRIFT_PAIRS, PAIRS

# As in `_hinges.py`.
_FAR = 40.0
_NEAREST = 1e-15

# The products of two units whose expectations are needed, numbered as in `Pieces.jumps`.
_LEFT = np.array(PAIRS)[:, 0].copy()
_RIGHT = np.array(PAIRS)[:, 1].copy()

_cube = float64[:, :, ::1]
_rows = float64[:, ::1]
_row = float64[::1]


@njit(
    void(float64, float64, float64, float64, float64, float64, float64, _rows),
    cache=True,
    nogil=True,
)
@kept
def _truncated(m0, m1, t0, t1, a, b, rho, x):
    """Write E[x_0^i x_1^j 1] to x[i, j], 1 the indicator of both units above their kinks."""
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
    u, v = one + rho * two, two + rho * one
    uv = rho * (both - a * one - b * two) + flat
    uu = both - a * one - rho * rho * b * two + rho * flat
    vv = both - b * two - rho * rho * a * one + rho * flat
    x[0, 0] = both
    x[1, 0] = m0 * both + t0 * u
    x[0, 1] = m1 * both + t1 * v
    x[1, 1] = m0 * m1 * both + m0 * t1 * v + m1 * t0 * u + t0 * t1 * uv
    x[2, 0] = m0 * m0 * both + 2.0 * m0 * t0 * u + t0 * t0 * uu
    x[0, 2] = m1 * m1 * both + 2.0 * m1 * t1 * v + t1 * t1 * vv


@njit(float64(_rows, _row, _row), cache=True, nogil=True)
@kept
def _both(x, p, q):
    """Return the expectation of p(x_0) q(x_1) from that of the powers; of degree 2 at most."""
    return (
        p[0] * (q[0] * x[0, 0] + q[1] * x[0, 1] + q[2] * x[0, 2])
        + p[1] * (q[0] * x[1, 0] + q[1] * x[1, 1])
        + p[2] * q[0] * x[2, 0]
    )


@njit(float64(float64, float64, _row, _row, _row), cache=True, nogil=True)
@kept
def _output(mean, deviation, kinks, offsets, slopes):
    """Return E[g(x)] for x ~ N(mean, deviation²)."""
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


@njit(void(_row, _rows, _row, _rows, float64, _rows), cache=True, nogil=True)
@kept
def _straight(pull, gram, value, values, slope, noise):
    """Write E[gamma_k gamma_l] of straight units of a slope."""
    hidden = len(pull)
    for k in range(hidden):
        for h in range(hidden):
            total = pull[k] * pull[h]
            for i in range(hidden):
                total -= (pull[k] * gram[h, i] + pull[h] * gram[k, i]) * value[i]
                for j in range(hidden):
                    total += gram[k, i] * gram[h, j] * values[i, j]
            noise[k, h] = slope * slope * total


@njit(
    void(
        *(_rows, _cube, _cube, _rows, _cube, _row, _rows, _row, _row, _row, _cube),
        *(_rows, _cube, _cube, _cube, _row, _rows),
    ),
    cache=True,
    nogil=True,
)
@kept
def moments(
    mean,
    covariance,
    readout,
    labels,
    factor,
    along,
    across,
    kinks,
    offsets,
    slopes,
    jumps,
    drive,
    noise,
    stein,
    signal,
    pmse,
    steep,
):
    """Compute the moments of N clusters, in place.

    Args:
        mean: of the local fields, shape `(N, K)`.
        covariance: shape `(N, K, K)`.
        readout: shape `(N, K, O)`.
        labels: shape `(N, O)`.
        factor: of the covariances, shape `(N, K, K)`.
        along: direction of the lines, shape `(K,)`.
        across: points across it, shape `(S, K)`; without any, the noise of more than two units is
            left as it is.
        kinks: as in `Pieces`.
        offsets: as in `Pieces`.
        slopes: as in `Pieces`.
        jumps: as in `Pieces`.
        drive: shape `(N, K)`.
        noise: shape `(N, K, K)`.
        stein: shape `(N, K, K)`.
        signal: E[g Delta], shape `(N, K, O)`.
        pmse: shape `(N,)`.
        steep: E[g'], shape `(N, K)`.
    """
    count, hidden = mean.shape
    edges = len(kinks) + 1
    functions = len(_LEFT) if hidden == 2 else DRIFT_PAIRS
    single, pair = np.empty((8, hidden)), np.empty(len(_LEFT))
    alpha, deviation = np.empty((hidden, edges)), np.empty(hidden)
    x = np.empty((3, 3))
    pull, gram = np.empty(hidden), np.empty((hidden, hidden))
    value, values = np.empty(hidden), np.empty((hidden, hidden))
    empty = np.empty(edges, np.bool_)
    for j in range(edges):
        empty[j] = not np.any(jumps[:, j])
    for n in range(count):
        m = mean[n]
        head(readout[n], labels[n], pull, gram)
        for k in range(hidden):
            deviation[k] = math.sqrt(max(covariance[n, k, k], 0.0))
            t = deviation[k]
            single[:, k] = 0.0
            for j in range(edges):
                a = _FAR
                if j > 0:
                    above = m[k] - kinks[j - 1]
                    a = _FAR if above > 0.0 else -_FAR
                    if t > 0.0:
                        a = min(max(above / t, -_FAR), _FAR)
                alpha[k, j] = a
                up, dens = cdf(a), density(a)
                first = m[k] * up + t * dens
                second = m[k] * m[k] * up + 2.0 * m[k] * t * dens + t * t * (up - a * dens)
                for f in range(8):
                    p = jumps[f, j]
                    single[f, k] += p[0] * up + p[1] * first + p[2] * second
        for k in range(hidden):
            value[k], values[k, k], steep[n, k] = single[1, k], single[4, k], single[0, k]
            size = gram[k, k]
            drive[n, k] = pull[k] * single[0, k] - size * single[2, k]
            stein[n, k, k] = -size * single[5, k]
            if hidden <= 2:
                noise[n, k, k] = pull[k] * pull[k] * single[5, k]
                noise[n, k, k] += size * (size * single[7, k] - 2.0 * pull[k] * single[6, k])
            for j in range(len(kinks)):
                if deviation[k] == 0.0:
                    continue
                gap = kinks[j] - m[k]
                given = pull[k]
                for i in range(hidden):
                    share = covariance[n, i, k] / covariance[n, k, k]
                    left = max(covariance[n, i, i] - share * covariance[n, i, k], 0.0)
                    middle, spread = m[i] + share * gap, math.sqrt(left)
                    given -= gram[k, i] * _output(middle, spread, kinks, offsets, slopes)
                height = density(gap / deviation[k]) / deviation[k]
                stein[n, k, k] += (slopes[j + 1] - slopes[j]) * height * given
        for k in range(hidden):
            for i in range(k + 1, hidden):
                pair[:] = 0.0
                outer = deviation[k] * deviation[i]
                rho = covariance[n, k, i] / outer if outer > 0.0 else 0.0
                rho = min(max(rho, -1.0 + _NEAREST), 1.0 - _NEAREST)
                for j in range(edges):
                    for h in range(edges):
                        if empty[j] or empty[h]:
                            continue
                        a, b = alpha[k, j], alpha[i, h]
                        _truncated(m[k], m[i], deviation[k], deviation[i], a, b, rho, x)
                        for f in range(functions):
                            pair[f] += _both(x, jumps[_LEFT[f], j], jumps[_RIGHT[f], h])
                cross = gram[k, i]
                stein[n, k, i] = -cross * pair[0]
                stein[n, i, k] = -cross * pair[0]
                drive[n, k] -= cross * pair[1]
                drive[n, i] -= cross * pair[2]
                values[k, i] = pair[3]
                values[i, k] = pair[3]
                if hidden == 2:
                    # d_k d_i is quadratic in two units, whose moments are known.
                    own, other = gram[k, k], gram[i, i]
                    noise[n, k, i] = (
                        pull[k] * pull[i] * pair[0]
                        - (pull[k] * cross + pull[i] * own) * pair[4]
                        - (pull[i] * cross + pull[k] * other) * pair[5]
                        + own * cross * pair[6]
                        + other * cross * pair[7]
                        + (own * other + cross * cross) * pair[8]
                    )
                    noise[n, i, k] = noise[n, k, i]
                    noise[n, k, k] += cross * (
                        cross * pair[11] - 2.0 * (pull[k] * pair[9] - own * pair[10])
                    )
                    noise[n, i, i] += cross * (
                        cross * pair[14] - 2.0 * (pull[i] * pair[12] - other * pair[13])
                    )
        pmse[n] = outputs(readout[n], labels[n], pull, gram, value, values, signal[n])
        if len(kinks) == 0:
            _straight(pull, gram, value, values, slopes[0], noise[n])
        elif len(across) > 0 and hidden > 2 and readout.shape[2] == 1:
            v, y = readout[n, :, 0].copy(), labels[n, 0]
            lines_noise(m, factor[n], v, y, kinks, offsets, slopes, along, across, noise[n])
        elif len(across) > 0 and hidden > 2:
            several(m, factor[n], pull, gram, kinks, offsets, slopes, along, across, noise[n])
