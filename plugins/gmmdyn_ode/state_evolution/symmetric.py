r"""States whose units fall into groups of exchangeable ones, in few coordinates.

Two units at a small angle with w_k/v_k = w_l/v_l but for that act as one of readout² v_k² + v_l²,
however it is shared among them: a line of fixed points, on which the flow moves at the rate of the
integration error at most. Equal shares are the place on it that the exchange of the two units
singles out, and there the remaining equations have a regular root.

Legend: G groups of m_g units each. Coordinates c (r, G), v, b (G,), the overlaps q_gh of different
groups, q_gg the squared norm of a unit, and s_g with q_gg - s_g² the overlap of two units of a
group: the angle is s_g, in which everything is smooth.
"""

from __future__ import annotations

from typing import final

import numpy as np
import torch
from torch import Tensor

from gmmdyn import OrderParameters
from gmmdyn_ode.coordinates import Coordinates, joined


@final
class Exchangeable(Coordinates):
    """States in which the units of each group are exchangeable.

    Args:
        group: the group of each unit, shape `(K,)`.
        like: a state of the same shapes.
    """

    def __init__(self, group: np.ndarray, like: OrderParameters) -> None:
        self._group = group
        count = int(group.max()) + 1
        member = (group == np.arange(count)[:, None]).astype(float)  # (G, K)
        self._size = member.sum(1)
        self._mean = member / self._size[:, None]
        self._pairs = np.triu_indices(count, 1)
        self._several = self._size > 1
        self._clusters = like.R.shape[0]
        self._bias = like.b is not None

    def _folded(
        self, state: OrderParameters
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Average over members: R (C, G), v (G,), q of groups (G, G), norms and overlaps within."""
        q, mean = state.Q.numpy(), self._mean
        blocks = mean @ q @ mean.T
        own = mean @ q.diagonal()
        total = blocks.diagonal() * self._size**2
        pairs = np.maximum(self._size * (self._size - 1), 1)
        within = np.where(self._several, (total - own * self._size) / pairs, own)
        return state.R.numpy() @ mean.T, mean @ state.v.numpy(), blocks, own, within

    def _unfolded(
        self,
        r: np.ndarray,
        v: np.ndarray,
        blocks: np.ndarray,
        own: np.ndarray,
        within: np.ndarray,
        b: np.ndarray | None,
    ) -> OrderParameters:
        group = self._group
        inner = blocks - np.diag(blocks.diagonal()) + np.diag(within)
        q = inner[group][:, group]
        np.fill_diagonal(q, own[group])
        return OrderParameters(
            Q=torch.from_numpy(q),
            R=torch.from_numpy(r[:, group]),
            v=torch.from_numpy(v[group]),
            b=None if b is None else torch.from_numpy(b[group]),
        )

    def shared(self, state: OrderParameters) -> OrderParameters:
        """Return the state in which each group shares its readout equally.

        Args:
            state: in which units of a group act as one.

        Returns:
            A state with the same output but for the small angles.
        """
        v = state.v.numpy()
        square = self._size * (self._mean @ v**2)  # of the readout of a group
        equal = np.sign(self._mean @ v) * np.sqrt(square / self._size)
        weight = (self._mean * self._size[:, None]) * v / square[:, None]  # (G, K): w/v, averaged
        ratio = torch.from_numpy(equal[self._group] / v)
        scaled = OrderParameters(  # every unit at its new length: for what is within a group
            Q=state.Q * ratio[:, None] * ratio, R=state.R * ratio, v=state.v * ratio, b=state.b
        )
        _, _, _, own, within = self._folded(scaled)
        blocks = weight @ state.Q.numpy() @ weight.T * np.outer(equal, equal)
        r = state.R.numpy() @ weight.T * equal
        b = None if state.b is None else state.b.numpy() @ weight.T * equal
        return self._unfolded(r, equal, blocks, own, within, b)

    def averaged(self, rates: OrderParameters) -> OrderParameters:
        """Average over exchanges, which an integrator's points respect only to its error."""
        b = None if rates.b is None else self._mean @ rates.b.numpy()
        return self._unfolded(*self._folded(rates), b)

    def flat(self, state: OrderParameters) -> np.ndarray:
        """Return (R, v, q of pairs of groups, q of groups, s, b)."""
        r, v, blocks, own, within = self._folded(state)
        gap = np.sqrt(np.maximum(own - within, 1e-14 * own))[self._several]
        b = None if state.b is None else torch.from_numpy(self._mean @ state.b.numpy())
        return joined([r.reshape(-1), v, blocks[self._pairs], own, gap], b)

    def _split(self, x: np.ndarray) -> list[np.ndarray]:
        count = len(self._size)
        sizes = [self._clusters * count, count, len(self._pairs[0]), count, self._several.sum()]
        return np.split(x, np.cumsum(sizes))

    def state(self, x: np.ndarray) -> OrderParameters:
        """Undo `flat`."""
        r, v, pairs, own, gap, b = self._split(x)
        blocks = np.zeros((len(own), len(own)))
        blocks[self._pairs] = pairs
        within = own.copy()
        within[self._several] -= gap**2
        shaped = r.reshape(self._clusters, -1)
        return self._unfolded(shaped, v, blocks + blocks.T, own, within, b if self._bias else None)

    def rates(self, x: np.ndarray, rates: OrderParameters) -> np.ndarray:
        """Return dx/dt."""
        gap = self._split(x)[4]
        r, v, blocks, own, within = self._folded(rates)
        dgap = (own - within)[self._several] / (2 * gap)
        b: Tensor | None = None
        if rates.b is not None:
            b = torch.from_numpy(self._mean @ rates.b.numpy())
        return joined([r.reshape(-1), v, blocks[self._pairs], own, dgap], b)
