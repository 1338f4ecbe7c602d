"""The recursion of the blocked form (`recursion.py`) as a kernel: one block of threads a replica.

A thread holds the local fields of one sample, of K units. Update after update the thread whose turn
it is makes known what its sample asks for (`_sgd.py`), and those of later samples take it into
their fields: the same sequence as in plain SGD, and no guess to be put in again.
"""

# mypy: disable-error-code="no-untyped-def,no-untyped-call,untyped-decorator,attr-defined"
# ruff: noqa: ANN001, ANN202

from __future__ import annotations

from functools import lru_cache
from typing import Any

from numba import boolean, cuda, float32, float64, int64, types, void

from gmmdyn.training.rule._sgd import move_head, respond_with
from gmmdyn.training.rule.rule import Functions

# Threads of a replica, and so samples of a chunk at most.
THREADS = 64
_rows, _layers = float64[:, ::1], float64[:, :, ::1]


def signature(kind: types.Type) -> Any:
    """Return the types of a kernel's arguments.

    Args:
        kind: of the inputs, numba's `float32` or `float64`.
    """
    gram = types.Array(kind, 3, "C")
    state = _layers, _rows
    return void(_layers, gram, _layers, *state, _rows, int64, boolean, boolean, _layers)


SIGNATURES = {4: signature(float32), 8: signature(float64)}


@lru_cache(maxsize=32)
def kernel_of(hidden: int, count: int, functions: Functions) -> Any:
    """Return the kernel, as Python; its signatures are `SIGNATURES`, by the size of a number.

    Args:
        hidden: K.
        count: O, the number of outputs.
        functions: activation, its derivative, and the error signal.

    Returns:
        A function to be compiled by `numba.cuda`, of L `(N, S, K)`, G `(N, S, S)`, labels
        `(N, S, O)`, readout `(N, O, K)` and bias `(N, K)`, which it moves; eta/(D b), decays, those
        of the bias, and eta/(D b) times the decay to the end `(4, U)`; b, whether there is a bias,
        whether the readout learns; and the steps `(N, S, K)`, which it writes.
    """
    respond = respond_with(functions)
    of_units, of_both, of_both_each = (THREADS, hidden), (count, hidden), (THREADS, count, hidden)
    sizes = hidden, count

    def recursion(
        fields, gram, labels, readouts, biases, factors, batch, biased, train_readout, steps
    ):
        replica, sample = cuda.blockIdx.x, cuda.threadIdx.x
        if replica >= labels.shape[0]:
            return
        samples, updates = labels.shape[1], factors.shape[1]
        gammas = cuda.shared.array(of_units, float64)
        slopes = cuda.shared.array(of_both_each, float64)
        inside = cuda.local.array(hidden, float64)  # the fields without the bias
        field = cuda.local.array(hidden, float64)
        bias = cuda.local.array(hidden, float64)
        readout = cuda.local.array(of_both, float64)
        activations = cuda.local.array(hidden, float64)
        outputs = cuda.local.array(count, float64)
        signals = cuda.local.array(count, float64)
        label = cuda.local.array(count, float64)
        sum_of_gammas = cuda.local.array(hidden, float64)
        sum_of_slopes = cuda.local.array(of_both, float64)
        there = sample < samples
        mine = sample // batch if there else updates
        for k in range(hidden):
            bias[k] = biases[replica, k] if biased else 0.0
            inside[k] = fields[replica, sample, k] if there else 0.0
            for o in range(count):
                readout[o, k] = readouts[replica, o, k]
        for o in range(count):
            label[o] = labels[replica, sample, o] if there else 0.0
        for update in range(updates):
            if mine == update:
                for k in range(hidden):
                    field[k] = inside[k] + bias[k]
                respond(
                    0,
                    sizes,
                    readout,
                    (
                        field,
                        label,
                        activations,
                        outputs,
                        signals,
                        gammas[sample],
                        slopes[sample],
                    ),
                )
            cuda.syncthreads()
            rate, decay = factors[0, update], factors[1, update]
            for k in range(hidden):
                inside[k] *= decay
                sum_of_gammas[k] = 0.0
                for o in range(count):
                    sum_of_slopes[o, k] = 0.0
            for other in range(update * batch, (update + 1) * batch):
                # Each thread another column of one row: the matrix is symmetric.
                overlap = 0.0
                if update < mine < updates:
                    overlap = rate * gram[replica, other, sample]
                for k in range(hidden):
                    inside[k] += overlap * gammas[other, k]
                    sum_of_gammas[k] += gammas[other, k]
                    for o in range(count):
                        sum_of_slopes[o, k] += slopes[other, o, k]
            move_head(
                sizes,
                rate,
                (decay, factors[2, update]),
                (biased, train_readout),
                (sum_of_gammas, sum_of_slopes),
                (bias, readout),
            )
        if there:
            for k in range(hidden):
                steps[replica, sample, k] = factors[3, mine] * gammas[sample, k]
        if sample == 0:
            for k in range(hidden):
                if biased:
                    biases[replica, k] = bias[k]
                for o in range(count):
                    readouts[replica, o, k] = readout[o, k]

    return recursion
