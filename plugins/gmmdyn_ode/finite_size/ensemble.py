r"""Networks where the fluctuations are no longer Gaussian: an ensemble of order parameters.

While a saddle is left, deviations grow until they are no small ones. From the last time at which
they are Gaussian, N states drawn from the Gaussian are followed, each by the limit's drift at its
own state. The noise gathered from then on is added to each: that of samples at its own state, with
the covariance of the D dt updates of a step dt. The rest of the drift, of order 1/D, is that along
the path of the limit. Members come in pairs with opposite noise, so that what is linear in it
leaves no sampling error in the mean.
"""

from __future__ import annotations

from itertools import pairwise
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from gmmdyn.errors import ConvergenceError
from gmmdyn_ode.finite_size.expansion import Expansion
from gmmdyn_ode.finite_size.limit import Limit

# The longest step, and the largest product of a step and a rate at the mean of the members.
_LONGEST, _FAST = 0.5, 0.7
# No order parameter of a run that goes well is as large.
_HUGE = 1e6
# Samples whose changes stand for the noise of half a step, an even number.
_SAMPLES = 16


class Push(NamedTuple):
    """What moves members besides the drift of the limit.

    Attributes:
        dim: D.
        nodes: times, shape `(N,)`.
        forces: rest of the drift at these times, times D, shape `(N, n)`.
    """

    dim: float
    nodes: np.ndarray
    forces: np.ndarray


def gaussian_paths(expansion: Expansion, dim: float, count: int, seed: int) -> np.ndarray:
    """Draw states at recorded times from the Gaussian, in pairs around the mean.

    Args:
        expansion: the expansion in 1/D, of T times.
        dim: D.
        count: N, how many members, even.
        seed: of the draws.

    Returns:
        Coordinates, shape `(T, N, n)`.
    """
    generator = np.random.default_rng(seed)
    size = expansion.shift.shape[1]
    deviation = np.zeros((count // 2, size))
    found = []
    for carried, gathered in zip(expansion.carried, expansion.gathered, strict=True):
        values, vectors = np.linalg.eigh(gathered)
        root = vectors * np.sqrt(np.clip(values, 0, None))
        deviation = deviation @ carried.T + generator.standard_normal(deviation.shape) @ root.T
        found.append(np.concatenate([deviation, -deviation]))
    mean = expansion.limit + expansion.shift / dim
    return np.asarray(mean[:, None] + np.array(found) / np.sqrt(dim))


@torch.no_grad()
def follow_members(
    limit: Limit, start: np.ndarray, times: np.ndarray, push: Push | None, seed: int
) -> np.ndarray:
    """Follow members from a time on.

    Args:
        limit: the experiment.
        start: coordinates at `times[0]`, shape `(N, n)`; with a push, the second half of them are
            the partners of the first.
        times: recorded, shape `(T,)`.
        push: noise and the rest of the drift, or None for the limit's flow alone.
        seed: of the noise.

    Returns:
        Coordinates, shape `(T, N, n)`.

    Raises:
        ConvergenceError: if a member grows beyond all bounds, or steps would be too many.
    """
    generator = torch.Generator().manual_seed(seed)
    x = limit.coordinates.possible(torch.from_numpy(start))
    found, left = [x], limit.options.max_evaluations
    knots = limit.problem.knots.numpy()
    for begin, end in pairwise(times):
        _, slopes = limit.drift.slopes(torch.tensor([begin]), x.mean(0, keepdim=True))
        fastest = float(torch.linalg.eigvals(slopes).abs().max())
        longest = min(_LONGEST, _FAST / max(fastest, 1e-12))
        inside = knots[(knots > begin) & (knots < end)]
        stops = np.concatenate([[begin], inside, [end]])
        for a, b in pairwise(stops):
            steps = max(1, int(np.ceil((b - a) / longest)))
            left -= 4 * steps
            if left < 0:
                raise _stopped(begin, "it needs more steps than a solver is allowed", "evaluations")
            for i in range(steps):
                x = _step(limit, a + (b - a) * i / steps, (b - a) / steps, x, push, generator)
                if not float(x.abs().max()) < _HUGE:
                    why = "the order parameters of a member grew without bounds"
                    raise _stopped(a + (b - a) * (i + 1) / steps, why, "blow-up")
        found.append(x)
    return torch.stack(found).numpy()


def _stopped(time: float, why: str, status: str) -> ConvergenceError:
    return ConvergenceError(
        f"an ensemble stopped near t = {time:.6g}: {why}; lower the learning rate, or raise `dim`.",
        None,
        status,
    )


def _step(
    limit: Limit, time: float, step: float, x: Tensor, push: Push | None, generator: torch.Generator
) -> Tensor:
    """Take a step of Runge and Kutta's method between two halves of the noise of a step."""
    if push is not None:
        x = x + _stirred(limit, time, step / 2, x, push.dim, generator)

    def rates(ahead: float, where: Tensor) -> Tensor:
        where = limit.coordinates.possible(where)
        when = torch.full((len(where),), time + ahead, dtype=where.dtype)
        rate = limit.drift.rates(when, where)
        if push is None:
            return rate
        forces = [np.interp(time + ahead, push.nodes, force) for force in push.forces.T]
        return rate + torch.tensor(forces) / push.dim

    one = rates(0, x)
    two = rates(step / 2, x + step / 2 * one)
    three = rates(step / 2, x + step / 2 * two)
    four = rates(step, x + step * three)
    x = x + step / 6 * (one + 2 * two + 2 * three + four)
    if push is not None:
        x = x + _stirred(limit, time + step, step / 2, x, push.dim, generator)
    return limit.coordinates.possible(x)


def _stirred(
    limit: Limit, time: float, length: float, x: Tensor, dim: float, generator: torch.Generator
) -> Tensor:
    """Return the noise of D `length` updates, from the differences of samples at each state."""
    problem, coordinates = limit.problem, limit.coordinates
    half = len(x) // 2

    def twice(values: Tensor) -> Tensor:  # partners have the same samples
        return torch.cat([values, values])

    shape = half, _SAMPLES, coordinates.rank + coordinates.hidden
    points = twice(torch.randn(shape, generator=generator, dtype=x.dtype))
    wrong, right = problem.label_noise, 1 - problem.label_noise
    shares = torch.cat([problem.priors * right, problem.priors * wrong])
    kinds = torch.multinomial(shares, half * _SAMPLES, replacement=True, generator=generator)
    kinds = twice(kinds.reshape(half, _SAMPLES))
    when = torch.full((len(x),), time, dtype=x.dtype)
    change = x.new_zeros(len(x), _SAMPLES, coordinates.count)
    clusters = len(problem.labels)
    for kind in range(2 * clusters):
        if not float(shares[kind]):
            continue
        cluster = kind % clusters
        label = problem.labels[cluster] * (1 if kind < clusters else -1)
        made = limit.noise.changes(when, x, cluster, label, points)
        change = torch.where((kinds == kind).unsqueeze(-1), made, change)
    total: Tensor = (change[:, ::2] - change[:, 1::2]).sum(1) * (length / (dim * _SAMPLES)) ** 0.5
    total[half:] *= -1
    return total
