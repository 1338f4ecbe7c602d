r"""Order parameters as flat vectors: as they are, or as the fewest weights that have them."""

from __future__ import annotations

import abc
from typing import final

import numpy as np
import torch
from scipy.linalg import qr
from torch import Tensor

from gmmdyn import OrderParameters
from gmmdyn_ode.state import units_of

# Units that are exactly one are parted by this share of the largest norm. The noise parts them
# further, and without it the first step would be infinite: a distance grows like sqrt(t) from 0.
_PARTED = 1e-7
# A diagonal entry of L this many times smaller than a later one: its row turns too fast.
_DISORDER = 10.0


class Coordinates(abc.ABC):
    """A map between order parameters and flat vectors of shape `(n,)`."""

    @abc.abstractmethod
    def flat(self, state: OrderParameters) -> np.ndarray:
        """Return the vector of a state without batch shape."""

    @abc.abstractmethod
    def state(self, x: np.ndarray) -> OrderParameters:
        """Return the state of a vector."""

    @abc.abstractmethod
    def rates(self, x: np.ndarray, rates: OrderParameters) -> np.ndarray:
        """Return dx/dt, given the time derivatives of the state of x."""

    def averaged(self, rates: OrderParameters) -> OrderParameters:
        """Return time derivatives with the symmetry of these coordinates; by default as given."""
        return rates


def joined(parts: list[np.ndarray], b: Tensor | None) -> np.ndarray:
    """Return one vector, with the bias at its end if there is one."""
    return np.concatenate(parts if b is None else [*parts, b.numpy()])


@final
class Overlaps(Coordinates):
    """Q (each pair of units once), R, v and b themselves.

    Args:
        like: a state of the same shapes.
    """

    def __init__(self, like: OrderParameters) -> None:
        self._like = like
        self._upper = np.triu_indices(like.v.shape[-1])

    def flat(self, state: OrderParameters) -> np.ndarray:
        """Return (Q, R, v, b)."""
        parts = [state.Q.numpy()[self._upper], state.R.numpy().reshape(-1), state.v.numpy()]
        return joined(parts, state.b)

    def state(self, x: np.ndarray) -> OrderParameters:
        """Undo `flat`."""
        hidden, size = self._like.v.shape[-1], self._like.R.numel()
        q, r, v, b = np.split(x, np.cumsum([len(self._upper[0]), size, hidden]))
        matrix = np.zeros((hidden, hidden))
        matrix[self._upper] = q
        matrix.T[self._upper] = q
        return OrderParameters(
            Q=torch.from_numpy(matrix),
            R=torch.from_numpy(r.reshape(self._like.R.shape)),
            v=torch.from_numpy(v),
            b=None if self._like.b is None else torch.from_numpy(b),
        )

    def rates(self, x: np.ndarray, rates: OrderParameters) -> np.ndarray:
        """Return the rates in the same order."""
        return self.flat(rates)


