"""Derivatives of a right-hand side by differences, and when its flow has come to rest."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

# A flow is looked at once no entry moves faster than this, in units of 1/t.
RESTS_BELOW = 1e-9
# Columns of the Jacobian in one evaluation: more would hold all points of all of them in memory.
_COLUMNS = 16
# Steps of one-sided and of central differences, relative to an entry, or to this share of its scale
# where it is smaller: about the square and the cube root of rounding.
_ONE_SIDED, _CENTRAL, _SMALL = 1e-7, 1e-5, 1e-2
# Eigenvalues of a Jacobian by central differences are wrong by about this; in directions that are
# flat to it, such as the readout that merged units share, a flow drifts by the integration error.
_FLAT = 1e-8


def jacobian(
    function: Callable[[Tensor, Tensor], Tensor],
    time: float,
    state: Tensor,
    central: bool = False,
    scale: Tensor | float = 1.0,
    enlarged: float = 1.0,
) -> Tensor:
    """Differentiate a right-hand side by differences.

    Args:
        function: the right-hand side; it takes states of shape `(m, n)` too.
        time: t.
        state: shape `(n,)`.
        central: whether by central differences, good to about 1e-9 for a function of order one, at
            twice the cost; one-sided ones are good to about 1e-7.
        scale: of the entries, shape `(n,)`: changes that matter are not much smaller.
        enlarged: how many times the usual step, to see what the step does.

    Returns:
        The derivative of rate i by entry j, shape `(n, n)`.
    """
    now = torch.tensor(time, dtype=state.dtype)
    size = (
        enlarged
        * (_CENTRAL if central else _ONE_SIDED)
        * torch.maximum(state.abs(), _SMALL * torch.as_tensor(scale, dtype=state.dtype))
    )
    ahead, behind = state + torch.diag(size), state - torch.diag(size)
    shifted = torch.cat([ahead, behind if central else state.unsqueeze(0)])
    parts = torch.tensor_split(shifted, -(-len(shifted) // _COLUMNS))
    rates = torch.cat([function(now, part) for part in parts])
    changes = rates[: len(state)] - rates[len(state) :]
    return (changes / ((1 + central) * size).unsqueeze(1)).T


def at_rest(rate: np.ndarray, slopes: np.ndarray, tolerance: np.ndarray) -> bool:
    """Say whether a flow x' = F(x) has come to rest.

    It has if no direction is unstable, and the linear equations around x would move it by less
    than the tolerance for ever; flat directions are left out.

    Args:
        rate: F(x), shape `(n,)`.
        slopes: dF/dx by central differences, shape `(n, n)`.
        tolerance: of each entry of x, shape `(n,)`.

    Returns:
        Whether it has.
    """
    values, vectors = np.linalg.eig(slopes)
    if values.real.max() > _FLAT:
        return False
    shares = np.linalg.lstsq(vectors, rate.astype(complex), rcond=None)[0]
    moving = np.abs(values) > _FLAT
    shift = vectors[:, moving] @ (shares[moving] / values[moving])
    return bool((np.abs(shift) < tolerance).all())
