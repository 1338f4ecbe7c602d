r"""From the Gaussian of the order parameters to means and covariances of the errors.

At each time the errors are evaluated at pairs of states ahead of and behind the mean, on a sphere
of radius √n in units of the deviations, along directions of random orthonormal bases. Half the
difference of a pair gives the gradient and half the sum the curvature: the average over a basis has
the linear part of the variance, and the shift of the mean by the curvature, without any sampling
error. What the curvature adds to the variance is fitted in the leading modes, and sampled in the
rest. Differences of this size are above the integration error of the errors, and see where a
gradient is near 0.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch

from gmmdyn_ode.finite_size.expansion import Expansion
from gmmdyn_ode.finite_size.limit import ERRORS, Limit

# Pairs of states at each time, at least.
_PAIRS = 20
# Leading modes in which the curvature is fitted.
_LEADING = 3
# Modes whose variance is a smaller share of the largest do not move.
_NOTHING = 1e-14


class Response(NamedTuple):
    """What the errors do where the order parameters fluctuate; each by name and of shape `(T,)`.

    Attributes:
        shift: of the mean over replicas from the value of the limit.
        linear: gradients by deviations in units of √(C/D), shape `(T, n)`.
        bent: variance that the curvature adds.
        roots: V of C/D = V Vᵀ at each time, shape `(T, n, n)`.
    """

    shift: dict[str, np.ndarray]
    linear: dict[str, np.ndarray]
    bent: dict[str, np.ndarray]
    roots: np.ndarray

    def variance(self, name: str) -> np.ndarray:
        """Return the variance of one replica, shape `(T,)`."""
        return np.asarray((self.linear[name] ** 2).sum(-1) + self.bent[name])

    def covariance(self, name: str, between: np.ndarray) -> np.ndarray:
        """Return the covariance of one replica at two times.

        The part that the curvature adds is as correlated as the square of the other, as it is where
        one mode makes it.

        Args:
            name: an error.
            between: C(t, s)/D, shape `(T, T, n, n)`.

        Returns:
            Shape `(T, T)`.
        """
        inverse = np.linalg.pinv(self.roots, rcond=_NOTHING**0.5)  # (T, n, n)
        slopes = np.einsum("tij,ti->tj", inverse, self.linear[name])
        linear = np.einsum("ti,tsij,sj->ts", slopes, between, slopes)
        size = np.sqrt(np.clip(np.diagonal(linear), 0, None))
        with np.errstate(divide="ignore", invalid="ignore"):
            alike = np.nan_to_num(linear / (size[:, None] * size))
        np.fill_diagonal(alike, 1.0)
        more = np.sqrt(self.bent[name])
        total: np.ndarray = linear + alike**2 * more[:, None] * more
        return total


def respond(expansion: Expansion, dim: float, limit: Limit, seed: int = 0) -> Response:
    """Evaluate the errors around the mean at every time.

    Args:
        expansion: the expansion in 1/D.
        dim: D.
        limit: the experiment, which measures errors.
        seed: of the directions.

    Returns:
        The response.
    """
    count, size = expansion.shift.shape
    values, vectors = np.linalg.eigh(expansion.covariance / dim)
    values = np.where(values > _NOTHING * values[:, -1:], values, 0.0)
    roots = vectors * np.sqrt(values)[:, None, :]
    directions = _directions(size, seed)  # (S, n)
    centre = expansion.limit + expansion.shift / dim
    away = np.einsum("tij,sj->tsi", roots, directions)
    points = np.stack([centre[:, None] + away, centre[:, None] - away])  # (2, T, S, n)
    moved = limit.coordinates.possible(torch.from_numpy(points).flatten(0, 2))
    middle = limit.coordinates.possible(torch.from_numpy(centre))
    every = limit.measure(torch.cat([moved, middle, torch.from_numpy(expansion.limit)]))
    shift, linear, bent = {}, {}, {}
    for name in ERRORS:
        found = getattr(every, name)
        if found is None:
            continue
        pairs, rest = found[: len(moved)].numpy(), found[len(moved) :].numpy()
        ahead, behind = pairs.reshape(2, count, len(directions))
        even = (ahead + behind) / 2 - rest[:count, None]
        shift[name] = even.mean(1) + rest[:count] - rest[count:]
        linear[name] = (ahead - behind) / 2 @ directions / len(directions)
        bent[name] = _bent(even, directions)
    return Response(shift, linear, bent, roots)


def _directions(size: int, seed: int) -> np.ndarray:
    """Return rows of random orthonormal bases, times √n, shape `(S, n)`."""
    generator = np.random.default_rng(seed)
    blocks = -(-_PAIRS // size)
    bases = [np.linalg.qr(generator.standard_normal((size, size)))[0] for _ in range(blocks)]
    return np.asarray(np.sqrt(size) * np.concatenate(bases))


def _bent(even: np.ndarray, directions: np.ndarray) -> np.ndarray:
    """Return the variance of ½ zᵀHz over normal z, from its values at directions, shape `(T,)`."""
    samples, size = directions.shape
    leading = directions[:, ::-1][:, : min(_LEADING, size)]  # eigenvalues increase
    i, j = np.triu_indices(leading.shape[1])
    design = np.column_stack([np.ones(samples), leading[:, i] * leading[:, j]])
    if samples < 2 * design.shape[1]:
        design, i, j = np.ones((samples, 1)), i[:0], j[:0]
    fit = np.linalg.lstsq(design, even.T, rcond=None)[0]  # (1 + p, T)
    # ½ zᵀHz has the coefficients ½ H_ii and H_ij, and the variance ½ Σ_ij H_ij².
    known = (np.where(i == j, 2.0, 1.0)[:, None] * fit[1:] ** 2).sum(0)
    rest = even.T - design @ fit
    # On a sphere, along orthogonal directions, one mode has n/(n + 2) of its variance.
    free = max(1, samples - design.shape[1])
    return np.asarray(known + (size + 2) / size * (rest**2).sum(0) / free)
