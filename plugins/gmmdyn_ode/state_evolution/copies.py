"""States in which smooth units that have merged are equal, or opposite if they are odd.

Equal units stay so, and opposite ones whose activation is odd: what is left is a smaller problem.
An average over points is a smooth function of it, as it is not of how far the units are apart.
"""

from __future__ import annotations

from typing import final

import numpy as np
import torch

from gmmdyn import OrderParameters
from gmmdyn_ode.coordinates import Coordinates, Weights


@final
class Copies(Coordinates):
    """One unit of each group in `Weights`, the others its copies.

    Args:
        group: the group of each unit, shape `(K,)`.
        mean_overlaps: T, shape `(C, C)`.
        like: a state of the same shapes; units of a group whose readouts have opposite signs are
            opposite.
    """

    def __init__(
        self, group: np.ndarray, mean_overlaps: torch.Tensor, like: OrderParameters
    ) -> None:
        sign = torch.where(like.v < 0, -1.0, 1.0).double()
        member = torch.from_numpy((group == np.arange(group.max() + 1)[:, None]).astype(float))
        self._out = (member * sign).T  # (K, G)
        self._mean = (member * sign) / member.sum(1, keepdim=True)
        self._weights = Weights(mean_overlaps, self._folded(like))

    def _folded(self, state: OrderParameters) -> OrderParameters:
        return _turned(state, self._mean)

    def flat(self, state: OrderParameters) -> np.ndarray:
        """Return the weights of the mean unit of each group."""
        return self._weights.flat(self._folded(state))

    def state(self, x: np.ndarray) -> OrderParameters:
        """Return the state of all units."""
        return _turned(self._weights.state(x), self._out)

    def rates(self, x: np.ndarray, rates: OrderParameters) -> np.ndarray:
        """Return dx/dt."""
        return self._weights.rates(x, self._folded(rates))

    def averaged(self, rates: OrderParameters) -> OrderParameters:
        """Average over the members of each group, which are alike but for rounding."""
        return _turned(self._folded(rates), self._out)


def _turned(state: OrderParameters, matrix: torch.Tensor) -> OrderParameters:
    """Return the state of the units Σ_k M_gk w_k, M of shape `(G, K)`."""
    return OrderParameters(
        Q=matrix @ state.Q @ matrix.T,
        R=state.R @ matrix.T,
        v=matrix @ state.v,
        b=None if state.b is None else matrix @ state.b,
    )
