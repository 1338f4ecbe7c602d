"""The recursion of the blocked form on a GPU: a launch for all replicas."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import torch

from gmmdyn.training.compiled import cuda
from gmmdyn.training.dense.recursion import Chunk, Moved

# Units whose steps a block's shared memory can hold.
_MOST_UNITS = 40

Scalars = tuple[Callable[..., float], ...]


def solver(scalars: Scalars, hidden: int, dtype: torch.dtype) -> Callable[[Chunk], Moved] | None:
    """Return what solves the recursion of chunks on a CUDA device, if numba can compile it.

    Args:
        scalars: activation, its derivative, and the error signal of output and label.
        hidden: K.
        dtype: of the inputs.

    Returns:
        What does the same as `recursion.solve` for at most `THREADS` samples in several updates, or
        None if there are more units than a block's shared memory holds the steps of, or CUDA has
        not what the functions use.
    """
    kernel = _compiled(hidden, scalars, dtype.itemsize) if hidden <= _MOST_UNITS else None
    return None if kernel is None else lambda chunk: solve(chunk, kernel)


def solve(chunk: Chunk, kernel: Any) -> Moved:
    """Solve the recursion of a chunk by a compiled kernel.

    Args:
        chunk: samples of several updates.
        kernel: from `_recursion_cuda.kernel_of`, compiled.

    Returns:
        What the weights become.
    """
    from gmmdyn.training.dense._recursion_cuda import THREADS

    replicas, samples, _ = chunk.fields.shape
    if chunk.gram is None or samples > THREADS:
        raise ValueError(f"the kernel is for at most {THREADS} samples in several updates.")
    batch = samples // len(chunk.rates)
    decays = 1 - chunk.rates * chunk.weight_decay
    left = decays.flip(0).cumprod(0).flip(0)  # products of a decay and all later ones
    later = torch.cat([left[1:], torch.ones_like(left[:1])])
    rates = chunk.rates / batch
    steps = torch.empty_like(chunk.fields, dtype=torch.float64)
    readout = chunk.readout.clone()
    bias = torch.zeros_like(readout) if chunk.bias is None else chunk.bias.clone()
    cuda.launch(
        kernel,
        replicas * THREADS,
        chunk.fields.double().contiguous(),
        chunk.gram.contiguous(),
        chunk.labels.double().contiguous(),
        readout,
        bias,
        torch.stack([rates, decays, rates * later]),
        batch,
        chunk.bias is not None,
        chunk.train_readout,
        steps,
    )
    return Moved(left[0], steps, readout, None if chunk.bias is None else bias)


@lru_cache(maxsize=32)
def _compiled(hidden: int, scalars: Scalars, itemsize: int) -> Any:
    """Compile the kernel of some functions, or return None."""
    from numba.core.errors import NumbaError

    from gmmdyn.training.dense import _recursion_cuda

    kernel = _recursion_cuda.kernel_of(hidden, scalars)
    try:
        return cuda.compiled(kernel, _recursion_cuda.SIGNATURES[itemsize])
    except (NumbaError, TypeError):  # the second from functions that it has no CUDA for
        return None
