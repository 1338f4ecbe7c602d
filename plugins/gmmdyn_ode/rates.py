"""The learning rate in time."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor


def rate_at(knots: Tensor, rates: Tensor, time: Tensor | float) -> Tensor:
    r"""Return a learning rate that is linear between knots and constant beyond them.

    Args:
        knots: times, shape `(..., n)`.
        rates: at the knots, shape `(..., n)`.
        time: t, shape `()` or that of the batch.

    Returns:
        The rates, of the batch shape.
    """
    count = knots.shape[-1]
    if count == 1:
        return rates[..., 0]
    t = torch.as_tensor(time, dtype=torch.float64, device=knots.device).unsqueeze(-1)
    right = (knots <= t).sum(-1, keepdim=True).clamp(1, count - 1)
    shape = np.broadcast_shapes(knots.shape, rates.shape, (*t.shape[:-1], count))
    knots, rates = knots.expand(shape), rates.expand(shape)
    right = right.expand(*shape[:-1], 1)
    start, stop = knots.gather(-1, right - 1), knots.gather(-1, right)
    weight = ((t - start) / (stop - start)).clamp(0, 1)
    return torch.lerp(rates.gather(-1, right - 1), rates.gather(-1, right), weight).squeeze(-1)
