"""Whether two fixed points are one but for the names of units and the symmetry of a mixture."""

from __future__ import annotations

from itertools import permutations
from typing import NamedTuple

import numpy as np
from scipy.optimize import linear_sum_assignment

from gmmdyn.interfaces import GaussianMixture
from gmmdyn.trajectory.order_parameters import OrderParameters

# Above this many clusters their permutations are too many to try.
_MOST = 6


class Symmetry(NamedTuple):
    """A relabelling of clusters that leaves a mixture as it is.

    Attributes:
        clusters: where each cluster goes, shape `(C,)`.
        sign: -1 if it exchanges the labels, which a change of sign of the readout undoes; else 1.
    """

    clusters: np.ndarray
    sign: float


def symmetries(mixture: GaussianMixture) -> list[Symmetry]:
    """Find the relabellings of clusters that leave a mixture as it is.

    Args:
        mixture: with the same isotropic noise in all clusters.

    Returns:
        The symmetries, the identity first; that alone for more than six clusters.
    """
    t = mixture.mean_overlaps.double().cpu().numpy()
    labels, priors = mixture.labels.cpu().numpy(), mixture.priors.cpu().numpy()
    count = len(labels)
    if count > _MOST:
        return [Symmetry(np.arange(count), 1.0)]
    found = []
    scale = max(float(np.abs(t).max()), 1e-300)
    for order in permutations(range(count)):
        new = np.array(order)
        if np.abs(t[new][:, new] - t).max() > 1e-9 * scale or np.any(
            np.abs(priors[new] - priors) > 1e-12
        ):
            continue
        found += [Symmetry(new, s) for s in (1.0, -1.0) if np.array_equal(labels[new], s * labels)]
    return found


def distance(one: OrderParameters, two: OrderParameters, allowed: list[Symmetry]) -> float:
    """Return how far two states are from being one.

    Args:
        one: a state without batch shape.
        two: another of the same shapes.
        allowed: the symmetries of the mixture.

    Returns:
        The largest difference in Q, R, v and b, divided by their largest entry where that exceeds
        1, after the symmetry and the order of units that bring the two closest.
    """
    a = _features(one, Symmetry(np.arange(one.R.shape[0]), 1.0))
    q = one.Q.numpy()
    scale = max(1.0, float(np.abs(q).max()), float(np.abs(a).max()))
    best = float("inf")
    for symmetry in allowed:
        b = _features(two, symmetry)
        cost = np.abs(a[:, None] - b).sum(-1)
        _, order = linear_sum_assignment(cost)
        other = two.Q.numpy()[order][:, order]
        apart = max(float(np.abs(a - b[order]).max()), float(np.abs(q - other).max()))
        best = min(best, apart)
    return best / scale


def _features(state: OrderParameters, symmetry: Symmetry) -> np.ndarray:
    """Return R, v, Q_kk and b of each unit, shape `(K, n)`."""
    r = state.R.numpy()[symmetry.clusters].T
    columns = [r, symmetry.sign * state.v.numpy()[:, None], state.Q.diagonal().numpy()[:, None]]
    if state.b is not None:
        columns.append(state.b.numpy()[:, None])
    return np.concatenate(columns, axis=1)
