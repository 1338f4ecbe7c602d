"""Activations for compiled loops."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from gmmdyn.interfaces import ScalarFunction


@lru_cache(maxsize=32)
def compiled_scalar(function: ScalarFunction) -> Any:
    """Compile a function of one number to one that compiled loops call by its address.

    Args:
        function: what numba can compile.

    Returns:
        The compiled function.
    """
    from numba import cfunc, float64

    return cfunc(float64(float64))(function)
