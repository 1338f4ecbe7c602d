"""The compiled loop over samples; imported when first needed (numba is heavy).

One sample after the other, as SGD is defined. Weights and samples stay in the cache, so an update
costs little beside drawing its D normals (see `benchmarks/simulation.py`).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import float32, float64, njit, types, void

_scalar = types.FunctionType(float64(float64))


def _signature(kind: types.Type) -> Any:
    rows = types.Array(kind, 2, "C")
    return void(rows, kind[::1], rows, float64[::1], float64[::1], float64[::1], _scalar, _scalar)


# The activation comes in by address: one compilation, kept on disk, serves all of them. Sums may
# be reordered (that is what lets them use vector instructions), but infinities are respected.
@njit(
    [_signature(float32), _signature(float64)],
    cache=True,
    nogil=True,
    fastmath={"reassoc", "contract"},
)
def advance(inputs, labels, first_layer, readout, bias, numbers, value, slope):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    """Update the weights of one replica, in place, by samples in order.

    Args:
        inputs: shape `(B, D)`.
        labels: shape `(B,)`.
        first_layer: shape `(K, D)`, in the dtype of the inputs.
        readout: shape `(K,)`.
        bias: shape `(K,)`, or empty for none.
        numbers: learning rate, weight decay, and 1 or 0 for a readout that learns or not.
        value: the activation.
        slope: its derivative.
    """
    count, dim = inputs.shape
    hidden = first_layer.shape[0]
    root = np.sqrt(dim)
    rate = numbers[0] / dim
    decay = 1.0 - rate * numbers[1]
    # In an array of their dtype, so that the loops over inputs are not widened.
    factors = np.empty(2, first_layer.dtype)
    factors[0] = decay
    fields = np.empty(hidden)
    outputs = np.empty(hidden)
    for b in range(count):
        output = 0.0
        for k in range(hidden):
            overlap = first_layer[k, 0] * inputs[b, 0]
            for i in range(1, dim):
                overlap += first_layer[k, i] * inputs[b, i]
            fields[k] = overlap / root
            if len(bias) > 0:
                fields[k] += bias[k]
            outputs[k] = value(fields[k])
            output += readout[k] * outputs[k]
        delta = labels[b] - output
        for k in range(hidden):
            signal = readout[k] * slope(fields[k]) * delta
            factors[1] = numbers[0] / root * signal
            shrink, step = factors[0], factors[1]
            for i in range(dim):
                first_layer[k, i] = shrink * first_layer[k, i] + step * inputs[b, i]
            if len(bias) > 0:
                bias[k] = decay * bias[k] + rate * signal
            if numbers[2] > 0:
                readout[k] = decay * readout[k] + rate * delta * outputs[k]
