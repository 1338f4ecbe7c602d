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
from gmmdyn_integrators._kernels_outputs import head, outputs

_cube = float64[:, :, ::1]
_rows = float64[:, ::1]
_row = float64[::1]


@njit(
    void(_rows, _cube, _cube, _rows, _rows, _cube, _cube, _cube, _row, _rows),
    cache=True,
    nogil=True,
)
@kept
def moments(mean, covariance, readout, labels, drive, noise, stein, signal, pmse, slope):
    """Compute the moments of N clusters, in place.

    Args:
        mean: of the local fields, shape `(N, K)`.
        covariance: shape `(N, K, K)`.
        readout: shape `(N, K, O)`.
        labels: shape `(N, O)`.
        drive: shape `(N, K)`.
        noise: shape `(N, K, K)`.
        stein: shape `(N, K, K)`.
        signal: E[g Delta], shape `(N, K, O)`.
        pmse: shape `(N,)`.
        slope: E[g'], shape `(N, K)`.
    """
    count, hidden = mean.shape
    scale, argument, value = np.empty(hidden), np.empty(hidden), np.empty(hidden)
    pull, gram = np.empty(hidden), np.empty((hidden, hidden))
    values = np.empty((hidden, hidden))
    m1, q1 = np.empty(hidden), np.empty((hidden, hidden))
    m2, q2 = np.empty(hidden), np.empty((hidden, hidden))
    for n in range(count):
        head(readout[n], labels[n], pull, gram)
        erf_means(mean[n], covariance[n], scale, argument, value)
        for k in range(hidden):
            for i in range(k, hidden):
                values[k, i] = erf_pair(covariance[n], k, i, scale, argument, value)
                values[i, k] = values[k, i]
        pmse[n] = outputs(readout[n], labels[n], pull, gram, value, values, signal[n])
        for k in range(hidden):
            slope[n, k] = erf_tilt(mean[n], covariance[n], k, m1, q1)
            erf_means(m1, q1, scale, argument, value)
            rest, bend = pull[k], pull[k] * m1[k]
            for i in range(hidden):
                rest -= gram[k, i] * value[i]
                steep = scale[i] * math.exp(-0.5 * argument[i] * argument[i])
                steep *= math.sqrt(2.0 / math.pi)
                bend -= gram[k, i] * (m1[k] * value[i] + q1[k, i] * steep)
                stein[n, k, i] = -gram[k, i] * slope[n, k] * steep
            drive[n, k] = slope[n, k] * rest
            stein[n, k, k] -= slope[n, k] * bend
            for i in range(k, hidden):
                weight = slope[n, k] * erf_tilt(m1, q1, i, m2, q2)
                erf_means(m2, q2, scale, argument, value)
                square = pull[k] * pull[i]
                for a in range(hidden):
                    square -= (pull[k] * gram[i, a] + pull[i] * gram[k, a]) * value[a]
                    square += gram[k, a] * gram[i, a] * erf_pair(q2, a, a, scale, argument, value)
                    for b in range(a + 1, hidden):
                        share = gram[k, a] * gram[i, b] + gram[k, b] * gram[i, a]
                        square += share * erf_pair(q2, a, b, scale, argument, value)
                noise[n, k, i] = weight * square
                noise[n, i, k] = noise[n, k, i]
