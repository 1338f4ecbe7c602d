r"""Coordinates of the state that are linearly independent.

The rows of R are overlaps with C means that span r directions only: R = A M with A (C, r) fixed,
A Aᵀ = T. The coordinates x are Q_kl for k ≤ l, M (r, K), the readout if it learns, and the biases
if there are any; in R itself covariances would be singular.
"""

from __future__ import annotations

from typing import final

import torch
from torch import Tensor

from gmmdyn_ode.problem import Problem
from gmmdyn_ode.state import State

# Directions of the means count as one if T has a smaller eigenvalue than this share of the largest.
_DEPENDENT = 1e-12
# A unit a thousand times smaller than the largest has its own scale; smaller ones have this.
_SMALLEST = 1e-3


@final
class Coordinates:
    """The linear map between states and coordinates.

    Args:
        problem: with isotropic noise.

    Attributes:
        axes: A, the means over √D in an orthonormal basis of their span, shape `(C, r)`.
        count: how many coordinates there are, n.
        rank: r.
        hidden: K.
        learns: whether the readout is among the coordinates.
        biased: whether biases are.
        pairs: units k and l of the entries of Q, shape `(K (K + 1)/2,)` each.
    """

    def __init__(self, problem: Problem) -> None:
        values, vectors = torch.linalg.eigh(problem.overlaps.squeeze(-3))
        kept = values > _DEPENDENT * values[-1].clamp_min(0)
        roots = values[kept].sqrt()
        self.axes = vectors[:, kept] * roots
        self._dual = vectors[:, kept] / roots
        start = problem.initial
        self.hidden, self.rank = start.v.shape[-1], len(roots)
        self.learns = bool(problem.readout_learns)
        self.biased = start.b is not None
        self._readout = start.v
        self.pairs = self._rows, self._columns = torch.triu_indices(self.hidden, self.hidden)
        self._sizes = [
            len(self._rows),
            self.rank * self.hidden,
            self.hidden * self.learns,
            self.hidden * self.biased,
        ]
        self.count = sum(self._sizes)

    def flat(self, state: State) -> Tensor:
        """Return the coordinates of a state, or of its time derivatives, shape `(..., n)`."""
        q, r, v, b = state
        parts = [q.squeeze(-3)[..., self._rows, self._columns]]
        parts.append((self._dual.mT @ r.squeeze(-3)).flatten(-2))
        if self.learns:
            parts.append(v)
        if b is not None:
            parts.append(b)
        return torch.cat(parts, -1)

    def parts(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
        """Return Q `(..., K, K)`, M `(..., r, K)`, v `(..., K)` and b `(..., K)` of coordinates."""
        batch = x.shape[:-1]
        pairs, span, v, b = torch.split(x, self._sizes, dim=-1)
        q = x.new_empty(*batch, self.hidden, self.hidden)
        q[..., self._rows, self._columns] = pairs
        q[..., self._columns, self._rows] = pairs
        if not self.learns:
            v = self._readout.expand(*batch, -1)
        span = span.reshape(*batch, self.rank, self.hidden)
        return q, span, v, b if self.biased else None

    def state(self, x: Tensor) -> State:
        """Return the state at coordinates, shape `(..., n)`."""
        q, span, v, b = self.parts(x)
        return State(q.unsqueeze(-3), (self.axes @ span).unsqueeze(-3), v, b)

    def possible(self, x: Tensor) -> Tensor:
        """Return the nearest coordinates at which Q - MᵀM has no negative eigenvalue."""
        q, span, v, b = self.parts(x)
        inside = span.mT @ span
        values, vectors = torch.linalg.eigh(q - inside)
        if not bool((values < 0).any()):
            return x
        rest = (vectors * values.clamp_min(0).unsqueeze(-2)) @ vectors.mT
        return self.flat(
            State((inside + rest).unsqueeze(-3), (self.axes @ span).unsqueeze(-3), v, b)
        )

    def scales(self, x: Tensor) -> Tensor:
        """Return what is a change of order one of each coordinate, shape `(..., n)`.

        For Q_kl the product of the lengths of two units, for M_jk and b_k the length of one.
        """
        q, _, v, _ = self.parts(x)
        length = q.diagonal(dim1=-2, dim2=-1).clamp_min(0).sqrt()
        length = torch.maximum(length, _SMALLEST * length.amax(-1, keepdim=True)).clamp_min(1e-12)
        parts = [length[..., self._rows] * length[..., self._columns]]
        parts.append(length.unsqueeze(-2).expand(*x.shape[:-1], self.rank, -1).flatten(-2))
        if self.learns:
            largest = v.abs().amax(-1, keepdim=True)
            parts.append(torch.maximum(v.abs(), 0.1 * largest).clamp_min(1e-12))
        if self.biased:
            parts.append(length)
        return torch.cat(parts, -1)
