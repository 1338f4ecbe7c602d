"""Activations and error signals for compiled loops."""

from __future__ import annotations

import copy
import math
import re
import textwrap
from collections.abc import Callable
from contextlib import suppress
from functools import lru_cache
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from gmmdyn.interfaces import Activation, ScalarFunction
from gmmdyn.training.compiled.agreement import disagreement, points
from gmmdyn.training.compiled.tracing import UntraceableError, trace

# Numbers in the code whose neighbours are tried.
_CONSTANTS = 100
# What has been found in the methods of an activation, and compared with them.
_compared: WeakKeyDictionary[Activation, set[tuple[str, str]]] = WeakKeyDictionary()


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


class Scalars(NamedTuple):
    """What compiled loops need of an activation.

    Attributes:
        functions: g and g' as functions of one float that numba compiles, on a CPU and on a GPU;
            None if there are none.
        reason: why not, a clause.
    """

    functions: tuple[ScalarFunction, ScalarFunction] | None
    reason: str = ""


def scalar_functions_of(activation: Activation) -> Scalars:
    """Return an activation's scalar functions: those it offers, or else those found in its code.

    What is found holds the numbers that the activation has now: ask again when it has others. It
    takes milliseconds, and a tenth of a second to compile it for the first time.

    Args:
        activation: any.

    Returns:
        The functions, the same objects for the same code, or why there are none.
    """
    functions = activation.scalar_functions()
    if functions is not None:
        return Scalars(functions)
    if not can_compile():
        return Scalars(None, "code is not compiled, since NUMBA_DISABLE_JIT is set")
    found, probe = [], activation
    with suppress(Exception):  # tried on all numbers, which one that keeps statistics must not see
        probe = copy.deepcopy(activation)
    # Derivatives may use automatic differentiation, whatever the caller does, and the code may be
    # that of a random function, which is found out by calling it.
    with torch.inference_mode(False), torch.enable_grad(), torch.random.fork_rng(devices=[]):
        for name, method in (("forward", probe), ("derivative", probe.derivative)):
            try:
                found.append(_find(activation, name, method))
            except UntraceableError as error:
                return Scalars(None, f"`{name}` {error}")
            except Exception as error:  # of somebody's code, which is asked for no such thing
                words = f"{type(error).__name__}: {error}".splitlines()[0].rstrip(".")
                return Scalars(None, f"`{name}` could not be followed ({words})")
    value, slope = found
    return Scalars((value, slope))


def _find(activation: Activation, name: str, method: Callable[[Tensor], Tensor]) -> ScalarFunction:
    """Find the scalar function of a method, and compare both."""
    own = [*activation.parameters(), *activation.buffers()]
    device = own[0].device if own else torch.device("cpu")
    body = trace(method, device)
    function = _function(body)
    compared = _compared.setdefault(activation, set())
    if (name, body) in compared:
        return function
    numbers = map(float, re.findall(r"(?<![\w.])\d+(?:\.\d+)?(?:e[+-]?\d+)?", body)[:_CONSTANTS])
    at = points((*activation.kinks, *numbers))
    wrong = disagreement(method, compiled_scalar(function).ctypes, at, device)
    if wrong is not None:
        raise UntraceableError(f"does not do at {wrong:.6g} what it does elsewhere")
    compared.add((name, body))
    return function


@lru_cache(maxsize=128)
def _function(body: str) -> ScalarFunction:
    """Make a function of its source, the same for the same, so that it is compiled once."""
    namespace: dict[str, Any] = {"math": math}
    exec("def scalar(x):\n" + textwrap.indent(body, "    "), namespace)
    function: ScalarFunction = namespace["scalar"]
    return function
