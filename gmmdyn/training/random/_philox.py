"""Random numbers that are functions of a key and a counter, for compiled loops and for GPUs.

Philox4x32-10 turns a counter of four words of 32 bits and a key of two into four random words. No
state is kept, so a number depends on what it is for (which run, which update, which draw) and on
nothing else. Every function here is plain Python as it stands, and can be called from functions
that numba compiles for a CPU or for CUDA.

Words are held in 64-bit numbers, `np.uint64`, also in plain Python: products of two fit.

References:
    Salmon, Moraes, Dror, Shaw, Parallel random numbers: as easy as 1, 2, 3, SC11 (2011),
    section 4.3.
    Marsaglia, Tsang, A simple method for generating gamma variables, ACM TOMS 26, 363 (2000).
"""

# mypy: disable-error-code="no-untyped-def,no-untyped-call,untyped-decorator"
# ruff: noqa: ANN001, ANN202

from __future__ import annotations

import math

import numpy as np
from numba.extending import register_jitable

WORD, MASK = np.uint64(32), np.uint64(0xFFFFFFFF)
_FIRST_FACTOR, _SECOND_FACTOR = np.uint64(0xD2511F53), np.uint64(0xCD9E8D57)
_FIRST_STEP, _SECOND_STEP = np.uint64(0x9E3779B9), np.uint64(0xBB67AE85)
_SIX, _ONE, _TWO = np.uint64(6), np.uint64(1), np.uint64(2)


@register_jitable
def philox(counter, key):
    """Return four random words.

    Args:
        counter: four words.
        key: two words.

    Returns:
        Four words.
    """
    a, b, c, d = counter
    first, second = key
    for _ in range(10):
        left = _FIRST_FACTOR * a
        right = _SECOND_FACTOR * c
        a = (right >> WORD) ^ b ^ first
        b = right & MASK
        c = (left >> WORD) ^ d ^ second
        d = left & MASK
        first = (first + _FIRST_STEP) & MASK
        second = (second + _SECOND_STEP) & MASK
    return a, b, c, d


@register_jitable
def uniforms(counter, key):
    """Return two uniform numbers between 0 and 1, neither of which they ever are.

    Each has 52 random bits and is the middle of its cell; one more bit, and 1 would be rounded to.

    Args:
        counter: four words.
        key: two words.

    Returns:
        Two floats.
    """
    a, b, c, d = philox(counter, key)
    return (
        ((a >> _SIX) * 67108864.0 + (b >> _SIX) + 0.5) * 2.220446049250313e-16,
        ((c >> _SIX) * 67108864.0 + (d >> _SIX) + 0.5) * 2.220446049250313e-16,
    )


@register_jitable
def normals(counter, key):
    """Return two independent standard normal numbers (Box and Muller).

    Args:
        counter: four words.
        key: two words.

    Returns:
        Two floats.
    """
    length, angle = uniforms(counter, key)
    radius = math.sqrt(-2.0 * math.log(length))
    angle *= 6.283185307179586
    return radius * math.cos(angle), radius * math.sin(angle)


@register_jitable
def _accepted(shape, scale, normal, uniform):
    """Return Marsaglia and Tsang's gamma number of one attempt, or -1 where it is rejected."""
    root = 1.0 + scale * normal
    if root <= 0.0:
        return -1.0
    cube = root * root * root
    square = normal * normal
    # The first test is the second one without logarithms, and decides nearly always.
    if uniform < 1.0 - 0.0331 * square * square or math.log(uniform) < 0.5 * square + shape * (
        1.0 - cube + math.log(cube)
    ):
        return shape * cube
    return -1.0


@register_jitable
def chi_squared(freedom, low, high, draw, key):
    """Return a chi-squared number, exact for any number of degrees of freedom.

    Args:
        freedom: degrees of freedom, a float, at least 1.
        low: first word of the counter.
        high: second word.
        draw: third word; the next one is used as well.
        key: two words.

    Returns:
        A float.
    """
    attempt = _ONE - _ONE
    if freedom < 1.5:
        one, _ = normals((low, high, draw, attempt), key)
        return one * one
    shape = 0.5 * freedom - 1.0 / 3.0
    scale = 1.0 / math.sqrt(9.0 * shape)
    found = -1.0
    while found < 0.0:
        one, two = normals((low, high, draw, attempt), key)
        first, second = uniforms((low, high, draw + _ONE, attempt), key)
        found = _accepted(shape, scale, one, first)
        if found < 0.0:
            found = _accepted(shape, scale, two, second)
        attempt += _ONE
    return 2.0 * found
