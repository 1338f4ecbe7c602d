"""When compiled loops may serve, and arrays for them."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from gmmdyn.interfaces import Fields


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
