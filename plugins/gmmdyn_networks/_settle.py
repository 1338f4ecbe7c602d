"""How the networks settle what they are given: names or objects, sizes, explicit arrays."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from gmmdyn import activation as build_activation
from gmmdyn import checks
from gmmdyn.errors import ArgumentError, RangeError
from gmmdyn.interfaces import Activation, GaussianMixture

ArrayLike = Sequence[Sequence[float]] | Sequence[float] | np.ndarray | Tensor


def settled_activation(activation: str | Activation) -> Activation:
    """Return an activation that is given by name or as an object."""
    return activation if isinstance(activation, Activation) else build_activation(activation)


def settled_dtype(name: str) -> torch.dtype:
    """Return the torch dtype of a name.

    Raises:
        RangeError: if it is neither `"float32"` nor `"float64"`.
    """
    kind: torch.dtype = getattr(torch, checks.choice("dtype", name, ("float32", "float64")))
    return kind


def settled_dim(
    dim: int | None, mixture: GaussianMixture | None, array: str, size: int | None, missing: str
) -> int:
    """Return the input dimension from whatever names it.

    Args:
        dim: as an argument.
        mixture: as that of a mixture.
        array: name of the explicit array, for the message.
        size: as that of the array.
        missing: what to say if nothing names it.

    Returns:
        D.

    Raises:
        ArgumentError: if nothing names it.
        RangeError: if two of them differ.
    """
    dims = {} if dim is None else {"dim": checks.whole("dim", dim)}
    if mixture is not None:
        dims["mixture"] = mixture.dim
    if size is not None:
        dims[array] = size
    if not dims:
        raise ArgumentError(missing)
    if len(set(dims.values())) > 1:
        sizes = " and ".join(f"{size} (`{name}`)" for name, size in dims.items())
        raise RangeError(f"the input dimension is given as {sizes}; give one.")
    return next(iter(dims.values()))


def generator_of(seed: int) -> torch.Generator:
    """Return the generator of random weights."""
    return torch.Generator().manual_seed(checks.whole("seed", seed, at_least=0))


def normals(scale: float, shape: Sequence[int], generator: torch.Generator) -> Tensor:
    """Draw weights in double precision, so that both dtypes have the same ones."""
    return scale * torch.randn(*shape, generator=generator, dtype=torch.float64)


def settled_weights(
    name: str,
    given: str | ArrayLike,
    shape: tuple[int, ...],
    starts: Mapping[str, Callable[[], Tensor]],
) -> Tensor:
    """Return weights that are given by a word or as numbers.

    Args:
        name: of the argument, for messages.
        given: one of the words, or the weights.
        shape: that they must have.
        starts: what each word means.

    Returns:
        Float64, of that shape.

    Raises:
        RangeError: if the word is unknown.
        ShapeError: if they have another shape.
    """
    if isinstance(given, str):
        return starts[checks.choice(name, given, tuple(starts))]()
    return checks.array(name, given, shape)
