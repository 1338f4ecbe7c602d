"""Some of the units of a network, as a network of their own."""

from __future__ import annotations

import torch
from torch import Tensor

from gmmdyn import OrderParameters


def unit_sizes(state: OrderParameters) -> Tensor:
    """Return the length of the weights of each unit, both layers and bias, shape `(..., K)`."""
    square = state.Q.diagonal(dim1=-2, dim2=-1) + state.v**2
    return (square if state.b is None else square + state.b**2).clamp_min(0).sqrt()


def units_of(state: OrderParameters, chosen: Tensor) -> OrderParameters:
    """Return the order parameters of some units, in an order.

    Args:
        state: of K units, any batch shape.
        chosen: numbers of units, shape `(k,)`.

    Returns:
        A state of those units alone.
    """
    return OrderParameters(
        Q=state.Q[..., chosen, :][..., chosen],
        R=state.R[..., chosen],
        v=state.v[..., chosen],
        b=None if state.b is None else state.b[..., chosen],
    )


def embedded(state: OrderParameters, chosen: Tensor, hidden: int) -> OrderParameters:
    """Return the state of a network in which all other units have no weights.

    Args:
        state: of k units, any batch shape.
        chosen: their numbers, shape `(k,)`.
        hidden: the number of all units `K`.

    Returns:
        A state of K units.
    """
    if len(chosen) == hidden and bool((chosen == torch.arange(hidden)).all()):
        return state
    batch = state.v.shape[:-1]
    q = state.Q.new_zeros(*batch, hidden, hidden)
    q[..., chosen[:, None], chosen] = state.Q
    r = state.R.new_zeros(*batch, state.R.shape[-2], hidden)
    r[..., chosen] = state.R
    v = state.v.new_zeros(*batch, hidden)
    v[..., chosen] = state.v
    b = None
    if state.b is not None:
        b = state.b.new_zeros(*batch, hidden)
        b[..., chosen] = state.b
    return OrderParameters(Q=q, R=r, v=v, b=b)
