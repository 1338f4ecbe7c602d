"""The compiled loop over updates of the chain; imported when first needed (numba is heavy).

Legend (all vectors divided by sqrt(D)). The weights of one replica stand in an orthonormal basis of
r directions that hold the means and s = min(K, D - r) more that hold what the weights have beside:
`span` (r, K) and `rest` (s, K), both by direction, so that Q = span' span + rest' rest and
R = centres span. A sample has the coordinates p (r,) and sigma xi (s,) there, and chi is what its
noise has beyond them, squared, over sigma^2.

One update is span <- a span + p d', with d_k = (eta/D) v_k g'(lambda_k) Delta, while `rest` gets a
row more, sigma sqrt(chi) d, and is brought back to s rows by rotations, which leave Q as it is:

    1. The s + 1 rows a rest + sigma xi d', sigma sqrt(chi) d are turned so that the noise points
       along the last one. With Y = |xi|^2 + chi, this makes `rest` into a P' rest, where
       P P' = 1 - xi xi'/Y and P is lower triangular with entries known in closed form, and the
       last row into z = sigma sqrt(Y) d + a (rest' xi)/sqrt(Y).
    2. One rotation for each row of `rest` takes z into it (an update of a Cholesky factor).

Row j of `rest` is zero for units before j throughout. Nothing is subtracted from Q: it stays
positive semi-definite whatever the rounding.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import float64, int64, njit, types, void

from gmmdyn.training._calls import call1, call2

_vector, _rows = float64[::1], float64[:, ::1]
_tuple: Any = types.Tuple
_noise = _tuple((_vector, _vector, _rows, _vector, _vector))
_mixture = _tuple((_rows, _vector, _vector, float64))
_state = _tuple((_rows, _rows, _vector, _vector))
_numbers = _tuple((float64, float64, types.boolean))
_addresses = _tuple((int64, int64, int64))


# Sums may be reordered (that lets them use vector instructions), but infinities are respected.
@njit(
    [void(_noise, _mixture, _state, _numbers, _addresses)],
    cache=True,
    nogil=True,
    error_model="numpy",
    fastmath={"reassoc", "contract", "nsz"},
)
def advance(noise, mixture, state, numbers, addresses):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    """Move the state of one replica, in place, over updates in order.

    Args:
        noise: for each of B updates the learning rate over D, shape `(B,)`; a uniform number that
            chooses the cluster, `(B,)`; p's noise and xi, standard normal, `(B, r + s)`; chi,
            `(B,)`, or empty if D = r + s; a uniform number that chooses whether the label is the
            wrong one, `(B,)`, or empty.
        mixture: means in their basis, `(C, r)`; labels `(C,)`; cumulative priors `(C,)`; sigma.
        state: span `(r, K)`, rest `(s, K)`, readout `(K,)`, bias `(K,)` or empty.
        numbers: weight decay, probability of a wrong label, whether the readout learns.
        addresses: of the activation, its derivative, and the error signal of output and label.
    """
    rates, choices, normals, beyond, wrong = noise
    centres, labels, cumulative, sigma = mixture
    span, rest, readout, bias = state
    weight_decay, label_noise, train_readout = numbers
    value, slope, signal = addresses
    inside, hidden = span.shape
    outside = rest.shape[0]
    others = len(cumulative) - 1
    point = np.empty(inside)
    fields = np.empty(hidden)
    outputs = np.empty(hidden)
    steps = np.empty(hidden)
    swing = np.empty(hidden)  # rest' xi, later z
    later = np.empty((outside, hidden))  # row j: what directions after j contribute to it
    for i in range(len(rates)):
        decay = 1.0 - rates[i] * weight_decay
        cluster = 0
        for c in range(others):
            cluster += choices[i] >= cumulative[c]
        label = labels[cluster]
        if len(wrong) > 0 and wrong[i] < label_noise:
            label = -label

        for k in range(hidden):
            fields[k] = 0.0
            swing[k] = 0.0
        for j in range(inside):
            point[j] = centres[cluster, j] + sigma * normals[i, j]
            for k in range(hidden):
                fields[k] += span[j, k] * point[j]
        for j in range(outside - 1, -1, -1):
            xi = normals[i, inside + j]
            for k in range(hidden):
                later[j, k] = swing[k]
                swing[k] += rest[j, k] * xi

        output = 0.0
        for k in range(hidden):
            fields[k] += sigma * swing[k]
            if len(bias) > 0:
                fields[k] += bias[k]
            outputs[k] = call1(value, (fields[k],))
            output += readout[k] * outputs[k]
        delta = call2(signal, (output, label))
        for k in range(hidden):
            steps[k] = rates[i] * readout[k] * call1(slope, (fields[k],)) * delta
            if len(bias) > 0:
                bias[k] = decay * bias[k] + steps[k]
            if train_readout:
                readout[k] = decay * readout[k] + rates[i] * delta * outputs[k]

        for j in range(inside):
            for k in range(hidden):
                span[j, k] = decay * span[j, k] + point[j] * steps[k]
        if len(beyond) == 0:  # the basis is all of space
            for j in range(outside):
                shift = sigma * normals[i, inside + j]
                for k in range(hidden):
                    rest[j, k] = decay * rest[j, k] + shift * steps[k]
            continue
        total = beyond[i]
        for j in range(outside - 1, -1, -1):
            xi = normals[i, inside + j]
            before = total + xi * xi
            root = decay / np.sqrt(total * before)
            keep, pull = total * root, xi * root
            for k in range(j, hidden):
                rest[j, k] = keep * rest[j, k] - pull * later[j, k]
            total = before
        length = np.sqrt(total)
        for k in range(hidden):
            swing[k] = sigma * length * steps[k] + decay / length * swing[k]
        for j in range(outside):
            radius = np.sqrt(rest[j, j] * rest[j, j] + swing[j] * swing[j])
            if radius == 0.0:
                continue
            cosine, sine = rest[j, j] / radius, swing[j] / radius
            for k in range(j, hidden):
                old = rest[j, k]
                rest[j, k] = cosine * old + sine * swing[k]
                swing[k] = cosine * swing[k] - sine * old
