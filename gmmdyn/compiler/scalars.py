"""Scalar functions: found in torch code, compared with it, and compiled."""

from __future__ import annotations

import copy
import math
import re
import textwrap
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import lru_cache
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import nn

from gmmdyn.compiler.agreement import disagreement, trial_numbers, trial_pairs
from gmmdyn.compiler.tracing import ARGUMENTS, UntraceableError, trace

# Numbers in the code whose neighbours are tried.
_CONSTANTS = 100
# What has been found in the methods of an object, and compared with them.
_compared: WeakKeyDictionary[Any, set[tuple[str, str]]] = WeakKeyDictionary()


def can_compile() -> bool:
    """Return whether numba compiles: not if NUMBA_DISABLE_JIT is set, as one does to debug."""
    from numba import config

    return not getattr(config, "DISABLE_JIT", False)


@lru_cache(maxsize=128)
def compiled_scalar(function: Callable[..., float], arguments: int = 1) -> Any:
    """Compile a function of numbers to one that compiled loops call by its address.

    Division by zero is infinite or NaN, as in torch.

    Args:
        function: what numba can compile.
        arguments: how many numbers it takes.

    Returns:
        The compiled function.
    """
    from numba import cfunc, float64

    return cfunc(float64(*[float64] * arguments), error_model="numpy")(function)


def find_scalars(
    owner: Any, methods: Sequence[str], arguments: int = 1, special: Sequence[float] = ()
) -> list[Callable[..., float]]:
    """Find the scalar functions that methods of an object compute, and compare both.

    What is found holds the numbers that the object has now: ask again when it has others. It
    takes milliseconds, and a tenth of a second to compile it for the first time.

    Args:
        owner: a module, say. Weak references to it must be possible.
        methods: names of methods in elementwise torch code.
        arguments: how many tensors they take, 1 or 2.
        special: numbers at which the functions do something else, beside those in the code.

    Returns:
        The functions, the same objects for the same code; numba can compile them, for a CPU and for
        a GPU.

    Raises:
        UntraceableError: if a method is no scalar function; the message is a clause that begins
            with its name.
    """
    if not can_compile():
        raise UntraceableError("code is not compiled, since NUMBA_DISABLE_JIT is set")
    found, probe = [], owner
    with suppress(Exception):  # tried on all numbers, which one that keeps statistics must not see
        probe = copy.deepcopy(owner)
    # Derivatives may use automatic differentiation, whatever the caller does, and the code may be
    # that of a random function, which is found out by calling it.
    with torch.inference_mode(False), torch.enable_grad(), torch.random.fork_rng(devices=[]):
        for name in methods:
            compared = _compared.setdefault(owner, set())
            try:
                found.append(_find(probe, name, arguments, special, compared))
            except UntraceableError as error:
                raise UntraceableError(f"`{name}` {error}") from None
            except Exception as error:  # of somebody's code, which is asked for no such thing
                words = f"{type(error).__name__}: {error}".splitlines()[0].rstrip(".")
                raise UntraceableError(f"`{name}` could not be followed ({words})") from error
    return found


def _find(
    owner: Any,
    name: str,
    arguments: int,
    special: Sequence[float],
    compared: set[tuple[str, str]],
) -> Callable[..., float]:
    """Find the scalar function of a method, and compare both unless that has been done."""
    method = owner if name == "forward" else getattr(owner, name)  # with the hooks of a module
    own = [*owner.parameters(), *owner.buffers()] if isinstance(owner, nn.Module) else []
    device = own[0].device if own else torch.device("cpu")
    body = trace(method, arguments, device)
    function = _function(body, arguments)
    if (name, body) in compared:
        return function
    numbers = map(float, re.findall(r"(?<![\w.])\d+(?:\.\d+)?(?:e[+-]?\d+)?", body)[:_CONSTANTS])
    trials = trial_numbers if arguments == 1 else trial_pairs
    at = trials((*special, *numbers))
    wrong = disagreement(method, compiled_scalar(function, arguments).ctypes, at, device)
    if wrong is not None:
        where = ", ".join(f"{number:.6g}" for number in wrong)
        raise UntraceableError(f"does not do at {where} what it does elsewhere")
    compared.add((name, body))
    return function


@lru_cache(maxsize=128)
def _function(body: str, arguments: int) -> Callable[..., float]:
    """Make a function of its source, the same for the same, so that it is compiled once."""
    namespace: dict[str, Any] = {"math": math}
    names = ", ".join(ARGUMENTS[:arguments])
    exec(f"def scalar({names}):\n" + textwrap.indent(body, "    "), namespace)
    function: Callable[..., float] = namespace["scalar"]
    return function