@final
class Weights(Coordinates):
    r"""The fewest weights that have the overlaps; in them the dynamics is smooth.

    Legend: T = A Aᵀ with A (C, r), r the rank of the means; c (r, K) the weights in the space of
    the means, R = A c; L (K, K) lower triangular the weights across it, Q = cᵀc + L Lᵀ. The vector
    is (c, L on and below the diagonal, v, b), with the units in the order of a pivoted Cholesky
    decomposition of `like`: whatever is small, such as a unit that dies, comes last, where it turns
    no other unit's row.

    Why not Q and R: an expectation over two units at a small angle has a term in the angle, the
    square root of what is missing to a singular Q, which has no derivative in Q; one of a unit
    that dies depends on the direction of its weights, R_k over the root of Q_kk, which differences
    of Q and R lose; no c and L are outside of the possible; and rows of R of dependent means, such
    as opposite ones, say the same thing twice.

    Args:
        mean_overlaps: T, shape `(C, C)`, positive semi-definite.
        like: a state of the same shapes, which fixes the order of units.
    """

    def __init__(self, mean_overlaps: Tensor, like: OrderParameters) -> None:
        values, vectors = torch.linalg.eigh(mean_overlaps.double().cpu())
        kept = values > 1e-12 * float(values.max().clamp_min(1e-300))
        root = values[kept].sqrt()
        self._out, self._back = vectors[:, kept] * root, (vectors[:, kept] / root).T
        hidden, rank = like.v.shape[-1], len(self._back)
        self._lower = tuple(torch.tril_indices(hidden, hidden))
        self._sizes = [rank * hidden, len(self._lower[0]), hidden]
        if like.b is not None:
            self._sizes.append(hidden)
        root = self._root(like)[1].T.numpy()
        pivots = qr(root, mode="r", pivoting=True)[1] if hidden else np.zeros(0)
        self._order = torch.from_numpy(pivots.astype(np.int64))
        self._place = self._order.argsort()

    def encoded(self, state: OrderParameters) -> Tensor:
        """Return (c, L, v, b) of a state without batch shape, shape `(n,)`."""
        c, root = self._root(state)
        # L Lᵀ = B Bᵀ: Lᵀ is the R of the QR decomposition of Bᵀ.
        triangle = torch.linalg.qr(root[self._order].T, mode="r").R.T
        triangle = triangle * torch.where(triangle.diagonal() < 0, -1.0, 1.0)
        parts = [c[:, self._order].reshape(-1), triangle[self._lower], state.v[self._order]]
        return torch.cat(parts if state.b is None else [*parts, state.b[self._order]])

    def spread(self, of_units: Tensor) -> Tensor:
        """Return a number of each unit, shape `(K,)`, at the places of its weights, `(n,)`."""
        of_units = of_units[self._order]
        parts = [of_units.repeat(len(self._back)), of_units[self._lower[0]], of_units]
        return torch.cat(parts + [of_units] * (len(self._sizes) > 3))

    def disordered(self, x: Tensor) -> bool:
        """Say whether small diagonal entries of L have come before large ones, shape `(n,)`."""
        pivots = self._split(x)[1].diagonal().abs()
        return bool((pivots.cummin(0).values * _DISORDER < pivots).any())

    def _root(self, state: OrderParameters) -> tuple[Tensor, Tensor]:
        """Return c, and B (K, K) with B Bᵀ the overlaps of the weights across the means."""
        c = self._back @ state.R
        across = state.Q - c.T @ c
        values, vectors = torch.linalg.eigh((across + across.T) / 2)
        largest = max(state.Q.diagonal().tolist(), default=0.0)
        least = _PARTED**2 * max(largest, 1e-300)
        return c, vectors * values.clamp_min(least).sqrt()

    def decoded(self, x: Tensor) -> OrderParameters:
        """Return the overlaps of the weights x, shape `(..., n)`."""
        c, triangle, v, b = self._split(x)
        q = c.mT @ c + triangle @ triangle.mT
        return units_of(OrderParameters(Q=q, R=self._out @ c, v=v, b=b), self._place)

    def moved(self, x: Tensor, rates: OrderParameters) -> Tensor:
        """Return dx/dt, shape `(..., n)`, given the time derivatives of the state of x."""
        rates = units_of(rates, self._order)
        c, triangle, _, _ = self._split(x)
        dc = self._back @ rates.R
        cross = dc.mT @ c
        across = rates.Q - cross - cross.mT
        # L⁻¹ d(L Lᵀ) L⁻ᵀ is L⁻¹ dL, which is lower triangular, and its mirror image.
        half = torch.linalg.solve_triangular(triangle, across, upper=False)
        inner = torch.linalg.solve_triangular(triangle, half.mT, upper=False)
        share = inner.tril() - torch.diag_embed(inner.diagonal(dim1=-2, dim2=-1) / 2)
        lower = (triangle @ share)[..., self._lower[0], self._lower[1]]
        parts = [dc.flatten(-2), lower, rates.v]
        return torch.cat(parts if rates.b is None else [*parts, rates.b], dim=-1)

    def flat(self, state: OrderParameters) -> np.ndarray:
        """Return (c, L, v, b)."""
        return self.encoded(state).numpy()

    def state(self, x: np.ndarray) -> OrderParameters:
        """Return the overlaps of the weights."""
        return self.decoded(torch.from_numpy(x))

    def rates(self, x: np.ndarray, rates: OrderParameters) -> np.ndarray:
        """Return dx/dt."""
        return self.moved(torch.from_numpy(x), rates).numpy()

    def _split(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
        c, lower, v, *b = torch.split(x, self._sizes, dim=-1)
        hidden = v.shape[-1]
        triangle = torch.zeros(*x.shape[:-1], hidden, hidden, dtype=x.dtype)
        triangle[..., self._lower[0], self._lower[1]] = lower
        return c.reshape(*x.shape[:-1], len(self._back), hidden), triangle, v, b[0] if b else None
