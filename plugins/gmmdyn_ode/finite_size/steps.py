"""Steps along the path of the limit, as long as the coefficients of the expansion allow."""

from __future__ import annotations

from itertools import pairwise
from typing import NamedTuple, final

import numpy as np
import torch
from torch import Tensor

from gmmdyn_ode.finite_size.coordinates import Coordinates
from gmmdyn_ode.finite_size.drift import Drift
from gmmdyn_ode.finite_size.noise import Noise

# States of the limit that are known, among which steps are chosen.
_KNOWN = 2000
# A step is halved as long as its coefficients bend by more than this over it, relative to the
# rates of the step, or to the largest noise.
_BENT = 0.1


class Grid(NamedTuple):
    """Times at which the path is known.

    Attributes:
        times: increasing, shape `(M,)`.
        parts: how many of its intervals lie between two ends, where steps have to end; a power of
            2.
    """

    times: np.ndarray
    parts: int

    @classmethod
    def of(cls, recorded: np.ndarray, kinks: np.ndarray) -> Grid:
        """Return times at which steps may end.

        Args:
            recorded: times at which they have to end, shape `(T,)`.
            kinks: times at which the learning rate is not smooth, where they have to end too.

        Returns:
            The grid.
        """
        inside = kinks[(kinks > recorded[0]) & (kinks < recorded[-1])]
        ends = np.unique(np.concatenate([recorded, inside]))
        parts = 1 << max(2, int(np.log2(_KNOWN / max(1, len(ends) - 1))))
        pieces = [np.linspace(a, b, parts, endpoint=False) for a, b in pairwise(ends)]
        return cls(np.concatenate([*pieces, ends[-1:]]), parts)


@final
class Path:
    """The limit at the times of a grid, with F, J and B where they are asked for, each once.

    Args:
        grid: times.
        states: coordinates there, shape `(M, n)`.
        drift: F and J.
        noise: B.

    Attributes:
        grid: as given.
        states: as given.
    """

    def __init__(self, grid: Grid, states: Tensor, drift: Drift, noise: Noise) -> None:
        self.grid, self.states = grid, states
        self._drift, self._noise = drift, noise
        count, size = states.shape
        self._known = np.full(count, False)
        self._flow = np.full((count, size), np.nan)
        self._slopes, self._stir = (np.full((count, size, size), np.nan) for _ in range(2))

    def at(self, index: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return F, J and B.

        Args:
            index: of times, shape `(...)`.

        Returns:
            Shapes `(..., n)`, `(..., n, n)` and `(..., n, n)`.
        """
        missing = np.unique(index)
        missing = missing[~self._known[missing]]
        if len(missing):
            when, where = self.points(missing)
            flow, slopes = self._drift.slopes(when, where)
            self._flow[missing], self._slopes[missing] = flow.numpy(), slopes.numpy()
            self._stir[missing] = self._noise.covariances(when, where).numpy()
            self._known[missing] = True
        return self._flow[index], self._slopes[index], self._stir[index]

    def points(self, index: np.ndarray) -> tuple[Tensor, Tensor]:
        """Return times `(N,)` and coordinates `(N, n)` at indices `(N,)`."""
        return torch.from_numpy(self.grid.times[index]), self.states[torch.from_numpy(index)]


def steps_along(path: Path, coordinates: Coordinates) -> np.ndarray:
    """Halve steps until J and B are nearly parabolas over each.

    Args:
        path: the limit.
        coordinates: of the state.

    Returns:
        Indices of the start, the middle and the end of each step, in order, shape `(3, N)`.
    """
    times, parts = path.grid
    start = np.arange(0, len(times) - 1, parts)
    left, done = np.stack([start, start + parts // 2, start + parts]), []
    while left.size:
        lengths = times[left[2]] - times[left[0]]
        _, middle = path.points(left[1])
        scale = coordinates.scales(middle).numpy()
        _, slopes, stir = path.at(left)
        slopes = slopes * (scale[:, None, :] / scale[:, :, None])
        stir = stir / (scale[:, None, :] * scale[:, :, None])
        bent = lengths * _size(slopes[1] - (slopes[0] + slopes[2]) / 2)
        uneven = _size(stir[1] - (stir[0] + stir[2]) / 2) / np.maximum(_size(stir).max(0), 1e-300)
        # The commutator of Magnus's series, which fast decay makes large without harm.
        turned = lengths * _size(slopes[2] - slopes[0])
        turned *= np.minimum(lengths * _size(slopes[1]) / 6, 1.0)
        rough = np.maximum(np.maximum(bent, uneven), turned) > _BENT
        rough &= left[2] - left[0] > 2
        done.append(left[:, ~rough])
        a, b, c = left[:, rough]
        halves = np.stack([a, (a + b) // 2, b]), np.stack([b, (b + c) // 2, c])
        left = np.concatenate(halves, axis=1)
    steps = np.concatenate(done, axis=1)
    return np.asarray(steps[:, np.argsort(steps[0])])


def _size(matrices: np.ndarray) -> np.ndarray:
    return np.asarray(np.linalg.norm(matrices, axis=(-2, -1)))
