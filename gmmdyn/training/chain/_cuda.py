"""The chain on a GPU: one thread moves one chain over thousands of updates, and draws its noise.

The update is that of the loop on a CPU (`_update.py`). Its noise is a function of the chain's
key and of the number of the update (`_philox.py`), so a chain is the same run whatever else is
launched, and wherever launches begin and end.
"""

# mypy: disable-error-code="no-untyped-def,no-untyped-call,untyped-decorator,attr-defined"
# ruff: noqa: ANN001, ANN202

from __future__ import annotations

from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from numba import cuda, float64, int64, void
from numba.extending import register_jitable

from gmmdyn.training.chain._update import runner
from gmmdyn.training.random._philox import MASK, WORD, chi_squared, normals, uniforms
from gmmdyn.training.rule._sgd import respond_with
from gmmdyn.training.rule.rule import Functions

_rows, _layers = float64[:, ::1], float64[:, :, ::1]
SIGNATURE = void(
    *(int64, int64, _rows, int64[:, ::1], int64[::1]),
    *(_rows, _layers, _layers, _rows),
    *(_layers, _layers, _layers, _rows),
)


class Sizes(NamedTuple):
    """What a kernel is made for: loops over constants are unrolled, and arrays become registers.

    Attributes:
        dim: D.
        inside: r.
        outside: s.
        clusters: C.
        hidden: K.
        outputs: O.
        biased: whether there is a bias.
    """

    dim: int
    inside: int
    outside: int
    clusters: int
    hidden: int
    outputs: int
    biased: bool


class Shapes(NamedTuple):
    """The arrays of one chain; none is empty, as CUDA has none that are."""

    one: tuple[int]
    directions: tuple[int, int]
    inside: tuple[int]
    span: tuple[int, int]
    rest: tuple[int, int]
    hidden: tuple[int]
    outputs: tuple[int]
    readout: tuple[int, int]


def shapes_of(sizes: Sizes) -> Shapes:
    """Return the shapes of the arrays that a chain works on."""
    r, s, hidden = max(1, sizes.inside), max(1, sizes.outside), sizes.hidden
    units = (hidden,), (sizes.outputs,), (sizes.outputs, hidden)
    return Shapes((1,), (1, r + s), (r,), (r, hidden), (s, hidden), *units)


@lru_cache(maxsize=32)
def mover(sizes: Sizes, functions: Functions) -> Any:
    """Return the function that moves one chain, callable from compiled code.

    Args:
        sizes: of the chain.
        functions: activation, its derivative, and the error signal.

    Returns:
        `move(chain, first, stop, rates, keys, experiments, parameters, states, local)`: which
        chain; the first update and one past the last; learning rates over D from the first update
        on, `(P, T)`, or `(P, 1)` if they are constant; keys `(N, 2)`, two words; the experiment
        that each chain belongs to, `(N,)`; `parameters` of experiments: sigma, weight decay, label
        noise and whether the readout learns, `(P, 4)`, means in their basis `(P, C, r)`, labels
        `(P, C, O)` and cumulative priors `(P, C)`; `states` of chains: span `(N, r, K)`, rest
        `(N, s, K)`, readout `(N, O, K)` and bias `(N, K)`, changed in place; and `local`, the
        chain's own arrays of noise, state and work. What is empty is not read.
    """
    dim, inside, outside, clusters, hidden, count, biased = sizes
    directions = inside + outside
    pairs = (directions + 1) // 2
    freedom = float(dim - directions)
    run = runner(respond_with(functions))

    @register_jitable
    def draw(update, key, noise):
        _, choices, normal, beyond, wrong = noise
        low, high, zero = np.uint64(update) & MASK, np.uint64(update) >> WORD, np.uint64(0)
        choices[0], wrong[0] = uniforms((low, high, zero, zero), key)
        for pair in range(pairs):
            one, two = normals((low, high, np.uint64(pair + 1), zero), key)
            normal[0, 2 * pair] = one
            if 2 * pair + 1 < directions:
                normal[0, 2 * pair + 1] = two
        if freedom > 0.0:
            beyond[0] = chi_squared(freedom, low, high, np.uint64(pairs + 1), key)

    @register_jitable
    def copy(source, target):
        for k in range(hidden):
            for j in range(inside):
                target[0][j, k] = source[0][j, k]
            for j in range(outside):
                target[1][j, k] = source[1][j, k]
            for o in range(count):
                target[2][o, k] = source[2][o, k]
            if biased:
                target[3][k] = source[3][k]

    @register_jitable
    def move(chain, first, stop, rates, keys, experiments, parameters, states, local):
        numbers, centres, labels, cumulative = parameters
        noise, state, work = local
        own = experiments[chain]
        key = np.uint64(keys[chain, 0]), np.uint64(keys[chain, 1])
        mixture = centres[own], labels[own], cumulative[own], numbers[own, 0]
        rule = numbers[own, 1], numbers[own, 2], numbers[own, 3] > 0.0
        held = states[0][chain], states[1][chain], states[2][chain], states[3][chain]
        fixed = (1, inside, outside, clusters, hidden, count, biased, freedom > 0.0, True)
        copy(held, state)
        constant = rates.shape[1] == 1
        for update in range(first, stop):
            noise[0][0] = rates[own, 0 if constant else update - first]
            draw(update, key, noise)
            run(0, noise, fixed, mixture, rule, state, work)
        copy(state, held)

    return move


def kernel_of(sizes: Sizes, functions: Functions) -> Any:
    """Return the kernel that moves all chains, as Python; its signature is `SIGNATURE`.

    Args:
        sizes: of a chain.
        functions: activation, its derivative, and the error signal.

    Returns:
        A function to be compiled by `numba.cuda`, of the first update, one past the last, and what
        `mover` lists.
    """
    move = mover(sizes, functions)
    one, directions, inside, span, rest, hidden, count, readout = shapes_of(sizes)

    def advance(
        first,
        stop,
        rates,
        keys,
        experiments,
        numbers,
        centres,
        labels,
        cumulative,
        spans,
        rests,
        readouts,
        biases,
    ):
        chain = cuda.grid(1)
        if chain >= keys.shape[0]:
            return
        noise = (
            cuda.local.array(one, float64),
            cuda.local.array(one, float64),
            cuda.local.array(directions, float64),
            cuda.local.array(one, float64),
            cuda.local.array(one, float64),
        )
        state = (
            cuda.local.array(span, float64),
            cuda.local.array(rest, float64),
            cuda.local.array(readout, float64),
            cuda.local.array(hidden, float64),
        )
        sample = (
            cuda.local.array(hidden, float64),
            cuda.local.array(count, float64),
            cuda.local.array(hidden, float64),
            cuda.local.array(count, float64),
            cuda.local.array(count, float64),
            cuda.local.array(hidden, float64),
            cuda.local.array(readout, float64),
        )
        work = (
            cuda.local.array(inside, float64),
            cuda.local.array(hidden, float64),
            cuda.local.array(rest, float64),
            cuda.local.array(hidden, float64),
            sample,
        )
        parameters = numbers, centres, labels, cumulative
        states = spans, rests, readouts, biases
        move(chain, first, stop, rates, keys, experiments, parameters, states, (noise, state, work))

    return advance
