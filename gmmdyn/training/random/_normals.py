r"""Standard normal numbers for compiled loops, at about a nanosecond each.

The generator is xoshiro256++ (Blackman and Vigna, "Scrambled linear pseudorandom number
generators", ACM Trans. Math. Softw. 47, 2021) in `LANES` lanes with states of their own, since
vector instructions work on lanes; Julia's `Random` has it in the same way. The transform is that of
Box and Muller,

    sqrt(-2 log u) (cos a, sin a),

with `log` by its exponent and a polynomial, and an angle within 45 degrees of an axis, whose swap
and sign are two bits more; so there is no branch in it. Single precision takes 31 bits for u and 30
for a (|x| up to 6.6), double precision 52 and 52 (|x| up to 8.5).

A row of D numbers is drawn in parts of `_PART`, each from whole rounds of all lanes, so that what a
row is depends on the state before it alone.
"""

# mypy: disable-error-code="no-untyped-def,no-untyped-call,import-untyped,misc"
# ruff: noqa: ANN001, ANN202

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import float32, float64, int64, njit, types, uint64, void
from numba.extending import overload

from gmmdyn.compiler._instructions import (
    bits_of,
    bits_of64,
    both,
    float_of,
    float_of64,
    minus,
    number_of,
    root,
    root64,
    shift_left,
    shift_right,
    shifted64,
)
from gmmdyn.training.disk_cache import kept_while_unchanged

LANES = 16
# Numbers drawn at once: random words and the row stay in the first-level cache.
_PART = 2048
# Nothing may be reordered here: large constants are added and subtracted to cut bits off.
_EXACT = {"contract"}

_f, _i = np.float32, np.int32
_SIGN, _REST = _i(1 << 30), _i(0x7FFFFFFF)
# Where mantissas are cut: at the square root of a half.
_CUT, _CUT64 = _i(0x3F3504F3), 0x3FE6A09E667F3BCD
_ONE64 = 0x3FF0000000000000
# log(1 + m) = m - m^2/2 + m^3 (...): S. Moshier's logf, sinf and cosf (Cephes), errors near 1e-7.
_LOG = tuple(
    _f(c)
    for c in (
        7.0376836292e-2,
        -1.1514610310e-1,
        1.1676998740e-1,
        -1.2420140846e-1,
        1.4249322787e-1,
        -1.6668057665e-1,
        2.0000714765e-1,
        -2.4999993993e-1,
        3.3333331174e-1,
    )
)
_SIN = tuple(_f(c) for c in (-1.9515295891e-4, 8.3321608736e-3, -1.6666654611e-1))
_COS = tuple(_f(c) for c in (2.443315711809948e-5, -1.388731625493765e-3, 4.166664568298827e-2))
_LOG2, _RADIANS = _f(math.log(2)), _f(math.pi / 4 * 2.0**-31)
# Taylor's series, whose rest is below 1e-17 within 45 degrees.
_ATANH64 = tuple(2 / (2 * n + 1) for n in range(11, -1, -1))
_SIN64 = tuple((-1.0) ** n / math.factorial(2 * n + 1) for n in range(8, -1, -1))
_COS64 = tuple((-1.0) ** n / math.factorial(2 * n) for n in range(9, -1, -1))


@njit(fastmath=_EXACT, inline="always")
def _horner(coefficients, x):
    total = coefficients[0] * x + coefficients[1]
    for c in coefficients[2:]:
        total = total * x + c
    return total


@njit(fastmath=_EXACT, inline="always")
def _single(high, low):
    """Return two independent normals of 2 times 32 random bits."""
    u = (number_of(both(high, _REST)) + _f(0.5)) * _f(2.0**-31)
    bits = bits_of(u)
    exponent = shift_right(minus(bits, _CUT), _i(23))
    m = float_of(minus(bits, shift_left(exponent, _i(23)))) - _f(1)
    square = m * m
    tail = _horner(_LOG, m) * m * square - _f(0.5) * square
    radius = root(_f(-2) * (tail + m + number_of(exponent) * _LOG2))
    angle = number_of(shift_left(low, _i(2))) * _RADIANS
    square = angle * angle
    sine = _horner(_SIN, square) * square * angle + angle
    cosine = _horner(_COS, square) * square * square - _f(0.5) * square + _f(1)
    radius = radius if both(low, _SIGN) == _i(0) else -radius
    swap = low < _i(0)
    return radius * (sine if swap else cosine), radius * (cosine if swap else sine)


@njit(fastmath=_EXACT, inline="always")
def _double(high, low):
    """Return two independent normals of 2 times 64 random bits."""
    u = 2.0 - float_of64(shifted64(high, 12) | _ONE64)
    bits = bits_of64(u)
    raised = shifted64(bits + (_ONE64 - _CUT64), 52)  # the exponent, and 1023
    m = float_of64(bits - ((raised - 1023) << 52)) - 1.0
    exponent = float_of64(raised | 0x4330000000000000) - (2.0**52 + 1023)
    ratio = m / (2.0 + m)
    log = _horner(_ATANH64, ratio * ratio) * ratio + exponent * math.log(2)
    radius = root64(-2.0 * log)
    angle = (float_of64(shifted64(low << 2, 12) | _ONE64) - 1.5) * (math.pi / 2)
    square = angle * angle
    sine = _horner(_SIN64, square) * angle
    cosine = _horner(_COS64, square)
    radius = radius if low & (1 << 62) == 0 else -radius
    swap = low < 0
    return radius * (sine if swap else cosine), radius * (cosine if swap else sine)


