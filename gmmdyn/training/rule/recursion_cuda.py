"""The recursion of the blocked form on a GPU: a launch for all replicas."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import torch

from gmmdyn.compiler import cuda
from gmmdyn.training.rule.recursion import Chunk, Moved
from gmmdyn.training.rule.rule import Functions, Rule

# Numbers of a sample that a block's shared memory can hold: K + K O.
_MOST_NUMBERS = 96


def solver(
    rule: Rule, hidden: int, count: int, dtype: torch.dtype
) -> Callable[[Chunk], Moved] | None:
    """Return what solves the recursion of chunks on a CUDA device, if numba can compile it.

    Args:
        rule: how the networks learn.
        hidden: K.
        count: O, the number of outputs.
        dtype: of the inputs.

    Returns:
        What does the same as `recursion.solve` for at most `THREADS` samples in several updates, or
        None if the rule has no functions or CUDA has not what they use, or if there are more units
        and outputs than a block's shared memory holds the gradients of.
    """
    if rule.functions is None or hidden * (1 + count) > _MOST_NUMBERS:
        return None
    kernel = _compiled(hidden, count, rule.functions, dtype.itemsize)
    return None if kernel is None else lambda chunk: solve(chunk, rule, kernel)


def solve(chunk: Chunk, rule: Rule, kernel: Any) -> Moved:
    """Solve the recursion of a chunk by a compiled kernel.

    Args:
        chunk: samples of several updates.
        rule: how the networks learn.
        kernel: from `_recursion_cuda.kernel_of`, compiled.

    Returns:
        What the weights become.
    """
    from gmmdyn.training.rule._recursion_cuda import THREADS

    replicas, samples, hidden = chunk.fields.shape
    if chunk.gram is None or samples > THREADS:
        raise ValueError(f"the kernel is for at most {THREADS} samples in several updates.")
    decays, bias_decays = (
        1 - chunk.rates * decay for decay in (rule.weight_decay, rule.bias_decay)
    )
    left = decays.flip(0).cumprod(0).flip(0)  # products of a decay and all later ones
    later = torch.cat([left[1:], torch.ones_like(left[:1])])
    rates = chunk.rates / rule.batch
    steps = torch.empty_like(chunk.fields, dtype=torch.float64)
    readout = chunk.readout.clone(memory_format=torch.contiguous_format)
    bias = readout.new_zeros(replicas, hidden) if chunk.bias is None else chunk.bias.clone()
    cuda.launch(
        kernel,
        replicas * THREADS,
        chunk.fields.double().contiguous(),
        chunk.gram.contiguous(),
        chunk.labels.double().contiguous(),
        readout,
        bias,
        torch.stack([rates, decays, bias_decays, rates * later]),
        rule.batch,
        chunk.bias is not None,
        rule.train_readout,
        steps,
    )
    return Moved(left[0], steps, readout, None if chunk.bias is None else bias)


@lru_cache(maxsize=32)
def _compiled(hidden: int, count: int, functions: Functions, itemsize: int) -> Any:
    """Compile the kernel of some functions, or return None."""
    from numba.core.errors import NumbaError

    from gmmdyn.training.rule import _recursion_cuda

    kernel = _recursion_cuda.kernel_of(hidden, count, functions)
    try:
        return cuda.compiled(kernel, _recursion_cuda.SIGNATURES[itemsize])
    except (NumbaError, TypeError):  # the second from functions that it has no CUDA for
        return None
