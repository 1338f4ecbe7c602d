"""The compiled generator of normal numbers: its words, its transform and its law."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numba import njit
from scipy import stats

from gmmdyn.training.random._normals import (
    LANES,
    _double,
    _single,
    draw_inputs,
    draw_words,
    skip_rows,
)
from gmmdyn.training.samples import generator_state

DTYPES = [np.float32, np.float64]


@njit
def words_of(state, words):
    draw_words(state, words)


@njit(error_model="numpy")
def single(high, low):
    return _single(high, low)


@njit(error_model="numpy")
def double(high, low):
    return _double(high, low)


def xoshiro(state, count):
    """xoshiro256++ by whole numbers, as its authors' C code has it."""
    mask = 2**64 - 1

    def turned(x, by):
        return ((x << by) | (x >> (64 - by))) & mask

    s, words = list(state), []
    for _ in range(count):
        words.append((turned((s[0] + s[3]) & mask, 23) + s[0]) & mask)
        t = (s[1] << 17) & mask
        s[2] ^= s[0]
        s[3] ^= s[1]
        s[1] ^= s[2]
        s[0] ^= s[3]
        s[2] ^= t
        s[3] = turned(s[3], 45)
    return words


def normals(dtype, rows, dim, seed=0):
    state = generator_state(seed)
    out = np.full((rows, dim), np.nan, dtype)
    draw_inputs(
        state, np.zeros(rows, np.int64), np.zeros((1, dim), dtype), np.ones(dim, dtype), out
    )
    return out


def test_words_are_those_of_xoshiro256_in_every_lane():
    # The vector by which other implementations of xoshiro256++ are tested (state 1, 2, 3, 4).
    known = [41943041, 58720359, 3588806011781223, 3591011842654386, 9228616714210784205]
    assert xoshiro([1, 2, 3, 4], 5) == known
    state = generator_state(7)
    assert len(np.unique(state)) == 4 * LANES
    expected = [xoshiro([int(x) for x in state[:, lane]], 50) for lane in range(LANES)]
    words = np.empty(50 * LANES, np.uint64)
    words_of(state, words[: 20 * LANES])
    words_of(state, words[20 * LANES :])
    assert np.array_equal(words.reshape(50, LANES).T, np.array(expected, np.uint64))


def plain(u, angle, low, bits):
    """Box and Muller's transform by the library's functions."""
    radius = math.sqrt(-2 * math.log(u))
    if low >> (bits - 2) & 1:
        radius = -radius
    pair = radius * math.cos(angle), radius * math.sin(angle)
    return pair[::-1] if low >> (bits - 1) & 1 else pair


def nasty(bits, count, seed):
    """Random words, and those with all or nearly all bits alike."""
    rng = np.random.default_rng(seed)
    words = [
        int(x) for x in rng.integers(0, 2**bits, count, np.uint64 if bits == 64 else np.uint32)
    ]
    top = 2**bits - 1
    edges = [0, 1, 2, top, top - 1, top >> 1, top >> 2, 1 << (bits - 1), 1 << (bits - 2)]
    return words + edges * len(edges), words + [x for x in edges for _ in edges]


def test_single_precision_is_the_transform_of_box_and_muller():
    for high, low in zip(*nasty(32, 3000, 0), strict=True):
        u = ((high & (2**31 - 1)) + 0.5) / 2**31
        turned = np.uint32((low << 2) % 2**32).astype(np.int32)
        expected = plain(u, float(turned) * math.pi / 4 / 2**31, low, 32)
        found = single(np.uint32(high).astype(np.int32), np.uint32(low).astype(np.int32))
        # u is rounded to 24 bits: next to u = 1 that is all there is to the radius.
        rounding = 1e-6 * (1 + abs(math.log(u))) / math.sqrt(-2 * math.log(u) + 1e-7)
        assert np.abs(np.subtract(found, expected)).max() < rounding + 2e-6


def test_double_precision_is_the_transform_of_box_and_muller():
    for high, low in zip(*nasty(64, 3000, 1), strict=True):
        u = 1 - (high >> 12) / 2**52
        angle = (((low << 2) % 2**64 >> 12) / 2**52 - 0.5) * math.pi / 2
        expected = plain(u, angle, low, 64)
        found = double(np.uint64(high).astype(np.int64), np.uint64(low).astype(np.int64))
        assert np.abs(np.subtract(found, expected)).max() < 5e-15


@pytest.mark.parametrize("dtype", DTYPES)
def test_their_law_is_the_normal_one(dtype):
    x = normals(dtype, 500, 2001)
    assert np.isfinite(x).all()
    count = x.size
    flat = x.ravel().astype(np.float64)
    assert stats.kstest(flat, "norm").pvalue > 1e-3
    # Moments x^p, and the variances of x^p.
    for power, mean, spread in ((1, 0, 1), (2, 1, 2), (3, 0, 15), (4, 3, 96), (6, 15, 10170)):
        assert abs((flat**power).mean() - mean) < 4 * (spread / count) ** 0.5
    for bound in (3, 4):
        expected = 2 * stats.norm.sf(bound) * count
        assert abs((np.abs(flat) > bound).sum() - expected) < 4 * expected**0.5


@pytest.mark.parametrize("dtype", DTYPES)
def test_they_are_independent(dtype):
    """Of each other in a row (partners, neighbours, lanes) and from row to row, squares too."""
    x = normals(dtype, 4000, 150)
    everything = np.concatenate([x, np.roll(x, 1, 0)[:, :50]], 1)
    for values in (everything, everything**2):
        correlation = np.corrcoef(values[1:].T) - np.eye(200)
        # 20,000 of them, each with standard error 1/sqrt(n).
        assert np.abs(correlation).max() * 4000**0.5 < 5


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("dim", [1, 2, 3, 31, 33, 2047, 2049, 5000])
def test_rows_of_any_length_are_full_and_can_be_skipped(dtype, dim):
    x = normals(dtype, 6, dim)
    assert np.isfinite(x).all()
    assert len(np.unique(x)) > 0.99 * x.size
    state = generator_state(0)
    skip_rows(state, 4, dim, np.dtype(dtype).itemsize)
    scale, centres = np.full(dim, 2, dtype), np.arange(2 * dim, dtype=dtype).reshape(2, dim)
    rest = np.empty((2, dim), dtype)
    draw_inputs(state, np.array([1, 0]), centres, scale, rest)
    np.testing.assert_allclose(rest, centres[::-1] + 2 * x[4:], rtol=1e-6)


def test_other_seeds_are_other_numbers():
    assert np.abs(normals(np.float32, 1, 100, 1) - normals(np.float32, 1, 100, 2)).min() > 1e-5
