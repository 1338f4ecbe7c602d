"""Launches of the chain on a GPU: a thousand updates and more of all chains at once."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gmmdyn.algorithm import OnlineSGD
from gmmdyn.compiler import cuda
from gmmdyn.errors import IncompatibleError
from gmmdyn.training.rule.rule import Functions
from gmmdyn.training.stream import SAMPLES, stream_seed

# Updates of a launch: its cost, some ten microseconds, vanishes in them, and a display that shares
# the device does not stand still. More chains than run at once take turns.
_UPDATES, _AT_ONCE = 2**14, 2**16
# Rates of schedules, which are numbers of their own for each experiment and update.
_RATES = 2**24
# The low word of a seed.
_WORD = (1 << 32) - 1


def advance_chains(
    start: int,
    stop: int,
    sizes: tuple[int, int, int, int, int, int, bool],
    functions: Functions,
    algorithms: Sequence[OnlineSGD],
    keys: Tensor,
    experiments: Tensor,
    parameters: Sequence[Tensor],
    states: Sequence[Tensor],
) -> None:
    """Move chains on a GPU, in place.

    Args:
        start: the first update.
        stop: one past the last.
        sizes: D, r, s, C, K, O and whether there is a bias.
        functions: activation, its derivative, and the error signal.
        algorithms: of the experiments; their rates.
        keys: of the chains, two words each, shape `(N, 2)`, int64.
        experiments: that which each chain belongs to, shape `(N,)`, int64.
        parameters: of experiments; see `_cuda.mover`.
        states: of chains; see `_cuda.mover`.

    Raises:
        IncompatibleError: if CUDA has not what the activation uses.
    """
    count = len(keys)
    length = max(256, _UPDATES * _AT_ONCE // max(_AT_ONCE, count))
    length = max(256, min(length, _RATES // len(algorithms)))
    kernel = _compiled(sizes, functions)
    for first in range(start, stop, length):
        end = min(first + length, stop)
        rates = learning_rates(algorithms, first, end, sizes[0]).to(keys.device)
        cuda.launch(kernel, count, first, end, rates, keys, experiments, *parameters, *states)


def learning_rates(algorithms: Sequence[OnlineSGD], first: int, stop: int, dim: int) -> Tensor:
    """Return the learning rates over D of some updates.

    Args:
        algorithms: of P experiments.
        first: the first update.
        stop: one past the last.
        dim: D.

    Returns:
        Shape `(P, T)`, or `(P, 1)` if all are constant; float64.
    """
    constant = all("schedule" not in algorithm.variations for algorithm in algorithms)
    times = np.arange(first, first + 1 if constant else stop) / dim
    return torch.from_numpy(np.stack([algorithm.rate(times) / dim for algorithm in algorithms]))


@lru_cache(maxsize=8)
def keys_of(seed: int, numbers: range, each: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Return what the noise of chains is made of, and the experiments that they belong to.

    Args:
        seed: of the run.
        numbers: of the chains, those of one experiment in a row.
        each: chains of an experiment.
        device: for the tensors.

    Returns:
        The two words of each chain's key, shape `(N, 2)`, which knows seed and replica alone, and
        the experiments, shape `(N,)`; int64.
    """
    seeds = [stream_seed(seed, SAMPLES, number % each) for number in numbers]
    keys = torch.tensor([[seed & _WORD, seed >> 32] for seed in seeds])
    return keys.to(device), torch.tensor([number // each for number in numbers], device=device)


@lru_cache(maxsize=32)
def _compiled(sizes: tuple[int, int, int, int, int, int, bool], functions: Functions) -> Any:
    """Compile the kernel of some sizes and functions."""
    from numba.core.errors import NumbaError

    from gmmdyn.training.chain import _cuda

    kernel = _cuda.kernel_of(_cuda.Sizes(*sizes), functions)
    try:
        return cuda.compiled(kernel, _cuda.SIGNATURE)
    except (NumbaError, TypeError) as error:  # the second from functions that it has no CUDA for
        raise IncompatibleError(
            "the chain engine cannot compile the scalar functions of this activation for CUDA "
            f"({' '.join(str(error).split())[:200]}); simulate with the engine `dense`, or on the "
            "CPU with `trainer={'accelerator': 'cpu'}`."
        ) from error
