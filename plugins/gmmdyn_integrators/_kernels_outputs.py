# mypy: allow-untyped-defs
# ruff: noqa: ANN001, ANN202
"""Compiled sums over the outputs of a network; imported when first needed.

The same numbers as `_outputs.py`.
"""

from __future__ import annotations

from numba import float64, njit, void

from gmmdyn_integrators._kept import kept

_rows = float64[:, ::1]
_row = float64[::1]


@njit(void(_rows, _row, _row, _rows), cache=True, nogil=True)
@kept
def head(readout, label, pull, gram):
    """Write (v y)_k and (v vᵀ)_ki, all that a linear error signal keeps of the outputs.

    Args:
        readout: shape `(K, O)`.
        label: shape `(O,)`.
        pull: shape `(K,)`.
        gram: shape `(K, K)`.
    """
    hidden, count = readout.shape
    for k in range(hidden):
        pull[k] = 0.0
        for o in range(count):
            pull[k] += readout[k, o] * label[o]
        for i in range(k, hidden):
            total = 0.0
            for o in range(count):
                total += readout[k, o] * readout[i, o]
            gram[k, i] = total
            gram[i, k] = total


@njit(float64(_rows, _row, _row, _rows, _row, _rows, _rows), cache=True, nogil=True)
@kept
def outputs(readout, label, pull, gram, value, values, signal):
    """Write E[g_k Delta_o] and return ½E[|Delta|²], Delta the error signal of the square loss.

    Args:
        readout: shape `(K, O)`.
        label: shape `(O,)`.
        pull: shape `(K,)`.
        gram: shape `(K, K)`.
        value: E[g_k], shape `(K,)`.
        values: E[g_k g_i], shape `(K, K)`.
        signal: shape `(K, O)`.
    """
    hidden, count = readout.shape
    square = 0.0
    for o in range(count):
        square += 0.5 * label[o] * label[o]
    for k in range(hidden):
        square -= pull[k] * value[k]
        for i in range(hidden):
            square += 0.5 * gram[k, i] * values[k, i]
        for o in range(count):
            signal[k, o] = label[o] * value[k]
            for i in range(hidden):
                signal[k, o] -= values[k, i] * readout[i, o]
    return square
