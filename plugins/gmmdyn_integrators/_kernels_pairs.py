# mypy: allow-untyped-defs
# ruff: noqa: ANN001, ANN202
r"""Compiled moments of networks of piecewise-linear units; imported when first needed.

The same numbers as `_pairs.py` gives in torch, by the twins of the formulas of
`gmmdyn.gaussian.piecewise_linear_pairs`: one cluster after the other, each pair of units once.
"""

from __future__ import annotations

import math

import numpy as np
from numba import float64, njit, void

from gmmdyn.gaussian.compiled import cdf, density, kinked_mean, product_mean, truncated
from gmmdyn.gaussian.piecewise_linear_pairs import DRIFT_PAIRS, PAIRS
from gmmdyn_integrators._kept import kept
from gmmdyn_integrators._kernels_lines import noise as lines_noise

# As in `gmmdyn.gaussian.piecewise_linear_pairs`.
_FAR = 40.0
_NEAREST = 1e-15

# The products of two units whose expectations are needed, numbered as in `PiecewiseLinear.jumps`.
_LEFT = np.array(PAIRS)[:, 0].copy()
_RIGHT = np.array(PAIRS)[:, 1].copy()

_cube = float64[:, :, ::1]
_rows = float64[:, ::1]
_row = float64[::1]


@njit(
    void(
        *(_rows, _cube, _rows, _row, _cube, _row, _rows, _row, _row, _row, _cube),
        *(_rows, _cube, _cube, _rows, _row, _rows),
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
        readout: shape `(N, K)`.
        labels: shape `(N,)`.
        factor: of the covariances, shape `(N, K, K)`.
        along: direction of the lines, shape `(K,)`.
        across: points across it, shape `(S, K)`; without any, the noise of more than two units is
            left as it is.
        kinks: as in `PiecewiseLinear`.
        offsets: as in `PiecewiseLinear`.
        slopes: as in `PiecewiseLinear`.
        jumps: as in `PiecewiseLinear`.
        drive: shape `(N, K)`.
        noise: shape `(N, K, K)`.
        stein: shape `(N, K, K)`.
        signal: E[g Delta], shape `(N, K)`.
        pmse: shape `(N,)`.
        steep: E[g'], shape `(N, K)`.
    """
    count, hidden = mean.shape
    edges = len(kinks) + 1
    functions = len(_LEFT) if hidden == 2 else DRIFT_PAIRS
    single, pair = np.empty((8, hidden)), np.empty(len(_LEFT))
    alpha, deviation = np.empty((hidden, edges)), np.empty(hidden)
    x = np.empty((3, 3))
    empty = np.empty(edges, np.bool_)
    for j in range(edges):
        empty[j] = not np.any(jumps[:, j])
    for n in range(count):
        y, v, m = labels[n], readout[n], mean[n]
        output = 0.0
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
            output += v[k] * single[1, k]
        pmse[n] = 0.5 * y * y - y * output
        for k in range(hidden):
            drive[n, k] = y * single[0, k] - v[k] * single[2, k]
            signal[n, k] = y * single[1, k] - v[k] * single[4, k]
            pmse[n] += 0.5 * v[k] * v[k] * single[4, k]
            steep[n, k] = single[0, k]
            if hidden == 1:
                noise[n, k, k] = y * y * single[5, k]
                noise[n, k, k] += v[k] * (v[k] * single[7, k] - 2.0 * y * single[6, k])
            stein[n, k, k] = -v[k] * single[5, k]
            for j in range(len(kinks)):
                if deviation[k] == 0.0:
                    continue
                gap = kinks[j] - m[k]
                given = y
                for i in range(hidden):
                    share = covariance[n, i, k] / covariance[n, k, k]
                    left = max(covariance[n, i, i] - share * covariance[n, i, k], 0.0)
                    middle, spread = m[i] + share * gap, math.sqrt(left)
                    given -= v[i] * kinked_mean(middle, spread, kinks, offsets, slopes)
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
                        truncated(m[k], m[i], deviation[k], deviation[i], a, b, rho, x)
                        for f in range(functions):
                            pair[f] += product_mean(x, jumps[_LEFT[f], j], jumps[_RIGHT[f], h])
                stein[n, k, i] = -v[i] * pair[0]
                stein[n, i, k] = -v[k] * pair[0]
                drive[n, k] -= v[i] * pair[1]
                drive[n, i] -= v[k] * pair[2]
                signal[n, k] -= v[i] * pair[3]
                signal[n, i] -= v[k] * pair[3]
                pmse[n] += v[k] * v[i] * pair[3]
                if hidden == 2:
                    # Delta is quadratic in two units, whose moments are known.
                    noise[n, k, i] = (
                        y * y * pair[0]
                        - 2.0 * y * (v[k] * pair[4] + v[i] * pair[5])
                        + v[k] * v[k] * pair[6]
                        + v[i] * v[i] * pair[7]
                        + 2.0 * v[k] * v[i] * pair[8]
                    )
                    noise[n, i, k] = noise[n, k, i]
                    noise[n, k, k] = (
                        y * y * single[5, k]
                        + v[k] * v[k] * single[7, k]
                        - 2.0 * y * v[k] * single[6, k]
                        - 2.0 * v[i] * (y * pair[9] - v[k] * pair[10])
                        + v[i] * v[i] * pair[11]
                    )
                    noise[n, i, i] = (
                        y * y * single[5, i]
                        + v[i] * v[i] * single[7, i]
                        - 2.0 * y * v[i] * single[6, i]
                        - 2.0 * v[k] * (y * pair[12] - v[i] * pair[13])
                        + v[k] * v[k] * pair[14]
                    )
        if len(kinks) == 0:
            noise[n, :, :] = 2.0 * slopes[0] ** 2 * pmse[n]
            continue
        if len(across) > 0 and hidden > 2:
            lines_noise(m, factor[n], v, y, kinks, offsets, slopes, along, across, noise[n])
