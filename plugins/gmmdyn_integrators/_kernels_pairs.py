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
from gmmdyn_integrators._kernels_lines import noise_of_outputs as several
from gmmdyn_integrators._kernels_outputs import head, outputs

# As in `gmmdyn.gaussian.piecewise_linear_pairs`.
_FAR = 40.0
_NEAREST = 1e-15

# The products of two units whose expectations are needed, numbered as in `PiecewiseLinear.jumps`.
_LEFT = np.array(PAIRS)[:, 0].copy()
_RIGHT = np.array(PAIRS)[:, 1].copy()

_cube = float64[:, :, ::1]
_rows = float64[:, ::1]
_row = float64[::1]


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
        kinks: as in `PiecewiseLinear`.
        offsets: as in `PiecewiseLinear`.
        slopes: as in `PiecewiseLinear`.
        jumps: as in `PiecewiseLinear`.
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
                    given -= gram[k, i] * kinked_mean(middle, spread, kinks, offsets, slopes)
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
