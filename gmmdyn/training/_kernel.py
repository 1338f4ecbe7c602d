"""The compiled loop over updates; imported when first needed (numba is heavy).

One update after the other, as SGD is defined. Weights and samples stay in the cache, so an update
costs little beside drawing its D normals (see `benchmarks/simulation.py`).
"""

# mypy: disable-error-code="no-untyped-def,no-untyped-call,import-untyped"
# ruff: noqa: ANN001, ANN202

from __future__ import annotations

from typing import Any

import numpy as np
from numba import float32, float64, int64, njit, types, void

from gmmdyn.training._calls import call1, call2

# Sums may be reordered (that is what lets them use vector instructions), but infinities are
# respected.
_FAST = {"reassoc", "contract"}


@njit(fastmath=_FAST, inline="always")
def _overlaps(weights, x, into):
    """Write the dot products of all rows of `weights` with `x`, four rows at a time."""
    hidden, dim = weights.shape
    grouped = hidden - hidden % 4
    for k in range(0, grouped, 4):
        a, b, c, d = weights[k], weights[k + 1], weights[k + 2], weights[k + 3]
        # Begun with products, not zeros, to stay in the dtype of the inputs.
        sum_a, sum_b, sum_c, sum_d = a[0] * x[0], b[0] * x[0], c[0] * x[0], d[0] * x[0]
        for i in range(1, dim):
            sum_a += a[i] * x[i]
            sum_b += b[i] * x[i]
            sum_c += c[i] * x[i]
            sum_d += d[i] * x[i]
        into[k], into[k + 1], into[k + 2], into[k + 3] = sum_a, sum_b, sum_c, sum_d
    for k in range(grouped, hidden):
        a = weights[k]
        total = a[0] * x[0]
        for i in range(1, dim):
            total += a[i] * x[i]
        into[k] = total


@njit(fastmath=_FAST, inline="always")
def _add(weights, steps, x):
    """Add `steps[k]` times `x` to row k of `weights`."""
    # Not several rows at a time: the check that they do not overlap would fail, and the loop that
    # is left for that case is five times slower.
    hidden, dim = weights.shape
    for k in range(hidden):
        row, step = weights[k], steps[k]
        for i in range(dim):
            row[i] += step * x[i]


@njit(fastmath=_FAST, inline="always")
def _multiply(weights, factor):
    """Multiply by a factor of double precision, rounding once."""
    hidden, dim = weights.shape
    for k in range(hidden):
        for i in range(dim):
            weights[k, i] = weights[k, i] * factor


def _placing(kind: types.Type) -> Any:
    return void(types.Array(kind, 2, "C"), int64[::1], kind[::1], types.Array(kind, 2, "C"))


@njit([_placing(float32), _placing(float64)], cache=True, nogil=True, fastmath=_FAST)
def place(normals, clusters, scale, centres):
    """Turn normals into inputs, in place.

    Args:
        normals: shape `(n, D)`.
        clusters: of the rows, shape `(n,)`.
        scale: of the noise in each coordinate, shape `(D,)`.
        centres: of the clusters, shape `(C, D)`.
    """
    dim = normals.shape[1]
    for b in range(len(clusters)):
        row, centre = normals[b], centres[clusters[b]]
        for i in range(dim):
            row[i] = centre[i] + scale[i] * row[i]


def _signature(kind: types.Type) -> Any:
    rows, line, doubles = types.Array(kind, 2, "C"), kind[::1], float64[::1]
    return void(
        rows, line, rows, doubles, doubles, doubles, float64, int64, int64, int64, int64, int64
    )


@njit([_signature(float32), _signature(float64)], cache=True, nogil=True, fastmath=_FAST)
def advance(
    inputs,
    labels,
    first_layer,
    readout,
    bias,
    rates,
    weight_decay,
    train_readout,
    batch,
    value,
    slope,
    signal,
):
    """Update the weights of one replica, in place, by samples in order.

    Args:
        inputs: shape `(U b, D)`: b samples for each of U updates.
        labels: shape `(U b,)`.
        first_layer: shape `(K, D)`, in the dtype of the inputs.
        readout: shape `(K,)`.
        bias: shape `(K,)`, or empty for none.
        rates: eta at each update, shape `(U,)`.
        weight_decay: kappa.
        train_readout: 1 or 0, for a readout that learns or not.
        batch: b.
        value: address of the activation, a function of one float.
        slope: address of its derivative.
        signal: address of the error signal, a function of output and label.
    """
    dim = inputs.shape[1]
    hidden = first_layer.shape[0]
    root = np.sqrt(dim)
    fields = np.empty(hidden)
    outputs = np.empty(hidden)
    firsts = np.empty((batch, hidden))
    seconds = np.empty(hidden)
    # In the dtype of the inputs, so that the loops over them are not widened.
    steps = np.empty(hidden, first_layer.dtype)
    # The weights are `scale` times what the array holds until the end. Decay costs nothing then,
    # and is not lost in single precision, where 1 - eta kappa/D would be rounded.
    scale = 1.0
    for u in range(len(rates)):
        rate = rates[u] / dim
        decay = 1.0 - rate * weight_decay
        seconds[:] = 0.0
        for s in range(batch):
            sample = u * batch + s
            _overlaps(first_layer, inputs[sample], fields)
            output = 0.0
            for k in range(hidden):
                fields[k] *= scale / root
                if len(bias) > 0:
                    fields[k] += bias[k]
                outputs[k] = call1(value, (fields[k],))
                output += readout[k] * outputs[k]
            delta = call2(signal, (output, float64(labels[sample])))
            for k in range(hidden):
                firsts[s, k] = readout[k] * call1(slope, (fields[k],)) * delta
                seconds[k] += delta * outputs[k]
        scale *= decay
        if not 0.5 < abs(scale) < 2.0:
            _multiply(first_layer, scale)
            scale = 1.0
        for s in range(batch):
            for k in range(hidden):
                steps[k] = rate * root / batch / scale * firsts[s, k]
            _add(first_layer, steps, inputs[u * batch + s])
        for k in range(hidden):
            if len(bias) > 0:
                total = 0.0
                for s in range(batch):
                    total += firsts[s, k]
                bias[k] = decay * bias[k] + rate / batch * total
            if train_readout > 0:
                readout[k] = decay * readout[k] + rate / batch * seconds[k]
    if scale != 1.0:
        _multiply(first_layer, scale)
