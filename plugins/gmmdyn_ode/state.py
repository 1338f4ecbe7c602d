"""Where the dynamics stands, as tensors and as one vector for a solver."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from gmmdyn import OrderParameters


class State(NamedTuple):
    """Where the dynamics stands; a leading `...` is any batch shape, the same in all parts.

    Attributes:
        q: shape `(..., M, K, K)`.
        r: shape `(..., M, C, K)`.
        v: shape `(..., K)`, or `(..., K, O)` for labels of O outputs.
        b: shape `(..., K)`, or None for a network without bias.
    """

    q: Tensor
    r: Tensor
    v: Tensor
    b: Tensor | None

    @classmethod
    def isotropic(cls, order: OrderParameters) -> State:
        """Return the state of order parameters under noise of a single mode."""
        return cls(order.Q.unsqueeze(-3), order.R.unsqueeze(-3), order.v, order.b)

    def order_parameters(self) -> OrderParameters:
        """Undo `isotropic`."""
        return OrderParameters(Q=self.q.squeeze(-3), R=self.r.squeeze(-3), v=self.v, b=self.b)

    def pack(self) -> Tensor:
        """Return vectors of shape `(..., n)`."""
        batch = self.q.shape[:-3]
        return torch.cat([part.reshape(*batch, -1) for part in self if part is not None], dim=-1)

    def unpack(self, flat: Tensor) -> State:
        """Undo `pack` for vectors of any batch shape `(..., n)`; q is symmetrised once, here."""
        skip = self.q.ndim - 3
        shapes = [part.shape[skip:] for part in self if part is not None]
        parts = torch.split(flat, [shape.numel() for shape in shapes], dim=-1)
        q, r, v, *b = (
            part.reshape(*flat.shape[:-1], *shape)
            for part, shape in zip(parts, shapes, strict=True)
        )
        return State((q + q.mT) / 2, r, v, b[0] if b else None)

    def sizes(self) -> list[int]:
        """Return the length of the vector: all its numbers are alike."""
        return [self.pack().shape[-1]]


class MatrixState(NamedTuple):
    """The law of the weights under covariances that do not commute.

    The tuples have one entry for each size of block.

    Attributes:
        mean: components of the mean weights, each of shape `(N, K, d)`.
        spread: covariance of the weights within each block, each of shape `(N, K d, K d)`.
        v: shape `(K,)`, or `(K, O)` for labels of O outputs.
        b: shape `(K,)`, or None for a network without bias.
    """

    mean: tuple[Tensor, ...]
    spread: tuple[Tensor, ...]
    v: Tensor
    b: Tensor | None

    def pack(self) -> Tensor:
        """Return one vector, with one triangle of each covariance."""
        triangles = [s[(slice(None), *_triangle(s))] for s in self.spread]
        bias = [] if self.b is None else [self.b]
        return torch.cat([part.reshape(-1) for part in (*self.mean, self.v, *bias, *triangles)])

    def unpack(self, flat: Tensor) -> MatrixState:
        """Undo `pack` for another vector of shape `(n,)`."""
        split = torch.split_with_sizes(flat, self.sizes())
        parts, groups = iter(split), len(self.mean)
        mean = tuple(next(parts).reshape(like.shape) for like in self.mean)
        v = next(parts).reshape(self.v.shape)
        b = None if self.b is None else next(parts)
        spread = tuple(torch.empty_like(s) for s in self.spread)
        for triangle, whole in zip(split[-groups:], spread, strict=True):
            rows, columns = _triangle(whole)
            whole[:, rows, columns] = triangle.reshape(len(whole), -1)
            whole[:, columns, rows] = whole[:, rows, columns]
        return MatrixState(mean, spread, v, b)

    def sizes(self) -> list[int]:
        """Return the lengths of the parts of the vector.

        A few numbers beside very many: the mean error of all would hide that of the readout.
        """
        bias = [] if self.b is None else [self.b.numel()]
        triangles = [s.numel() // s.shape[-1] * (s.shape[-1] + 1) // 2 for s in self.spread]
        return [*(w.numel() for w in self.mean), self.v.numel(), *bias, *triangles]


def _triangle(spread: Tensor) -> Tensor:
    """Row and column numbers of one triangle of square matrices, shape `(2, n)`."""
    return torch.tril_indices(spread.shape[-1], spread.shape[-1])


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
