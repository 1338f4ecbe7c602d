"""The compiled loop over updates; imported when first needed (numba is heavy).

One update after the other, as SGD is defined. Weights and samples stay in the cache (see
`benchmarks/simulation.py`).
"""

# mypy: disable-error-code="no-untyped-def,no-untyped-call,import-untyped"
# ruff: noqa: ANN001, ANN202

from __future__ import annotations

from typing import Any

import numpy as np
from numba import float32, float64, int64, njit, types, uint64, void

from gmmdyn.training.compiled._calls import call1, call2
from gmmdyn.training.compiled._normals import draw_input, words_for
from gmmdyn.training.compiled.kept import kept

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


@njit(fastmath=_FAST, inline="always")
def _update(inputs, labels, weights, readout, bias, rate, scale, settings, addresses, work):
    """Make one update by the b samples of `inputs`; return what `scale` becomes.

    The weights are `scale` times what their array holds. Decay costs nothing then, and is not lost
    in single precision, where 1 - eta kappa/D would be rounded.
    """
    weight_decay, train_readout = settings
    value, slope, signal = addresses
    fields, outputs, firsts, seconds, steps = work
    hidden, dim = weights.shape
    batch = len(labels)
    root = np.sqrt(dim)
    rate = rate / dim
    decay = 1.0 - rate * weight_decay
    seconds[:] = 0.0
    for s in range(batch):
        _overlaps(weights, inputs[s], fields)
        output = 0.0
        for k in range(hidden):
            fields[k] *= scale / root
            if len(bias) > 0:
                fields[k] += bias[k]
            outputs[k] = call1(value, (fields[k],))
            output += readout[k] * outputs[k]
        delta = call2(signal, (output, float64(labels[s])))
        for k in range(hidden):
            firsts[s, k] = readout[k] * call1(slope, (fields[k],)) * delta
            seconds[k] += delta * outputs[k]
    scale *= decay
    if not 0.5 < abs(scale) < 2.0:
        _multiply(weights, scale)
        scale = 1.0
    for s in range(batch):
        for k in range(hidden):
            steps[k] = rate * root / batch / scale * firsts[s, k]
        _add(weights, steps, inputs[s])
    for k in range(hidden):
        if len(bias) > 0:
            total = 0.0
            for s in range(batch):
                total += firsts[s, k]
            bias[k] = decay * bias[k] + rate / batch * total
        if train_readout:
            readout[k] = decay * readout[k] + rate / batch * seconds[k]
    return scale


@njit(inline="always")
def _work(batch, weights):
    """Return places for an update's intermediate results."""
    hidden = len(weights)
    return (
        np.empty(hidden),
        np.empty(hidden),
        np.empty((batch, hidden)),
        np.empty(hidden),
        # In the dtype of the inputs, so that the loops over them are not widened.
        np.empty(hidden, weights.dtype),
    )


_tuple: Any = types.Tuple
_settings = _tuple((float64, types.boolean))
_addresses = types.UniTuple(int64, 3)
_doubles = float64[::1]


def _state(kind: types.Type) -> Any:
    return _tuple((types.Array(kind, 2, "C"), _doubles, _doubles))


def _signature(kind: types.Type) -> Any:
    rows = types.Array(kind, 2, "C")
    return void(rows, kind[::1], _state(kind), _doubles, int64, _settings, _addresses)


@njit([_signature(float32), _signature(float64)], cache=True, nogil=True, fastmath=_FAST)
@kept
def advance(inputs, labels, state, rates, batch, settings, addresses):
    """Update the weights of one replica, in place, by samples in order.

    Args:
        inputs: shape `(U b, D)`: b samples for each of U updates.
        labels: shape `(U b,)`.
        state: first layer `(K, D)`, in the dtype of the inputs, readout `(K,)`, and bias `(K,)` or
            empty for none.
        rates: eta at each update, shape `(U,)`.
        batch: b.
        settings: kappa, and whether the readout learns.
        addresses: of the activation and of its derivative, functions of one float, and of the error
            signal, a function of output and label.
    """
    weights, readout, bias = state
    work = _work(batch, weights)
    scale = 1.0
    for u in range(len(rates)):
        part = slice(u * batch, (u + 1) * batch)
        scale = _update(
            inputs[part],
            labels[part],
            weights,
            readout,
            bias,
            rates[u],
            scale,
            settings,
            addresses,
            work,
        )
    if scale != 1.0:
        _multiply(weights, scale)


def _drawing_signature(kind: types.Type) -> Any:
    noise = _tuple((uint64[:, ::1], kind[::1], types.Array(kind, 2, "C")))
    return void(noise, int64[::1], kind[::1], _state(kind), _doubles, int64, _settings, _addresses)


@njit(
    [_drawing_signature(float32), _drawing_signature(float64)],
    cache=True,
    nogil=True,
    fastmath=_FAST,
)
@kept
def draw_and_advance(noise, clusters, labels, state, rates, batch, settings, addresses):
    """Do what `advance` does by samples that are drawn on the way, and never leave the cache.

    Args:
        noise: state of the generator, which is moved on; scale of the noise in each coordinate
            `(D,)`; centres of the clusters `(C, D)`: as of `draw_inputs`.
        clusters: of the samples, shape `(U b,)`.
        labels: as of `advance`.
        state: as of `advance`.
        rates: as of `advance`.
        batch: as of `advance`.
        settings: as of `advance`.
        addresses: as of `advance`.
    """
    generator, spread, centres = noise
    weights, readout, bias = state
    work = _work(batch, weights)
    words = words_for(spread)
    inputs = np.empty((batch, len(spread)), spread.dtype)
    scale = 1.0
    for u in range(len(rates)):
        for s in range(batch):
            centre = centres[clusters[u * batch + s]]
            draw_input(generator, words, centre, spread, inputs[s])
        scale = _update(
            inputs,
            labels[u * batch : (u + 1) * batch],
            weights,
            readout,
            bias,
            rates[u],
            scale,
            settings,
            addresses,
            work,
        )
    if scale != 1.0:
        _multiply(weights, scale)
