"""Activations and error signals for compiled loops."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any


def can_compile() -> bool:
    """Return whether numba compiles: not if NUMBA_DISABLE_JIT is set, as one does to debug."""
    from numba import config

    return not getattr(config, "DISABLE_JIT", False)


@lru_cache(maxsize=32)
def compiled_scalar(function: Callable[..., float], arguments: int = 1) -> Any:
    """Compile a function of numbers to one that compiled loops call by its address.

    Args:
        function: what numba can compile.
        arguments: how many numbers it takes.

    Returns:
        The compiled function.
    """
    from numba import cfunc, float64

    return cfunc(float64(*[float64] * arguments))(function)
