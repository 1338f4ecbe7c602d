"""Grids of recording times."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from gmmdyn import checks
from gmmdyn.errors import RangeError


def recording_times(duration: float, dim: int, count: int = 50) -> np.ndarray:
    """Return 0 and log-spaced times up to the duration, each a whole number of updates.

    Args:
        duration: the last time, t = updates/D, positive and at least one update.
        dim: the input dimension D.
        count: how many times to aim for after 0, at least 1; close ones coincide.

    Returns:
        Times, shape `(T,)` with T at most `count` + 1, strictly increasing from 0; the first one
        after 0 is a thousandth of the duration.

    Raises:
        RangeError: if an argument is out of range.
    """
    duration = checks.number("duration", duration, above=0)
    last = round(duration * dim)
    if last < 1:
        raise RangeError(f"`duration` is {duration}, less than one update at D = {dim}.")
    first = max(1.0, last / 1000)
    steps = np.geomspace(first, last, checks.whole("count", count))
    steps[-1] = last
    return np.unique(np.concatenate([[0], np.round(steps)])) / dim


def settle_times(
    duration: float | None, times: Sequence[float] | np.ndarray | None, dim: int
) -> np.ndarray:
    """Return the recording times that a caller asked for in one of two ways.

    Args:
        duration: the last time, with log-spaced recording before it.
        times: the times themselves, not negative, strictly increasing; rounded to whole updates.
        dim: the input dimension D.

    Returns:
        The times, shape `(T,)`.

    Raises:
        RangeError: if both or neither are given, or the times are out of order.
    """
    if (duration is None) == (times is None):
        raise RangeError("give either `duration` or `times`, and not both.")
    if duration is not None:
        return recording_times(duration, dim)
    grid = checks.array("times", times, (None,)).numpy()
    if grid.size == 0 or grid[0] < 0 or np.any(np.diff(grid) <= 0):
        raise RangeError("`times` must not be negative and must increase strictly.")
    steps = np.round(grid * dim)
    if np.any(np.diff(steps) <= 0):
        raise RangeError(f"two of `times` fall on the same update at D = {dim}.")
    return np.asarray(steps / dim)
