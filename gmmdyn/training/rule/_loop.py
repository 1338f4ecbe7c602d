"""The compiled loop over updates; imported when first needed (numba is heavy).

One update after the other, as SGD is defined, by the rule of `_sgd.py`. Weights and samples stay in
the cache (see `benchmarks/simulation.py`).
"""

# mypy: disable-error-code="no-untyped-def,no-untyped-call,import-untyped"
# ruff: noqa: ANN001, ANN202

from __future__ import annotations

from typing import Any

import numpy as np
from numba import float32, float64, int64, njit, types, uint64, void

from gmmdyn.compiler._calls import borrowed
from gmmdyn.training.disk_cache import kept_while_unchanged
from gmmdyn.training.random._normals import draw_input, words_for
from gmmdyn.training.rule._sgd import move_head, respond_by_address

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
def _update(inputs, labels, state, rate, scale, rule, addresses, work):
    """Make one update by the b samples of `inputs`; return what `scale` becomes.

    The weights are `scale` times what their array holds. Decay costs nothing then, and is not lost
    in single precision, where 1 - eta kappa/D would be rounded.
    """
    weights, readout, bias = state
    weight_decay, bias_decay, train_readout = rule
    sample, each, sums, steps = work
    fields, label, _, _, _, gammas, slopes = sample
    sum_of_gammas, sum_of_slopes = sums
    hidden, dim = weights.shape
    sizes = (hidden, len(readout))
    biased = len(bias) > 0
    batch = len(labels)
    root = np.sqrt(dim)
    rate = rate / dim
    decay = 1.0 - rate * weight_decay
    sum_of_gammas[:] = 0.0
    sum_of_slopes[:] = 0.0
    for s in range(batch):
        _overlaps(weights, inputs[s], fields)
        for k in range(hidden):
            fields[k] *= scale / root
            if biased:
                fields[k] += bias[k]
        for o in range(len(label)):
            label[o] = labels[s, o]
        respond_by_address(addresses, sizes, readout, sample)
        for k in range(hidden):
            each[s, k] = gammas[k]
            sum_of_gammas[k] += gammas[k]
            for o in range(len(label)):
                sum_of_slopes[o, k] += slopes[o, k]
    scale *= decay
    if not 0.5 < abs(scale) < 2.0:
        _multiply(weights, scale)
        scale = 1.0
    for s in range(batch):
        for k in range(hidden):
            steps[k] = rate * root / batch / scale * each[s, k]
        _add(weights, steps, inputs[s])
    decays = (decay, 1.0 - rate * bias_decay)
    move_head(sizes, rate / batch, decays, (biased, train_readout), sums, (bias, readout))
    return scale


@njit(inline="always")
def _work(batch, state):
    """Return places for an update's intermediate results."""
    weights, readout, _ = state
    hidden, count = len(weights), len(readout)
    sample = (
        np.empty(hidden),
        np.empty(count),
        np.empty(hidden),
        np.empty(count),
        np.empty(count),
        np.empty(hidden),
        np.empty((count, hidden)),
    )
    return (
        sample,
        np.empty((batch, hidden)),
        (np.empty(hidden), np.empty((count, hidden))),
        # In the dtype of the weights, so that the loops over them are not widened.
        np.empty(hidden, weights.dtype),
    )


@njit(fastmath=_FAST)
def _advance(inputs, labels, state, rates, batch, rule, addresses, work):
    """Make updates, by arrays that the caller holds."""
    inputs, labels = borrowed(inputs), borrowed(labels)
    state, work = borrowed(state), borrowed(work)
    scale = 1.0
    for u in range(len(rates)):
        part = slice(u * batch, (u + 1) * batch)
        scale = _update(inputs[part], labels[part], state, rates[u], scale, rule, addresses, work)
    if scale != 1.0:
        _multiply(state[0], scale)


@njit(fastmath=_FAST)
def _draw_and_advance(noise, clusters, labels, state, rates, batch, rule, addresses, work, places):
    """Do it, by arrays that the caller holds."""
    generator, spread, centres = borrowed(noise)
    inputs, words = borrowed(places)
    state, work, labels = borrowed(state), borrowed(work), borrowed(labels)
    scale = 1.0
    for u in range(len(rates)):
        for s in range(batch):
            centre = centres[clusters[u * batch + s]]
            draw_input(generator, words, centre, spread, inputs[s])
        told = labels[u * batch : (u + 1) * batch]
        scale = _update(inputs, told, state, rates[u], scale, rule, addresses, work)
    if scale != 1.0:
        _multiply(state[0], scale)


_tuple: Any = types.Tuple
_rule = _tuple((float64, float64, types.boolean))
_addresses = types.UniTuple(int64, 3)
_doubles = float64[::1]


def _rows(kind: types.Type) -> Any:
    return types.Array(kind, 2, "C")


def _state(kind: types.Type) -> Any:
    return _tuple((_rows(kind), float64[:, ::1], _doubles))


def _signature(kind: types.Type, held: types.Type) -> Any:
    inputs = _rows(kind)
    return void(inputs, inputs, _state(held), _doubles, int64, _rule, _addresses)


@njit(
    [_signature(float32, float32), _signature(float64, float64), _signature(float32, float64)],
    cache=True,
    nogil=True,
    fastmath=_FAST,
)
@kept_while_unchanged
def advance(inputs, labels, state, rates, batch, rule, addresses):
    """Update the weights of one replica, in place, by samples in order.

    Args:
        inputs: shape `(U b, D)`: b samples for each of U updates.
        labels: shape `(U b, O)`.
        state: first layer `(K, D)`, in the dtype of the inputs or in double precision, readout
            `(O, K)`, and bias `(K,)` or empty for none.
        rates: eta at each update, shape `(U,)`.
        batch: b.
        rule: kappa, that of the bias, and whether the readout learns.
        addresses: of the activation and of its derivative, functions of one float, and of the error
            signal.
    """
    _advance(inputs, labels, state, rates, batch, rule, addresses, _work(batch, state))


def _drawing_signature(kind: types.Type) -> Any:
    rows = _rows(kind)
    noise = _tuple((uint64[:, ::1], kind[::1], rows))
    return void(noise, int64[::1], rows, _state(kind), _doubles, int64, _rule, _addresses)


@njit(
    [_drawing_signature(float32), _drawing_signature(float64)],
    cache=True,
    nogil=True,
    fastmath=_FAST,
)
@kept_while_unchanged
def draw_and_advance(noise, clusters, labels, state, rates, batch, rule, addresses):
    """Do what `advance` does by samples that are drawn on the way, and never leave the cache.

    Args:
        noise: state of the generator, which is moved on; scale of the noise in each coordinate
            `(D,)`; centres of the clusters `(C, D)`: as of `draw_inputs`.
        clusters: of the samples, shape `(U b,)`.
        labels: as of `advance`.
        state: as of `advance`.
        rates: as of `advance`.
        batch: as of `advance`.
        rule: as of `advance`.
        addresses: as of `advance`.
    """
    _, spread, _ = noise
    work = _work(batch, state)
    places = (np.empty((batch, len(spread)), spread.dtype), words_for(spread))
    _draw_and_advance(noise, clusters, labels, state, rates, batch, rule, addresses, work, places)
