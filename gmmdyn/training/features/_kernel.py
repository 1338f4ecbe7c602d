"""The compiled loop over updates of a linear readout; imported when first needed (numba is heavy).

One update after the other: with the features at hand an update is a dot product and a sum of
vectors, for which the exact blocked form would compute 64 dot products a sample.
"""

# mypy: disable-error-code="no-untyped-def,no-untyped-call,import-untyped"
# ruff: noqa: ANN001, ANN202

from __future__ import annotations

from typing import Any

import numpy as np
from numba import float32, float64, int64, njit, types, void

from gmmdyn.training.compiled._calls import call2
from gmmdyn.training.compiled.kept import kept

_doubles = float64[::1]


def _signature(kind: types.Type) -> Any:
    rows = types.Array(kind, 2, "C")
    return void(rows, _doubles, _doubles, _doubles, _doubles, float64, int64, int64)


# Sums may be reordered (that is what lets them use vector instructions), but infinities are
# respected.
@njit(
    [_signature(float32), _signature(float64)],
    cache=True,
    nogil=True,
    fastmath={"reassoc", "contract"},
)
@kept
def advance(features, labels, readout, bias, rates, weight_decay, batch, signal):
    """Update the readout of one replica, in place, by samples in order.

    Args:
        features: z, shape `(U b, P)`: b samples for each of U updates.
        labels: shape `(U b,)`.
        readout: w, shape `(P,)`.
        bias: shape `(1,)`, or empty for none.
        rates: eta/P at each update, shape `(U,)`.
        weight_decay: kappa.
        batch: b.
        signal: address of the error signal, a function of output and label.
    """
    size = len(readout)
    root = np.sqrt(size)
    signals = np.empty(batch)
    for u in range(len(rates)):
        rate = rates[u]
        total = 0.0
        for s in range(batch):
            z = features[u * batch + s]
            output = 0.0
            for i in range(size):
                output += readout[i] * z[i]
            output /= root
            if len(bias) > 0:
                output += bias[0]
            signals[s] = call2(signal, (output, labels[u * batch + s]))
            total += signals[s]
        decay = 1.0 - rate * weight_decay
        for s in range(batch):
            z, step = features[u * batch + s], rate * root / batch * signals[s]
            for i in range(size):
                readout[i] = decay * readout[i] + step * z[i]
            decay = 1.0
        if len(bias) > 0:
            bias[0] += rate / batch * total
