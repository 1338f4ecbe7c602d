r"""Overlaps, split into what the means see and what they do not: coordinates for smooth units.

Legend: T = A Aᵀ with A (C, r), r the rank of the means; c (r, K) the weights in the space of the
means, R = A c; P (K, K) the overlaps of the weights across it, Q = cᵀc + P. The vector is (c, P on
and above the diagonal, v, b).

An expectation over smooth units is smooth in P, singular or not. So where units merge or vanish
nothing happens to these coordinates, and the rates of P stay linear in P to first order. In
`Weights`, L Lᵀ = P, the rates of L have P's inverse in them: where P becomes singular, as it does
exponentially for units so small that they are linear, and all alike, rounding in the rates of P is
all that is left of those of L, and an integrator cuts its steps for ever. Units with kinks need
`Weights` nevertheless: their expectations have a term in the angle, a root of P.
"""

from __future__ import annotations

from typing import final

import numpy as np
import torch
from torch import Tensor

from gmmdyn import OrderParameters
from gmmdyn_ode.coordinates import Coordinates
from gmmdyn_ode.problem import Problem
from gmmdyn_ode.state import State, unit_sizes


@final
class SplitOverlaps(Coordinates):
    """The weights in the space of the means, the overlaps across it, v and b.

    Args:
        mean_overlaps: T, shape `(C, C)`, positive semi-definite.
        like: a state of the same shapes.
    """

    def __init__(self, mean_overlaps: Tensor, like: OrderParameters) -> None:
        values, vectors = torch.linalg.eigh(mean_overlaps.double().cpu())
        kept = values > 1e-12 * float(values.max().clamp_min(1e-300))
        root = values[kept].sqrt()
        self._out, self._back = vectors[:, kept] * root, (vectors[:, kept] / root).T
        hidden = like.v.shape[-1]
        self._upper = tuple(torch.triu_indices(hidden, hidden))
        self._sizes = [len(self._back) * hidden, len(self._upper[0]), hidden]
        if like.b is not None:
            self._sizes.append(hidden)

    def encoded(self, state: OrderParameters) -> Tensor:
        """Return (c, P, v, b), shape `(..., n)`."""
        c = self._back @ state.R
        across = (state.Q - c.mT @ c)[..., self._upper[0], self._upper[1]]
        parts = [c.flatten(-2), across, state.v]
        return torch.cat(parts if state.b is None else [*parts, state.b], dim=-1)

    def decoded(self, x: Tensor) -> OrderParameters:
        """Undo `encoded`."""
        c, across, v, b = self.parts(x)
        return OrderParameters(Q=c.mT @ c + across, R=self._out @ c, v=v, b=b)

    def moved(self, x: Tensor, rates: OrderParameters) -> Tensor:
        """Return dx/dt, shape `(..., n)`, given the time derivatives of the state of x."""
        c, dc = self.parts(x)[0], self._back @ rates.R
        cross = dc.mT @ c
        across = (rates.Q - cross - cross.mT)[..., self._upper[0], self._upper[1]]
        parts = [dc.flatten(-2), across, rates.v]
        return torch.cat(parts if rates.b is None else [*parts, rates.b], dim=-1)

    def scale(self, state: OrderParameters) -> Tensor:
        """Return how large each coordinate is for a unit as large as the largest, shape `(n,)`."""
        largest = unit_sizes(state).max()
        powers = [largest, largest**2, largest, largest][: len(self._sizes)]
        return torch.cat([p.repeat(n) for p, n in zip(powers, self._sizes, strict=True)])

    def parts(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
        """Return c, P, v and b, of shapes `(..., r, K)`, `(..., K, K)` and `(..., K)`."""
        c, upper, v, *b = torch.split(x, self._sizes, dim=-1)
        hidden = v.shape[-1]
        across = torch.zeros(*x.shape[:-1], hidden, hidden, dtype=x.dtype)
        across[..., self._upper[0], self._upper[1]] = upper
        across[..., self._upper[1], self._upper[0]] = upper
        return c.reshape(*x.shape[:-1], len(self._back), hidden), across, v, b[0] if b else None

    def flat(self, state: OrderParameters) -> np.ndarray:
        """Return (c, P, v, b)."""
        return self.encoded(state).numpy()

    def state(self, x: np.ndarray) -> OrderParameters:
        """Undo `flat`."""
        return self.decoded(torch.from_numpy(x))

    def rates(self, x: np.ndarray, rates: OrderParameters) -> np.ndarray:
        """Return dx/dt."""
        return self.moved(torch.from_numpy(x), rates).numpy()


@final
class SplitChart:
    """`SplitOverlaps` for flat states; see `gmmdyn_ode.chart.Chart`.

    Args:
        problem: with a single mode of the noise, without batch shape.
        flat: the state that it is made for.
        rates: the time derivatives there; not needed.
    """

    def __init__(self, problem: Problem, flat: Tensor, rates: Tensor) -> None:
        self._start = problem.initial
        self._split = SplitOverlaps(problem.overlaps.squeeze(-3), self._unpacked(flat))

    def enter(self, flat: Tensor) -> Tensor:
        """Return the coordinates of one state."""
        return self._split.encoded(self._unpacked(flat))

    def leave(self, x: Tensor) -> Tensor:
        """Return the states of coordinates."""
        order = self._split.decoded(x)
        return State(order.Q.unsqueeze(-3), order.R.unsqueeze(-3), order.v, order.b).pack()

    def rates(self, x: Tensor, flat: Tensor) -> Tensor:
        """Return dx/dt, given the time derivatives of the states of x."""
        return self._split.moved(x, self._unpacked(flat))

    def scale(self, x: Tensor) -> Tensor:
        """Return how large a change of each coordinate is that matters."""
        return self._split.scale(self._split.decoded(x))

    def worn(self, x: Tensor) -> bool:
        """Never."""
        return False

    def _unpacked(self, flat: Tensor) -> OrderParameters:
        state = self._start.unpack(flat)
        return OrderParameters(Q=state.q.squeeze(-3), R=state.r.squeeze(-3), v=state.v, b=state.b)