@njit(inline="always")
def _turned(x, by):
    return (x << uint64(by)) | (x >> uint64(64 - by))


@njit(fastmath=_EXACT, inline="always")
def draw_words(state, words):
    """Write random words, `LANES` at a time.

    Args:
        state: of the generator, shape `(4, LANES)`, uint64.
        words: shape `(n LANES,)`, uint64.
    """
    first, second, third, fourth = state[0], state[1], state[2], state[3]
    for start in range(0, len(words), LANES):
        for lane in range(LANES):
            a, b, c, d = first[lane], second[lane], third[lane], fourth[lane]
            words[start + lane] = _turned(a + d, 23) + a
            shifted = b << uint64(17)
            c ^= a
            d ^= b
            b ^= c
            a ^= d
            c ^= shifted
            d = _turned(d, 45)
            first[lane], second[lane], third[lane], fourth[lane] = a, b, c, d


def _transform(words, row):
    """Turn random words into a row of normals."""


@overload(_transform, jit_options={"fastmath": _EXACT, "error_model": "numpy"})
def _transform_of_kind(words, row):
    if row.dtype == float32:

        def single(words, row):
            half = (len(row) + 1) // 2
            bits = words.view(np.int32)
            high, low = bits[:half], bits[len(words) : len(words) + half]
            left, right = row[:half], row[half:]
            for i in range(len(right)):
                left[i], right[i] = _single(high[i], low[i])
            if len(right) < half:
                left[half - 1] = _single(high[half - 1], low[half - 1])[0]

        return single

    def double(words, row):
        half = (len(row) + 1) // 2
        bits = words.view(np.int64)
        high, low = bits[:half], bits[len(words) // 2 : len(words) // 2 + half]
        left, right = row[:half], row[half:]
        for i in range(len(right)):
            left[i], right[i] = _double(high[i], low[i])
        if len(right) < half:
            left[half - 1] = _double(high[half - 1], low[half - 1])[0]

    return double


@njit(inline="always")
def _words_of(numbers, itemsize):
    """Return how many words a part of a row takes: whole rounds, twice that for doubles."""
    rounds = ((numbers + 1) // 2 + LANES - 1) // LANES
    return rounds * LANES * (itemsize // 4)


@njit(inline="always")
def words_for(row):
    """Return a place for the random words of a part of a row.

    Args:
        row: shape `(D,)`, of either precision.

    Returns:
        The place.
    """
    return np.empty(_words_of(min(len(row), _PART), row.itemsize), np.uint64)


@njit(fastmath=_EXACT, inline="always")
def draw_row(state, words, row):
    """Fill a row with independent standard normals.

    Args:
        state: of the generator, shape `(4, LANES)`, uint64.
        words: from `words_for`.
        row: shape `(D,)`.
    """
    for start in range(0, len(row), _PART):
        part = row[start : start + _PART]
        some = words[: _words_of(len(part), row.itemsize)]
        draw_words(state, some)
        _transform(some, part)


@njit(fastmath=_EXACT, inline="always")
def draw_input(state, words, centre, scale, row):
    """Fill a row with an input, `centre + scale * xi`.

    Args:
        state: of the generator, shape `(4, LANES)`, uint64.
        words: from `words_for`.
        centre: of its cluster, shape `(D,)`.
        scale: of the noise in each coordinate, shape `(D,)`.
        row: shape `(D,)`.
    """
    draw_row(state, words, row)
    for i in range(len(row)):
        row[i] = centre[i] + scale[i] * row[i]


_state = uint64[:, ::1]


def _filling(kind: types.Type) -> Any:
    rows = types.Array(kind, 2, "C")
    return void(_state, int64[::1], rows, kind[::1], rows)


@njit([_filling(float32), _filling(float64)], cache=True, nogil=True, fastmath=_EXACT)
@kept_while_unchanged
def draw_inputs(state, clusters, centres, scale, rows):
    """Fill rows with inputs.

    Args:
        state: of the generator, shape `(4, LANES)`, uint64; moved on.
        clusters: of the rows, shape `(n,)`.
        centres: of the clusters, shape `(C, D)`.
        scale: of the noise in each coordinate, shape `(D,)`.
        rows: shape `(n, D)`.
    """
    words = words_for(scale)
    for b in range(len(clusters)):
        draw_input(state, words, centres[clusters[b]], scale, rows[b])


@njit([void(_state, int64, int64, int64)], cache=True, nogil=True)
@kept_while_unchanged
def skip_rows(state, rows, dim, itemsize):
    """Move the generator past some rows.

    Args:
        state: of the generator, shape `(4, LANES)`, uint64.
        rows: how many.
        dim: their length D.
        itemsize: bytes of a number, 4 or 8.
    """
    words = np.empty(_words_of(min(dim, _PART), itemsize), np.uint64)
    for _ in range(rows):
        for start in range(0, dim, _PART):
            draw_words(state, words[: _words_of(min(dim - start, _PART), itemsize)])
