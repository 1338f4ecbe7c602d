"""Checks at the border: one sentence naming the argument, or the value in its proper type.

Plugin authors may use them too.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from difflib import get_close_matches
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gmmdyn.errors import NotPositiveError, RangeError, ShapeError


def suggestion(name: str, known: Iterable[str]) -> str:
    """Say which of the known names is nearest, and list them all.

    Args:
        name: what was asked for.
        known: the names there are.

    Returns:
        A clause to end an error message with.
    """
    names = sorted(known)
    near = get_close_matches(name, names, n=1, cutoff=0.5)
    hint = f"did you mean `{near[0]}`? " if near else ""
    return f"{hint}there are: {', '.join(names) if names else 'none'}."


def number(
    name: str,
    value: Any,
    *,
    above: float | None = None,
    at_least: float | None = None,
    at_most: float | None = None,
) -> float:
    """Return a finite real number in range.

    Args:
        name: the argument, for the message.
        value: what the caller gave.
        above: a bound that the value must exceed.
        at_least: a bound that the value may equal.
        at_most: a bound that the value may equal.

    Returns:
        The value as a float.

    Raises:
        RangeError: if it is no finite number or out of range.
    """
    wanted = "a finite number"
    if above is not None:
        wanted += f" above {above:g}"
    if at_least is not None:
        wanted += f" of at least {at_least:g}"
    if at_most is not None:
        wanted += f" and at most {at_most:g}"
    try:
        result = float(value)
    except (TypeError, ValueError):
        raise RangeError(f"`{name}` is {value!r}; give {wanted}.") from None
    bad = not math.isfinite(result) or isinstance(value, bool)
    bad = bad or (above is not None and result <= above)
    bad = bad or (at_least is not None and result < at_least)
    bad = bad or (at_most is not None and result > at_most)
    if bad:
        raise RangeError(f"`{name}` is {value!r}; give {wanted}.")
    return result


def whole(name: str, value: Any, *, at_least: int = 1) -> int:
    """Return a whole number in range.

    Args:
        name: the argument, for the message.
        value: what the caller gave.
        at_least: the smallest value allowed.

    Returns:
        The value as an int.

    Raises:
        RangeError: if it is no whole number or too small.
    """
    try:
        whole_value = int(value)
        if isinstance(value, bool) or whole_value != value or whole_value < at_least:
            raise ValueError
    except (TypeError, ValueError, OverflowError):
        raise RangeError(
            f"`{name}` is {value!r}; give a whole number of at least {at_least}."
        ) from None
    return whole_value


def choice(name: str, value: Any, known: Iterable[str]) -> str:
    """Return one of the known words.

    Args:
        name: the argument, for the message.
        value: what the caller gave.
        known: the words allowed.

    Returns:
        The word.

    Raises:
        RangeError: if it is none of them.
    """
    words = tuple(known)
    if value not in words:
        raise RangeError(f"`{name}` is {value!r}; {suggestion(str(value), words)}")
    return str(value)


def array(name: str, value: Any, shape: tuple[int | None, ...]) -> Tensor:
    """Return a finite float64 tensor of the wanted shape, sharing no memory with the caller.

    Args:
        name: the argument, for the message.
        value: nested lists, a NumPy array or a tensor.
        shape: the wanted sizes; None stands for any size.

    Returns:
        The tensor.

    Raises:
        ShapeError: if the shape is another one, or the value is no array of numbers.
        RangeError: if an entry is infinite or not a number.
    """
    wanted = "(" + ", ".join("any" if n is None else str(n) for n in shape) + ")"
    try:
        if isinstance(value, Tensor):
            result = value.detach().to(dtype=torch.float64, copy=True)
        else:
            result = torch.from_numpy(np.array(value, dtype=np.float64))
    except (TypeError, ValueError):
        raise ShapeError(f"`{name}` is no array of numbers; give shape {wanted}.") from None
    if result.ndim != len(shape) or any(
        n is not None and n != m for n, m in zip(shape, result.shape, strict=True)
    ):
        raise ShapeError(f"`{name}` has shape {tuple(result.shape)}; give shape {wanted}.")
    if not bool(torch.isfinite(result).all()):
        raise RangeError(f"`{name}` has an entry that is infinite or not a number.")
    return result


def axes(value: Any) -> int:
    """Return how many axes an array has.

    Args:
        value: nested lists, a NumPy array or a tensor.

    Returns:
        The number; -1 for ragged lists, which `array` refuses with a sentence.
    """
    try:
        return int(np.ndim(value))
    except ValueError:
        return -1


def probabilities(name: str, value: Any, size: int) -> Tensor:
    """Return probabilities that sum to one.

    Args:
        name: the argument, for the message.
        value: an array of shape `(size,)`.
        size: how many there must be.

    Returns:
        The probabilities, float64.

    Raises:
        ShapeError: if the shape is another one.
        RangeError: if one is negative or the sum is not one to 1e-6.
    """
    result = array(name, value, (size,))
    total = float(result.sum())
    if bool((result < 0).any()):
        raise RangeError(f"`{name}` has a negative entry; give probabilities.")
    if abs(total - 1) > 1e-6:
        raise RangeError(f"`{name}` sums to {total:.6g}; give probabilities that sum to one.")
    return result / total


def covariance(name: str, value: Tensor) -> Tensor:
    """Return a symmetric positive semi-definite matrix, symmetrised once.

    Args:
        name: the argument, for the message.
        value: shape `(..., n, n)`.

    Returns:
        The symmetric part.

    Raises:
        NotPositiveError: if it is not symmetric, or has a negative eigenvalue, beyond rounding.
    """
    scale = value.abs().amax().clamp_min(torch.finfo(value.dtype).tiny)
    if bool((value - value.mT).abs().amax() > 1e-6 * scale):
        raise NotPositiveError(f"`{name}` is not symmetric; give a covariance matrix.")
    result = (value + value.mT) / 2
    lowest = float(torch.linalg.eigvalsh(result).min())
    if lowest < -1e-8 * float(scale) * value.shape[-1]:
        raise NotPositiveError(
            f"`{name}` has the negative eigenvalue {lowest:.3g}; give a positive semi-definite "
            "covariance matrix."
        )
    return result
