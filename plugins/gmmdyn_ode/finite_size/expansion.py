r"""The expansion in 1/D along the path of the limit.

With x = x0 + xi/√D + m/D, F the drift of the limit, J = dF/dx, B the covariance of an update and F1
the rest of the drift,

    dx0/dt = F,    dC/dt = J C + C Jᵀ + B,
    dm/dt = J m + ½ Σ_ij C_ij d²F/dx_i dx_j + F1 - ½ (J F + dF/dt),

all 0 at the start but x0. The last term is there because SGD is Euler's scheme with the step 1/D.
Nothing depends on D.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from gmmdyn_ode.finite_size.coordinates import Coordinates
from gmmdyn_ode.finite_size.drift import Drift
from gmmdyn_ode.finite_size.linear import covariance_steps, halves, mean_steps
from gmmdyn_ode.finite_size.noise import Noise

# States of the limit that are known, among which steps are chosen.
_KNOWN = 2000
# A step is halved as long as its coefficients bend by more than this over it, relative to the
# rates of the step, or to the largest noise.
_BENT = 0.1

TERMS = ("bend", "exact", "euler")


class Expansion(NamedTuple):
    """The expansion at recorded times.

    Attributes:
        times: t, shape `(T,)`.
        limit: x0, shape `(T, n)`.
        covariance: C of the deviations times √D, shape `(T, n, n)`.
        shift: m, shape `(T, n)`.
        carried: what a deviation at the time before becomes, shape `(T, n, n)`; the identity first.
        gathered: noise gathered since the time before, shape `(T, n, n)`; 0 first.
        forces: F1 - ½ (J F + dF/dt) along the path, at `nodes`, shape `(N, n)`.
        nodes: times of the steps, shape `(N,)`.
    """

    times: np.ndarray
    limit: np.ndarray
    covariance: np.ndarray
    shift: np.ndarray
    carried: np.ndarray
    gathered: np.ndarray
    forces: np.ndarray
    nodes: np.ndarray

    def between(self) -> np.ndarray:
        """Return C(t, s), of deviations at two times, shape `(T, T, n, n)`."""
        count, size = self.shift.shape
        found = np.zeros((count, count, size, size))
        for j in range(count):
            found[j, j] = self.covariance[j]
            for i in range(j + 1, count):
                found[i, j] = self.carried[i] @ found[i - 1, j]
                found[j, i] = found[i, j].T
        return found


def candidates(times: np.ndarray, kinks: np.ndarray) -> np.ndarray:
    """Return times at which steps of the expansion may end: recorded ones, and halves of halves.

    Args:
        times: recorded, shape `(T,)`.
        kinks: where the learning rate is not smooth in t; steps end there.

    Returns:
        Increasing, shape `(M,)`: between two ends, a power of 2 of equal steps.
    """
    ends = np.unique(np.concatenate([times, kinks[(kinks > times[0]) & (kinks < times[-1])]]))
    parts = parts_of(len(ends))
    grids = [np.linspace(a, b, parts, endpoint=False) for a, b in zip(ends, ends[1:], strict=False)]
    return np.concatenate([*grids, ends[-1:]])


def parts_of(ends: int) -> int:
    """Return into how many steps each interval between ends may be divided, a power of 2."""
    return 1 << max(2, int(np.log2(_KNOWN / max(1, ends - 1))))


def expand(
    times: np.ndarray,
    known: np.ndarray,
    path: Tensor,
    parts: int,
    drift: Drift,
    noise: Noise,
    coordinates: Coordinates,
    terms: tuple[str, ...] = TERMS,
) -> Expansion:
    """Solve the equations of the expansion along a path.

    Args:
        times: recorded, shape `(T,)`; all among `known`.
        known: times at which the path is known, of `candidates`, shape `(M,)`.
        path: x0 there, shape `(M, n)`.
        parts: of `parts_of`.
        drift: F, F1 and derivatives.
        noise: B.
        coordinates: of the state.
        terms: which of the terms of dm/dt beside J m are kept.

    Returns:
        The expansion at the recorded times.
    """
    size = path.shape[1]
    if len(known) == 1:
        still = np.zeros((1, size, size))
        return Expansion(
            times,
            path.numpy(),
            still,
            np.zeros((1, size)),
            np.eye(size)[None],
            still,
            np.zeros((1, size)),
            times,
        )
    coefficients = _Coefficients(known, path, drift, noise)
    steps = _chosen(coefficients, len(known), parts, coordinates)
    start, middle, end = steps
    index = np.unique(steps)
    lengths = known[end] - known[start]
    slopes, stir = (coefficients.at(name, steps) for name in ("slopes", "noise"))
    inner = [
        covariance_steps(j, b, lengths / 2)
        for j, b in zip(halves(slopes), halves(stir), strict=True)
    ]
    place = {int(i): n for n, i in enumerate(index)}
    covariance = np.zeros((len(index), size, size))
    for n, (a, b, c) in enumerate(steps.T):
        for half, (before, after) in zip(inner, ((a, b), (b, c)), strict=True):
            f = half.carried[n]
            covariance[place[after]] = f @ covariance[place[before]] @ f.T + half.gathered[n]

    when, where = torch.from_numpy(known[index]), path[torch.from_numpy(index)]
    flow = torch.from_numpy(coefficients.at("flow", index))
    slope = coefficients.at("slopes", index)
    forces = np.zeros((len(index), size))
    if "exact" in terms:
        forces += drift.exact(when, where).numpy()
    if "euler" in terms:
        passing = drift.passing(when, where).numpy()
        forces -= 0.5 * ((slope @ flow.numpy()[..., None])[..., 0] + passing)
    pull = forces.copy()
    if "bend" in terms:
        pull += drift.bend(when, where, flow, torch.from_numpy(covariance)).numpy()
    rows = np.array([[place[int(i)] for i in row] for row in steps])
    added = [
        mean_steps(j, c, lengths / 2)
        for j, c in zip(halves(slopes), halves(pull[rows]), strict=True)
    ]
    shift = np.zeros((len(index), size))
    carried, gathered = [np.eye(size)], [np.zeros((size, size))]
    recorded = set(np.searchsorted(known, times).tolist())
    total, since = np.eye(size), np.zeros((size, size))
    for n, (a, b, c) in enumerate(steps.T):
        for half, more, (before, after) in zip(inner, added, ((a, b), (b, c)), strict=True):
            f = half.carried[n]
            shift[place[after]] = f @ shift[place[before]] + more[n]
            total, since = f @ total, f @ since @ f.T + half.gathered[n]
            if int(after) in recorded:
                carried.append(total)
                gathered.append(since)
                total, since = np.eye(size), np.zeros((size, size))
    kept = [place[i] for i in sorted(recorded)]
    return Expansion(
        times,
        where.numpy()[kept],
        covariance[kept],
        shift[kept],
        np.array(carried),
        np.array(gathered),
        forces,
        known[index],
    )


class _Coefficients:
    """F, J and B at some of the known times, each computed once."""

    def __init__(self, known: np.ndarray, path: Tensor, drift: Drift, noise: Noise) -> None:
        self._known, self._path = known, path
        self._drift, self._noise = drift, noise
        count, size = path.shape
        self._there = np.full(count, False)
        self._values = {
            "flow": np.full((count, size), np.nan),
            "slopes": np.full((count, size, size), np.nan),
            "noise": np.full((count, size, size), np.nan),
        }

    def at(self, name: str, index: np.ndarray) -> np.ndarray:
        """Return coefficients, an axis or more of indices first."""
        missing = np.unique(index)
        missing = missing[~self._there[missing]]
        if len(missing):
            when = torch.from_numpy(self._known[missing])
            where = self._path[torch.from_numpy(missing)]
            flow, slopes = self._drift.slopes(when, where)
            self._values["flow"][missing] = flow.numpy()
            self._values["slopes"][missing] = slopes.numpy()
            self._values["noise"][missing] = self._noise.covariances(when, where).numpy()
            self._there[missing] = True
        return self._values[name][index]


def _chosen(
    coefficients: _Coefficients, count: int, parts: int, coordinates: Coordinates
) -> np.ndarray:
    """Return the indices of start, middle and end of each step, shape `(3, N)`."""
    start = np.arange(0, count - 1, parts)
    open_, done = np.stack([start, start + parts // 2, start + parts]), []
    known = coefficients._known  # noqa: SLF001
    while open_.size:
        lengths = known[open_[2]] - known[open_[0]]
        middle = coefficients._path[torch.from_numpy(open_[1])]  # noqa: SLF001
        scale = coordinates.scales(middle).numpy()
        slopes = coefficients.at("slopes", open_) * (scale[:, None, :] / scale[:, :, None])
        noise = coefficients.at("noise", open_) / (scale[:, None, :] * scale[:, :, None])
        turned = lengths * _size(slopes[1] - (slopes[0] + slopes[2]) / 2)
        largest = np.maximum(_size(noise).max(0), 1e-300)
        stirred = _size(noise[1] - (noise[0] + noise[2]) / 2) / largest
        changed = lengths * _size(slopes[2] - slopes[0]) * np.minimum(
            lengths * _size(slopes[1]), 6.0
        ) / 6
        rough = (turned > _BENT) | (stirred > _BENT) | (changed > _BENT)
        rough &= open_[2] - open_[0] > 2
        done.append(open_[:, ~rough])
        a, b, c = open_[:, rough]
        open_ = np.concatenate(
            [np.stack([a, (a + b) // 2, b]), np.stack([b, (b + c) // 2, c])], axis=1
        )
    steps = np.concatenate(done, axis=1)
    return steps[:, np.argsort(steps[0])]


def _size(matrices: np.ndarray) -> np.ndarray:
    return np.asarray(np.linalg.norm(matrices, axis=(-2, -1)))


Path = Callable[[np.ndarray], Tensor]
