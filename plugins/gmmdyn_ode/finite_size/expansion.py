r"""The expansion in 1/D along the path of the limit.

With x = x0 + xi/√D + m/D, F the drift of the limit, J = dF/dx, B the covariance of an update and F1
the rest of the drift,

    dx0/dt = F,    dC/dt = J C + C Jᵀ + B,
    dm/dt = J m + ½ Σ_ij C_ij d²F/dx_i dx_j + F1 - ½ (J F + dF/dt),

all 0 at the start but x0. The last term is there because SGD is Euler's scheme with the step 1/D.
Nothing depends on D.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import NamedTuple

import numpy as np
import torch

from gmmdyn_ode.finite_size.coordinates import Coordinates
from gmmdyn_ode.finite_size.drift import Drift
from gmmdyn_ode.finite_size.linear import Step, covariance_steps, halves, mean_steps
from gmmdyn_ode.finite_size.steps import Path, steps_along

# The terms of dm/dt beside J m, by name, in the order above.
TERMS = ("curvature", "exact", "euler")
# How far within a step the rate of change in t is taken, as a share of the step.
_ASIDE = 1e-3


class Expansion(NamedTuple):
    """The expansion at recorded times.

    Attributes:
        times: t, shape `(T,)`.
        limit: x0, shape `(T, n)`.
        covariance: C of the deviations times √D, shape `(T, n, n)`.
        shift: m, shape `(T, n)`.
        carried: what a deviation at the time before becomes, shape `(T, n, n)`; the identity first.
        gathered: noise gathered since the time before, shape `(T, n, n)`; 0 first.
        nodes: times between recorded ones and at them, shape `(N,)`.
        forces: F1 - ½ J F at the nodes, shape `(N, n)`.
    """

    times: np.ndarray
    limit: np.ndarray
    covariance: np.ndarray
    shift: np.ndarray
    carried: np.ndarray
    gathered: np.ndarray
    nodes: np.ndarray
    forces: np.ndarray

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

    def until(self, last: int) -> Expansion:
        """Return the part up to the recorded time of an index."""
        names = ("times", "limit", "covariance", "shift", "carried", "gathered")
        return self._replace(**{name: getattr(self, name)[: last + 1] for name in names})


def expand(
    times: np.ndarray,
    path: Path,
    drift: Drift,
    coordinates: Coordinates,
    terms: Collection[str] = TERMS,
) -> Expansion:
    """Solve the equations of the expansion along a path.

    Args:
        times: recorded, shape `(T,)`; all among those of the path.
        path: the limit.
        drift: F1 and the curvature of F.
        coordinates: of the state.
        terms: which of `TERMS` are kept; all but to see what each does.

    Returns:
        The expansion at the recorded times.
    """
    steps = steps_along(path, coordinates)
    index, place = np.unique(steps, return_inverse=True)
    index = index if index.size else np.array([0])
    ends = place.reshape(steps.shape)  # where start, middle and end of each step stand
    lengths = path.grid.times[steps[2]] - path.grid.times[steps[0]]
    _, slopes, stir = path.at(steps)
    first, second = (
        covariance_steps(j, b, lengths / 2)
        for j, b in zip(halves(slopes), halves(stir), strict=True)
    )
    covariance = np.zeros((len(index), *slopes.shape[2:]))
    maps: list[tuple[int, int, np.ndarray, np.ndarray]] = []  # of each half of a step, in order
    for n, (start, middle, end) in enumerate(ends.T):
        for before, after, half in ((start, middle, first), (middle, end, second)):
            f, gathered = half.carried[n], half.gathered[n]
            covariance[after] = f @ covariance[before] @ f.T + gathered
            maps.append((before, after, f, gathered))

    forces, curved = _forces(path, index, covariance, drift, terms)
    pull = (forces + curved)[ends]
    if "euler" in terms:
        pull -= _passing(path, steps, drift) / 2
    parts = halves(slopes), halves(pull)
    added = [mean_steps(j, c, lengths / 2) for j, c in zip(*parts, strict=True)]
    shift = np.zeros((len(index), slopes.shape[-1]))
    for n, (before, after, f, _) in enumerate(maps):
        shift[after] = f @ shift[before] + added[n % 2][n // 2]

    kept = np.searchsorted(index, np.searchsorted(path.grid.times, times))
    between = _between(maps, set(kept.tolist()), slopes.shape[-1])
    nodes, where = path.points(index)
    return Expansion(
        times,
        where.numpy()[kept],
        covariance[kept],
        shift[kept],
        between.carried,
        between.gathered,
        nodes.numpy(),
        forces,
    )


def _forces(
    path: Path,
    index: np.ndarray,
    covariance: np.ndarray,
    drift: Drift,
    terms: Collection[str],
) -> tuple[np.ndarray, np.ndarray]:
    """Return F1 - ½ J F, and what the curvature of F adds, at nodes, `(N, n)` each."""
    when, where = path.points(index)
    flow, slopes, _ = path.at(index)
    forces, curved = np.zeros_like(flow), np.zeros_like(flow)
    if "exact" in terms:
        forces += drift.exact(when, where).numpy()
    if "euler" in terms:
        forces -= (slopes @ flow[..., None])[..., 0] / 2
    if "curvature" in terms:
        flows, spread = torch.from_numpy(flow), torch.from_numpy(covariance)
        curved = drift.curvature(when, where, flows, spread).numpy()
    return forces, curved


def _passing(path: Path, steps: np.ndarray, drift: Drift) -> np.ndarray:
    """Return dF/dt at start, middle and end of each step, as within it, shape `(3, N, n)`."""
    lengths = path.grid.times[steps[2]] - path.grid.times[steps[0]]
    found = []
    for index, side in zip(steps, (1, 0, -1), strict=True):
        when, where = path.points(index)
        step = torch.from_numpy(_ASIDE * lengths)
        found.append(drift.passing(when + side * step, where, step / 2).numpy())
    return np.stack(found)


def _between(
    maps: list[tuple[int, int, np.ndarray, np.ndarray]], recorded: set[int], size: int
) -> Step:
    """Compose the maps of halves of steps between recorded times."""
    unit, nothing = np.eye(size), np.zeros((size, size))
    carried, gathered = [unit], [nothing]
    total, since = unit, nothing
    for _, after, f, more in maps:
        total, since = f @ total, f @ since @ f.T + more
        if after in recorded:
            carried.append(total)
            gathered.append(since)
            total, since = unit, nothing
    return Step(np.array(carried), np.array(gathered))
