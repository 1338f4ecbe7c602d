"""Sobol points in sets that are scrambled independently, so that their scatter tells the error."""

from __future__ import annotations

import numpy as np
import torch
from scipy.special import ndtri
from scipy.stats import qmc
from torch import Tensor

# With fewer sets the scatter itself is too uncertain.
SETS = 8
# Points of a set at first.
FIRST = 2**5
# Rare events come from points far along the first coordinate, so it is drawn with this deviation
# in place of 1, and points are weighted in return.
_WIDE = 1.5


class Scramblings:
    """Standard normal points, made when they are asked for.

    Args:
        dim: of the points.
        seed: of the scramblings.
    """

    def __init__(self, dim: int, seed: int) -> None:
        self._dim = dim
        self._seed = seed
        self._engines: list[qmc.Sobol] = []
        self._known: dict[int, tuple[Tensor, Tensor]] = {}

    def block(self, start: int, like: Tensor) -> tuple[Tensor, Tensor]:
        """Return the points with which all sets double their number; at 0, the first ones.

        Args:
            start: how many points each set has: first 0, then `FIRST`, then its doubles in turn.
            like: the device and type.

        Returns:
            Points, shape `(SETS, n, dim)`, and their weights, shape `(SETS, n)`.
        """
        if start not in self._known:
            if not self._engines:
                rng = np.random.default_rng(self._seed)
                self._engines = [qmc.Sobol(self._dim, scramble=True, rng=rng) for _ in range(SETS)]
            uniform = np.stack([engine.random(start or FIRST) for engine in self._engines])
            # Scrambled points can be exactly 0, whose quantile is infinite.
            normal = ndtri(np.clip(uniform, 2.0**-40, 1 - 2.0**-40))
            weights = _WIDE * np.exp(-(_WIDE**2 - 1) * normal[..., 0] ** 2 / 2)
            normal[..., 0] *= _WIDE
            self._known[start] = torch.from_numpy(normal), torch.from_numpy(weights)
        points, weights = self._known[start]
        return points.to(like), weights.to(like)
