"""What time is, and grids of recording times."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from gmmdyn import checks
from gmmdyn.errors import RangeError

# Time, everywhere: in arguments, trajectories, files and figures. Each update may have several
# samples (`OnlineSGD.batch_size`), which do not count.
TIME = "updates / D"


# A short run has so many times after 0, over so many decades.
_COUNT, _DECADES = 50, 3
# A run of any length has times from here on, since learning at a rate of order one starts here.
_EARLY = 0.1


def recording_times(duration: float, dim: int, count: int | None = None) -> np.ndarray:
    """Return 0 and log-spaced times up to the duration, each a whole number of updates.

    The first one after 0 is a thousandth of the duration, but never later than t = 0.1 and never
    less than one update. So a run of any length shows learning, whenever it happens.

    Args:
        duration: the last time, t = updates/D, positive and at least one update.
        dim: the input dimension D.
        count: how many times to aim for after 0, at least 1; close ones coincide. By default 50,
            and beyond a duration of 100, where there are more than three decades, as many a decade
            as there: 159 at a duration of 5e8.

    Returns:
        Times, shape `(T,)` with T at most `count` + 1, strictly increasing from 0.

    Raises:
        RangeError: if an argument is out of range.
    """
    duration = checks.number("duration", duration, above=0)
    last = round(duration * dim)
    if last < 1:
        raise RangeError(f"`duration` is {duration}, less than one update at D = {dim}.")
    first = max(1.0, min(last / 10**_DECADES, _EARLY * dim))
    if count is None:
        decades = max(_DECADES, np.log10(last / first))
        count = 1 + round((_COUNT - 1) * decades / _DECADES)
    steps = np.geomspace(first, last, checks.whole("count", count))
    steps[-1] = last
    return np.unique(np.concatenate([[0], np.round(steps)])) / dim


def settle_times(
    duration: float | None, times: Sequence[float] | np.ndarray | None, dim: int
) -> np.ndarray:
    """Return the recording times that a caller asked for in one of two ways.

    Args:
        duration: the last time, with those of `recording_times` before it.
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


def span(times: np.ndarray) -> str:
    """Say which times there are, for a message."""
    if times.size == 0:
        return "no time"
    return f"{times[0]:g}" if times[0] == times[-1] else f"{times[0]:g} to {times[-1]:g}"


def interpolated(known: np.ndarray, values: np.ndarray, times: np.ndarray) -> np.ndarray:
    """Interpolate linearly in log t, or in t in the interval that starts at 0.

    Args:
        known: increasing, not negative, shape `(N,)`.
        values: at these times, shape `(N, ...)`.
        times: within the range of `known`, shape `(T,)`.

    Returns:
        Shape `(T, ...)`; exact where a time is one of `known`.
    """
    if known.size == 1:
        return np.repeat(values, times.size, axis=0)
    right = np.clip(np.searchsorted(known, times), 1, known.size - 1)
    low, high = known[right - 1], known[right]
    with np.errstate(divide="ignore", invalid="ignore"):
        linear, logarithmic = (times - low) / (high - low), np.log(times / low) / np.log(high / low)
    weight = np.nan_to_num(np.where(low > 0, logarithmic, linear))  # NaN where a time repeats
    weight = np.clip(weight, 0, 1).reshape(-1, *(1,) * (values.ndim - 1))
    before, after = values[right - 1], values[right]
    with np.errstate(invalid="ignore"):  # a curve that diverged
        between = (1 - weight) * before + weight * after
    return np.where(weight == 0, before, np.where(weight == 1, after, between))


def logarithmic_choice(times: np.ndarray, count: int) -> np.ndarray:
    """Choose among times, evenly on a logarithmic axis.

    Args:
        times: finite and not decreasing, shape `(T,)`.
        count: how many to choose at most, at least 2.

    Returns:
        Indices, increasing, of the first and the last time and of some between.
    """
    positive = np.flatnonzero(times > 0)
    if times.size <= count or positive.size == 0:
        return np.arange(min(times.size, count))
    first = [0] if times[0] <= 0 else []
    logs = np.log(times[positive])
    targets = np.linspace(logs[-1], logs[0], count - len(first))  # one target is the last time
    nearest = positive[np.abs(logs[:, None] - targets).argmin(axis=0)]
    return np.unique([*first, *nearest])
