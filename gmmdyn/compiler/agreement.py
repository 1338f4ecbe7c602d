"""Whether a function of numbers is what torch code computes, before it is relied upon."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map

from gmmdyn.compiler.operations import CANCELLING, SUMS, is_rounded

# Relative: two implementations of a function differ by less, in its last bits.
_BLUR = 2.0**-50
# A result may differ by so many times what it moves by if all functions in it are blurred.
_MARGIN = 8
_TOLERANCE = 1e-13
# Below, numbers have fewer bits.
_TINY = 1e-300


def trial_numbers(special: Sequence[float] = ()) -> np.ndarray:
    """Return numbers at which functions differ if they do.

    Args:
        special: the functions' own, such as their kinks.

    Returns:
        A multiple of 12 numbers, of all magnitudes: both zeros, infinities, NaN, and the special
        ones with their neighbours, in random order.
    """
    random = np.random.default_rng(0)
    centres = np.array([0.0, 1.0, *filter(math.isfinite, special)])
    centres = np.unique(np.concatenate([centres, -centres]))
    found = np.concatenate(
        [
            np.linspace(-8, 8, 257),
            *(random.standard_normal(40) * scale for scale in (0.01, 1, 10, 100, 1000)),
            *((-x, x) for x in 10.0 ** np.arange(-300, 301, 12)),
            centres,
            np.nextafter(centres, math.inf),
            np.nextafter(centres, -math.inf),
            centres + 1e-3,
            [-0.0, math.inf, -math.inf, math.nan],
        ]
    )
    return random.permutation(np.resize(found, -(-len(found) // 12) * 12))


def trial_pairs(special: Sequence[float] = ()) -> np.ndarray:
    """Return pairs of numbers at which functions of two differ if they do.

    Args:
        special: as of `trial_numbers`; sums, differences and products of the two come close to
            them.

    Returns:
        A multiple of 12 pairs, shape `(2, n)`.
    """
    numbers = trial_numbers(special)
    second = np.random.default_rng(1).standard_normal(len(numbers))
    pairs = [np.stack([numbers, second])]
    pairs += [np.stack([numbers + y, np.full(len(numbers), y)]) for y in (-1.0, 0.0, 1.0)]
    return np.concatenate(pairs, axis=1)


def disagreement(
    function: Callable[..., Tensor],
    scalar: Callable[..., float],
    at: np.ndarray,
    device: torch.device | None = None,
) -> tuple[float, ...] | None:
    """Look for numbers at which torch code does not compute what a scalar function does.

    They may differ by as much as the result of the code depends on the last bits of the functions
    that it is made of. The code is tried on tensors of several shapes, single elements among them.

    Args:
        function: the code, of one tensor or more of one shape.
        scalar: what it is said to do to each element.
        at: the numbers, a multiple of 12 of them: shape `(n,)`, or `(a, n)` for functions of a.
        device: where the code's own tensors are.

    Returns:
        The arguments, or None if there are none.
    """
    at = np.atleast_2d(at)

    def run(values: np.ndarray, shape: tuple[int, ...] = (-1,)) -> np.ndarray:
        tensors = (torch.tensor(value.reshape(shape), device=device) for value in values)
        result: np.ndarray = function(*tensors).detach().cpu().numpy()
        return result

    def differ(one: np.ndarray, other: np.ndarray, which: np.ndarray) -> np.ndarray:
        same = (one == other) | (np.isnan(one) & np.isnan(other)) | np.isinf(allowed[which])
        found: np.ndarray = ~(same | (abs(one - other) <= allowed[which]))
        return found

    def arguments(i: int) -> tuple[float, ...]:
        return tuple(at[:, i].tolist())

    every = np.arange(at.shape[1])
    tries = [(every, (-1,)), (every[::-1], (-1, 3)), (every, (2, -1, 2))]
    tries += [(every[i : i + 1], (1,) * (i % 4)) for i in every[:: len(every) // 12]]
    with np.errstate(all="ignore"):
        ours, theirs = np.array([scalar(*values) for values in at.T.tolist()]), run(at)
        if not np.array_equal(theirs, run(at), equal_nan=True):
            return arguments(0)  # it is random
        allowed = _allowed(run, at, theirs)
        for order, shape in tries:
            result = run(at[:, order], shape).ravel()
            suspects = order[differ(result, ours[order], order)]
            # torch itself treats the last few elements of a tensor otherwise than those before, NaN
            # say: it is right to do what it does with an element alone or among others.
            for i in suspects:
                one = slice(i, i + 1)
                known = theirs[one], run(at[:, one])
                for value in (ours[one], result[order == i]):
                    if all(differ(value, other, every[one]) for other in known):
                        return arguments(i)
    return None


def _allowed(
    run: Callable[[np.ndarray], np.ndarray], at: np.ndarray, exact: np.ndarray
) -> np.ndarray:
    """Return by how much a result may differ: infinity where its last bits decide on infinity."""
    slack = np.zeros(len(exact))
    for seed in range(4):
        with _Blurred(seed):
            blurred = run(at)
        settled = (np.isfinite(blurred) == np.isfinite(exact)) | (blurred == exact)
        slack = np.where(settled, np.fmax(slack, abs(blurred - exact)), np.inf)
    allowed: np.ndarray = _TOLERANCE * abs(exact) + _MARGIN * slack + _TINY
    return np.where(np.isfinite(exact), allowed, np.where(np.isinf(slack), np.inf, 0.0))


class _Blurred(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Changes the last bits of what functions return that may be rounded one way or another."""

    def __init__(self, seed: int) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._random = np.random.default_rng(seed)

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        """Carry out an operation."""
        name = func._schema.name.removeprefix("aten::")
        if name in SUMS:  # their terms, since they may cancel
            args = tree_map(self._blur, args)
        result = func(*args, **(kwargs or {}))
        if not is_rounded(name):
            return result
        # They add to functions of up to 1, which may cancel, and multiply by arguments.
        scale = sum(abs(arg) for arg in args if name in CANCELLING and isinstance(arg, Tensor))
        return tree_map(lambda value: self._blur(value, scale), result)

    def _blur(self, value: Any, scale: Any = 0) -> Any:
        if not isinstance(value, Tensor) or value.dtype != torch.float64:
            return value
        signs = torch.as_tensor(self._random.choice([-1.0, 1.0], tuple(value.shape)))
        return value + _BLUR * signs.to(value.device) * (abs(value) + scale)
