"""The counter-based generator: known answers, and the laws of its numbers."""

from __future__ import annotations

import numpy as np
import pytest
from numba import njit
from scipy import stats

from gmmdyn.training.random import _philox

COUNT = 200_000
ZERO = np.uint64(0)


def words(text):
    return tuple(np.uint64(int(word, 16)) for word in text.split())


def as_words(seed):
    return np.uint64(seed & 0xFFFFFFFF), np.uint64(seed >> 32)


@njit
def draws(kind, key, count, draw, freedom):
    """Two numbers for each of many updates; a chi-squared one twice."""
    found = np.empty((count, 2))
    zero = np.uint64(0)
    for i in range(count):
        low, high = np.uint64(i), zero
        if kind == 0:
            found[i] = _philox.uniforms((low, high, draw, zero), key)
        elif kind == 1:
            found[i] = _philox.normals((low, high, draw, zero), key)
        else:
            found[i] = _philox.chi_squared(freedom, low, high, draw, key)
    return found


def test_it_gives_the_known_answers_of_random123():
    """Lines `philox4x32 10` of tests/kat_vectors in D. E. Shaw Research's Random123."""
    compiled = njit(lambda counter, key: _philox.philox(counter, key))
    for counter, key, answer in (
        ("0 0 0 0", "0 0", "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
        (
            "ffffffff ffffffff ffffffff ffffffff",
            "ffffffff ffffffff",
            "408f276d 41c83b0e a20bc7c6 6d5451fd",
        ),
        (
            "243f6a88 85a308d3 13198a2e 03707344",
            "a4093822 299f31d0",
            "d16cfe09 94fdcceb 5001e420 24126ea1",
        ),
    ):
        assert compiled(words(counter), words(key)) == words(answer)
        assert _philox.philox(words(counter), words(key)) == words(answer)


@pytest.mark.parametrize("word", [0, 0xFFFFFFFF])
def test_uniform_numbers_are_never_zero_or_one(word, monkeypatch):
    monkeypatch.setattr(_philox, "philox", lambda counter, key: (np.uint64(word),) * 4)
    for number in _philox.uniforms(None, None):
        assert 0 < number < 1
        assert min(number, 1 - number) == 2.0**-53


def test_uniform_and_normal_numbers_have_their_law():
    for kind, law in ((0, "uniform"), (1, "norm")):
        found = draws(kind, as_words(1), COUNT, ZERO, 0.0)
        for column in found.T:
            assert stats.kstest(column, law).pvalue > 1e-3
        # Far out in the tails, where Kolmogorov and Smirnov do not look.
        expected = COUNT * 2 * stats.norm.sf(3.5)
        if law == "norm":
            assert abs((np.abs(found[:, 0]) > 3.5).sum() - expected) < 5 * expected**0.5


@pytest.mark.parametrize("freedom", [1, 2, 3, 10, 1000, 10**6])
def test_chi_squared_numbers_have_their_law(freedom):
    found = draws(2, as_words(freedom), COUNT, np.uint64(4), float(freedom))[:, 0]
    assert stats.kstest(found, stats.chi2(freedom).cdf).pvalue > 1e-3
    # Mean nu and variance 2 nu; the fourth central moment is 12 nu (nu + 4).
    assert abs(found.mean() - freedom) < 5 * (2 * freedom / COUNT) ** 0.5
    error = ((12 * freedom * (freedom + 4) - (2 * freedom) ** 2) / COUNT) ** 0.5
    assert abs(found.var() - 2 * freedom) < 5 * error


def test_draws_are_independent():
    """Of one update and another, of one draw and the next, and of one key and another."""
    first = draws(1, as_words(1), COUNT, ZERO, 0.0)
    next_draw = draws(1, as_words(1), COUNT, np.uint64(1), 0.0)
    next_key = draws(1, as_words(2), COUNT, ZERO, 0.0)
    chi = draws(2, as_words(1), COUNT, np.uint64(2), 3.0)[:, :1]
    columns = np.column_stack([first[:-1], first[1:], next_draw[1:], next_key[1:], chi[1:]])
    for power in (1, 2):
        correlation = np.corrcoef(columns.T**power) - np.eye(9)
        assert np.abs(correlation).max() < 5 / COUNT**0.5


def test_plain_python_and_compiled_code_agree():
    for freedom in (1.0, 2.0, 7.0):
        compiled = draws(2, as_words(3), 20, ZERO, freedom)[:, 0]
        for i in range(20):
            plain = _philox.chi_squared(freedom, np.uint64(i), ZERO, ZERO, as_words(3))
            assert plain == pytest.approx(compiled[i], rel=1e-12)
