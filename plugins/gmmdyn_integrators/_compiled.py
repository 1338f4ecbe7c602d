"""When compiled loops may serve, and arrays for them."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from gmmdyn.interfaces import Fields, Moments
from gmmdyn_integrators._outputs import Exact, Head, shaped


def may_compile(fields: Fields) -> bool:
    """Say whether an integral is one of plain numbers on the CPU, without a gradient to follow."""
    from numba import config  # heavy

    if getattr(config, "DISABLE_JIT", False):  # as one does to debug
        return False
    inputs = (fields.mean, fields.covariance, fields.readout)
    if any(part.device.type != "cpu" or part.dtype != torch.float64 for part in inputs):
        return False
    return not (torch.is_grad_enabled() and any(part.requires_grad for part in inputs))


def rows(values: Tensor, shape: tuple[int, ...], keep: int) -> np.ndarray:
    """Return a tensor broadcast to a shape, all but the last axes flattened into one.

    Args:
        values: to broadcast.
        shape: what to.
        keep: how many of the last axes stay.

    Returns:
        A contiguous array of float64.
    """
    wide = values.detach().expand(shape).reshape(-1, *shape[len(shape) - keep :])
    return np.ascontiguousarray(wide.numpy())


def compiled(kernel: Callable[..., None], fields: Fields, *more: np.ndarray) -> Exact:
    """Return what a compiled kernel makes of fields, for the square loss.

    Args:
        kernel: takes mean, covariance, readout, labels, what there is more, and room for drive,
            noise, stein, the slope of the readout, pmse and mean slopes, all clusters in one axis.
        fields: the distribution of the local fields and the network.
        more: further arguments.

    Returns:
        The moments, the pmse and the mean slopes.
    """
    shape, (readout, labels) = tuple(fields.mean.shape), Head.of(fields)
    hidden, outputs = shape[-1], labels.shape[-1]
    count = math.prod(shape[:-1])
    own = ((hidden,), (hidden, hidden), (hidden, hidden), (hidden, outputs), (), (hidden,))
    room = [np.empty((count, *size)) for size in own]
    kernel(
        rows(fields.mean, shape, 1),
        rows(fields.covariance, (*shape, hidden), 2),
        rows(readout, (*shape, outputs), 2),
        rows(labels, (*shape[:-1], outputs), 1),
        *more,
        *room,
    )
    drive, noise, stein, signal, pmse, slope = (
        torch.from_numpy(values.reshape(*shape[:-1], *size))
        for values, size in zip(room, own, strict=True)
    )
    return Exact(shaped(fields, Moments(drive, noise, stein, signal)), pmse, slope)
