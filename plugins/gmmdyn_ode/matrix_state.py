"""Where the dynamics stands when covariances do not commute: the law of the weights."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class MatrixState(NamedTuple):
    """Where the dynamics stands; the tuples have one entry for each size of block.

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
        parts = [*self._small(), *(_triangle(s) for s in self.spread)]
        return torch.cat([part.reshape(-1) for part in parts])

    def unpack(self, flat: Tensor) -> MatrixState:
        """Undo `pack` for another vector of shape `(n,)`."""
        small, groups = self._small(), len(self.mean)
        shapes = [part.shape for part in small] + [_shape(s) for s in self.spread]
        split = torch.split_with_sizes(flat, [shape.numel() for shape in shapes])
        parts = [part.reshape(shape) for part, shape in zip(split, shapes, strict=True)]
        mean, (v, *b), triangles = (
            parts[:groups],
            parts[groups : len(small)],
            parts[len(small) :],
        )
        spread = []
        for triangle, s in zip(triangles, self.spread, strict=True):
            rows, columns = torch.tril_indices(s.shape[-1], s.shape[-1])
            whole = torch.empty_like(s)
            whole[:, rows, columns] = triangle
            whole[:, columns, rows] = triangle
            spread.append(whole)
        return MatrixState(tuple(mean), tuple(spread), v, b[0] if b else None)

    def sizes(self) -> list[int]:
        """Return the lengths of the parts of the vector.

        A few numbers beside very many: the mean error of all would hide that of the readout.
        """
        small = [part.numel() for part in self._small()]
        return [*small, *(_shape(s).numel() for s in self.spread)]

    def _small(self) -> list[Tensor]:
        return [*self.mean, self.v] if self.b is None else [*self.mean, self.v, self.b]


def _shape(spread: Tensor) -> torch.Size:
    size = spread.shape[-1]
    return torch.Size((len(spread), size * (size + 1) // 2))


def _triangle(spread: Tensor) -> Tensor:
    rows, columns = torch.tril_indices(spread.shape[-1], spread.shape[-1])
    return spread[:, rows, columns]
