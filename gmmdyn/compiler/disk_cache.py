"""Compiled functions that numba keeps on disk."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, TypeVar

Function = TypeVar("Function", bound=Callable[..., Any])


def kept_with(files: Iterable[str | Path]) -> Callable[[Function], Function]:
    """Return a decorator for functions under `njit(cache=True)` that use those of other files.

    numba compiles such a function anew when its own file changes, and not when others do whose
    functions it has compiled in. The decorator, next to the function, puts the content of the files
    into its name, which is that of its file in the cache.

    Args:
        files: whose functions are compiled in, its own among them.

    Returns:
        The decorator.
    """
    contents = hashlib.sha256()
    for file in sorted(map(Path, files)):
        contents.update(file.read_bytes())
    digest = contents.hexdigest()[:12]

    def keep(function: Function) -> Function:
        function.__qualname__ = f"{function.__qualname__}_{digest}"
        return function

    return keep
