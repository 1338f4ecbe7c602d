"""The recursion of the blocked form (`recursion.py`) as a kernel: one block of threads a replica.

A thread holds the local fields of one sample, of K units. Update after update the thread whose turn
it is makes its steps known, and those of later samples take them into their fields: the same
sequence as in plain SGD, and no guess to be put in again.
"""

# mypy: disable-error-code="no-untyped-def,no-untyped-call,untyped-decorator,attr-defined"
# ruff: noqa: ANN001, ANN202

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

from numba import boolean, cuda, float32, float64, int64, types, void
from numba.extending import register_jitable

# Threads of a replica, and so samples of a chunk at most.
THREADS = 64
_rows, _layers = float64[:, ::1], float64[:, :, ::1]


def signature(kind: types.Type) -> Any:
    """Return the types of a kernel's arguments.

    Args:
        kind: of the inputs, numba's `float32` or `float64`.
    """
    gram = types.Array(kind, 3, "C")
    return void(_layers, gram, _rows, _rows, _rows, _rows, int64, boolean, boolean, _layers)


SIGNATURES = {4: signature(float32), 8: signature(float64)}


@lru_cache(maxsize=32)
def kernel_of(hidden: int, scalars: tuple[Callable[..., float], ...]) -> Any:
    """Return the kernel, as Python; its signatures are `SIGNATURES`, by the size of a number.

    Args:
        hidden: K.
        scalars: activation, its derivative, and the error signal of output and label.

    Returns:
        A function to be compiled by `numba.cuda`, of L `(N, S, K)`, G `(N, S, S)`, labels
        `(N, S)`, readout and bias `(N, K)`, which it moves, eta/(D b), decays and eta/(D b) times
        the decay to the end `(3, U)`, b, whether there is a bias, whether the readout learns, and
        the steps `(N, S, K)`, which it writes.
    """
    activation, derivative, error = (register_jitable(scalar) for scalar in scalars)
    shape = (THREADS, hidden)

    def recursion(
        fields, gram, labels, readouts, biases, factors, batch, biased, train_readout, steps
    ):
        replica, sample = cuda.blockIdx.x, cuda.threadIdx.x
        if replica >= labels.shape[0]:
            return
        samples, updates = labels.shape[1], factors.shape[1]
        firsts = cuda.shared.array(shape, float64)
        seconds = cuda.shared.array(shape, float64)
        field = cuda.local.array(hidden, float64)
        readout = cuda.local.array(hidden, float64)
        bias = cuda.local.array(hidden, float64)
        mine = sample // batch if sample < samples else updates
        constant = 1.0 if biased else 0.0
        for k in range(hidden):
            readout[k] = readouts[replica, k]
            bias[k] = biases[replica, k] if biased else 0.0
            field[k] = fields[replica, sample, k] + bias[k] if sample < samples else 0.0
        for update in range(updates):
            if mine == update:
                output = 0.0
                for k in range(hidden):
                    seconds[sample, k] = activation(field[k])
                    output += readout[k] * seconds[sample, k]
                delta = error(output, labels[replica, sample])
                for k in range(hidden):
                    firsts[sample, k] = readout[k] * derivative(field[k]) * delta
                    seconds[sample, k] *= delta
            cuda.syncthreads()
            rate, decay = factors[0, update], factors[1, update]
            for k in range(hidden):
                field[k] *= decay
                bias[k] *= decay
                if train_readout:
                    readout[k] *= decay
            for other in range(update * batch, (update + 1) * batch):
                # Each thread another column of one row: the matrix is symmetric.
                overlap = constant
                if update < mine < updates:
                    overlap += gram[replica, other, sample]
                for k in range(hidden):
                    field[k] += rate * overlap * firsts[other, k]
                    bias[k] += rate * firsts[other, k]
                    if train_readout:
                        readout[k] += rate * seconds[other, k]
        if sample < samples:
            for k in range(hidden):
                steps[replica, sample, k] = factors[2, mine] * firsts[sample, k]
        if sample == 0:
            for k in range(hidden):
                readouts[replica, k] = readout[k]
                if biased:
                    biases[replica, k] = bias[k]

    return recursion
