r"""Order parameters as flat vectors: as they are, or as the fewest weights that have them."""

from __future__ import annotations

import abc
from typing import final

import numpy as np
import torch
from scipy.linalg import solve_triangular
from torch import Tensor

from gmmdyn import OrderParameters

# Units that are exactly one are parted by this share of the largest norm. The noise parts them
# further, and without it the first step would be infinite: a distance grows like sqrt(t) from 0.
_PARTED = 1e-7


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
        bias = None if self._like.b is None else b
        return _state(matrix, r.reshape(self._like.R.shape), v, bias)

    def rates(self, x: np.ndarray, rates: OrderParameters) -> np.ndarray:
        """Return the rates in the same order."""
        return self.flat(rates)


@final
class Weights(Coordinates):
    r"""The fewest weights that have the overlaps; in them the dynamics is smooth.

    Legend: T = A Aᵀ with A (C, r), r the rank of the means; c (r, K) the weights in the space of
    the means, R = A c; L (K, K) lower triangular the weights across it, Q = cᵀc + L Lᵀ. The vector
    is (c, L on and below the diagonal, v, b).

    Why not Q and R: an expectation over two units at a small angle has a term in the angle, the
    square root of what is missing to a singular Q, which has no derivative in Q; no c and L are
    outside of the possible; and rows of R of dependent means, such as opposite ones, say the same
    thing twice.

    Args:
        mean_overlaps: T, shape `(C, C)`, positive semi-definite.
        like: a state of the same shapes.
    """

    def __init__(self, mean_overlaps: Tensor, like: OrderParameters) -> None:
        values, vectors = np.linalg.eigh(mean_overlaps.double().cpu().numpy())
        kept = values > 1e-12 * max(float(values.max()), 1e-300)
        self._out = vectors[:, kept] * np.sqrt(values[kept])
        self._back = (vectors[:, kept] / np.sqrt(values[kept])).T
        self._hidden = like.v.shape[-1]
        self._lower = np.tril_indices(self._hidden)
        self._bias = like.b is not None

    def flat(self, state: OrderParameters) -> np.ndarray:
        """Return (c, L, v, b)."""
        c = self._back @ state.R.numpy()
        across = state.Q.numpy() - c.T @ c
        values, vectors = np.linalg.eigh((across + across.T) / 2)
        least = _PARTED**2 * max(float(state.Q.diagonal().max()), 1e-300)
        # L Lᵀ = B Bᵀ with B = V sqrt(values): Lᵀ is the R of the QR decomposition of Bᵀ.
        root = vectors * np.sqrt(np.maximum(values, least))
        triangle: np.ndarray = np.asarray(np.linalg.qr(root.T, mode="r")).T
        triangle = triangle * np.where(triangle.diagonal() < 0, -1.0, 1.0)
        return joined([c.reshape(-1), triangle[self._lower], state.v.numpy()], state.b)

    def state(self, x: np.ndarray) -> OrderParameters:
        """Return the overlaps of the weights."""
        c, triangle, v, b = self._split(x)
        return _state(c.T @ c + triangle @ triangle.T, self._out @ c, v, b)

    def rates(self, x: np.ndarray, rates: OrderParameters) -> np.ndarray:
        """Return dx/dt."""
        c, triangle, _, _ = self._split(x)
        dc = self._back @ rates.R.numpy()
        cross = dc.T @ c
        across = rates.Q.numpy() - cross - cross.T
        # L⁻¹ d(L Lᵀ) L⁻ᵀ is L⁻¹ dL, which is lower triangular, and its mirror image.
        half = solve_triangular(triangle, across, lower=True, check_finite=False)
        inner = solve_triangular(triangle, half.T, lower=True, check_finite=False)
        share = np.tril(inner) - np.diag(inner.diagonal() / 2)
        lower = (triangle @ share)[self._lower]
        return joined([dc.reshape(-1), lower, rates.v.numpy()], rates.b)

    def _split(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray | None]:
        hidden, rank = self._hidden, len(self._back)
        c, lower, v, b = np.split(x, np.cumsum([rank * hidden, len(self._lower[0]), hidden]))
        triangle = np.zeros((hidden, hidden))
        triangle[self._lower] = lower
        return c.reshape(rank, hidden), triangle, v, b if self._bias else None


def _state(q: np.ndarray, r: np.ndarray, v: np.ndarray, b: np.ndarray | None) -> OrderParameters:
    return OrderParameters(
        Q=torch.from_numpy(np.array(q)),
        R=torch.from_numpy(np.array(r)),
        v=torch.from_numpy(np.array(v)),
        b=None if b is None else torch.from_numpy(np.array(b)),
    )
