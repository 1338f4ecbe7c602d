# mypy: allow-untyped-defs
# ruff: noqa: ANN001, ANN202
r"""Compiled moments of networks of erf units; imported when first needed.

The same numbers as `_erf.py` gives in torch, where the formulas are.
"""

from __future__ import annotations

import math

import numpy as np
from numba import float64, njit, void

from gmmdyn.gaussian.compiled import erf_means, erf_pair, erf_tilt
from gmmdyn_integrators._kept import kept

_cube = float64[:, :, ::1]
_rows = float64[:, ::1]
_row = float64[::1]


@njit(
    void(_rows, _cube, _rows, _row, _rows, _cube, _cube, _rows, _row, _rows),
    cache=True,
    nogil=True,
)
@kept
def moments(mean, covariance, readout, labels, drive, noise, stein, signal, pmse, slope):
    """Compute the moments of N clusters, in place.

    Args:
        mean: of the local fields, shape `(N, K)`.
        covariance: shape `(N, K, K)`.
        readout: shape `(N, K)`.
        labels: shape `(N,)`.
        drive: shape `(N, K)`.
        noise: shape `(N, K, K)`.
        stein: shape `(N, K, K)`.
        signal: E[g Delta], shape `(N, K)`.
        pmse: shape `(N,)`.
        slope: E[g'], shape `(N, K)`.
    """
    count, hidden = mean.shape
    scale, argument, value = np.empty(hidden), np.empty(hidden), np.empty(hidden)
    m1, q1 = np.empty(hidden), np.empty((hidden, hidden))
    m2, q2 = np.empty(hidden), np.empty((hidden, hidden))
    for n in range(count):
        y, v = labels[n], readout[n]
        erf_means(mean[n], covariance[n], scale, argument, value)
        pmse[n] = 0.5 * y * y
        for k in range(hidden):
            pmse[n] -= y * v[k] * value[k]
            signal[n, k] = y * value[k]
        for k in range(hidden):
            for i in range(k, hidden):
                both = erf_pair(covariance[n], k, i, scale, argument, value)
                signal[n, k] -= v[i] * both
                pmse[n] += (0.5 if i == k else 1.0) * v[k] * v[i] * both
                if i > k:
                    signal[n, i] -= v[k] * both
        for k in range(hidden):
            slope[n, k] = erf_tilt(mean[n], covariance[n], k, m1, q1)
            erf_means(m1, q1, scale, argument, value)
            rest, bend = y, y * m1[k]
            for i in range(hidden):
                rest -= v[i] * value[i]
                steep = scale[i] * math.exp(-0.5 * argument[i] * argument[i])
                steep *= math.sqrt(2.0 / math.pi)
                bend -= v[i] * (m1[k] * value[i] + q1[k, i] * steep)
                stein[n, k, i] = -v[i] * slope[n, k] * steep
            drive[n, k] = slope[n, k] * rest
            stein[n, k, k] -= slope[n, k] * bend
            for i in range(k, hidden):
                weight = slope[n, k] * erf_tilt(m1, q1, i, m2, q2)
                erf_means(m2, q2, scale, argument, value)
                square = y * y
                for a in range(hidden):
                    square -= 2.0 * y * v[a] * value[a]
                    for b in range(a, hidden):
                        both = v[a] * v[b] * erf_pair(q2, a, b, scale, argument, value)
                        square += both if a == b else 2.0 * both
                noise[n, k, i] = weight * square
                noise[n, i, k] = noise[n, k, i]
