"""Which units act as one."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from scipy.sparse.csgraph import connected_components

from gmmdyn import OrderParameters

# Units nearer than this, relative to their length, may act as one. How far SGD noise keeps merged
# units apart depends on the problem (0.001 to 0.04 was met), so all of these are tried.
_PARTED = (0.02, 0.05, 0.1, 0.2)


def partitions(
    state: OrderParameters, shared: bool, odd: bool, apart: np.ndarray | None = None
) -> Iterator[np.ndarray]:
    """Find units that act as one, more and more generously, each partition once.

    Args:
        state: without batch shape.
        shared: whether units of one direction w_k/v_k share a readout in any proportion; otherwise
            they have to be of one size, too.
        odd: whether a unit of the opposite weights and readout is the same one.
        apart: which units are alone however near they are to others, shape `(K,)`; None is none.

    Yields:
        The group of each unit, numbers from 0 in order of appearance, shape `(K,)`.
    """
    distance = _distances(state, shared, odd)
    if apart is not None:
        distance[apart] = np.inf
        distance[:, apart] = np.inf
    seen: set[tuple[int, ...]] = set()
    for threshold in _PARTED:
        _, labels = connected_components(distance < threshold, directed=False)
        _, first, inverse = np.unique(labels, return_index=True, return_inverse=True)
        group = np.argsort(np.argsort(first))[inverse]
        key = tuple(group.tolist())
        if key not in seen:
            seen.add(key)
            yield group


def _distances(state: OrderParameters, shared: bool, odd: bool) -> np.ndarray:
    """Return distances of w/v, or of (w, v), relative to their lengths, shape `(K, K)`."""
    v, overlap = state.v.numpy(), state.Q.numpy()
    if state.b is not None:
        overlap = overlap + np.outer(state.b.numpy(), state.b.numpy())
    sign = np.where(v < 0, -1.0, 1.0)
    with np.errstate(divide="ignore", invalid="ignore"):
        if shared:
            overlap = overlap / np.outer(v, v)
        else:
            overlap = (overlap + np.outer(v, v)) * np.outer(sign, sign)
        square = overlap.diagonal()
        apart = np.maximum(square[:, None] + square - 2 * overlap, 0)
        distance = np.sqrt(apart / np.sqrt(np.outer(square, square)))
    distance = np.where(np.isfinite(distance), distance, np.inf)
    if not odd:
        distance[np.not_equal.outer(sign, sign)] = np.inf
    np.fill_diagonal(distance, 0)
    return distance
