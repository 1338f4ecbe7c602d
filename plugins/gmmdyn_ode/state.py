"""Where the dynamics stands."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


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
