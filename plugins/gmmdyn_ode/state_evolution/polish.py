"""Newton's method from a state near a fixed point, in the coordinates that suit its units."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch

from gmmdyn import OrderParameters
from gmmdyn.interfaces import Activation
from gmmdyn_ode.coordinates import Coordinates, Weights
from gmmdyn_ode.state import embedded, unit_sizes, units_of
from gmmdyn_ode.state_evolution.copies import Copies
from gmmdyn_ode.state_evolution.merging import partitions
from gmmdyn_ode.state_evolution.residual import Equations, Field, residual
from gmmdyn_ode.state_evolution.roots import Root, newton
from gmmdyn_ode.state_evolution.split import SplitOverlaps
from gmmdyn_ode.state_evolution.stability import Stability
from gmmdyn_ode.state_evolution.symmetric import Exchangeable

# How far Newton's method may go and still be said to polish, as a share of the largest coordinate:
# so far in any case, and so far where the flow is all but linear.
_NEARBY, _LINEAR = 0.05, 0.5
# The flow is so if the first step makes the next one shorter by this factor: half of what makes
# sure of a root in reach (Kantorovich).
_CONTRACTS = 0.25
# The smallest share of a step and the number of steps of a quick try.
_QUICK = 0.5, 10
# Units smaller than this share of the largest that shrink by themselves, at no less than this share
# of the rate of decay, are on their way to nothing: a quick try looks for them there.
_SMALL, _SHRINKS = 1e-2, 1e-2
# Of the rate of decay: eigenvalues so small are 0 within the error of an integrator.
_FLAT = 1e-3


class Found(NamedTuple):
    """Where a search ended.

    Attributes:
        state: the order parameters.
        residual: the scaled residual, averaged over exchanges of units that act as one.
        converged: whether it is within the tolerance.
        asymmetry: the scaled residual without that average; the same where no units merge.
        gone: units that vanished, shape `(K,)`.
        group: the group of units that act as one of each unit, shape `(K,)`; -1 for those gone.
        near: whether the flow from where Newton's method began ends here.
        why: a clause on why the search ended, if it did not converge, and the word for it.
        left_saddles: how many saddles were left on the way.
        verdict: its stability, where the search had to know.
    """

    state: OrderParameters
    residual: float
    converged: bool
    asymmetry: float
    gone: np.ndarray
    group: np.ndarray
    near: bool = True
    why: tuple[str, str] = ("its residual is no longer falling; start nearer", "residual")
    left_saddles: int = 0
    verdict: Stability | None = None


def plain(state: OrderParameters, size: float, converged: bool) -> Found:
    """Return what was found where no unit vanished or merged."""
    hidden = state.v.shape[-1]
    return Found(state, size, converged, size, np.zeros(hidden, dtype=bool), np.arange(hidden))


def polished(
    equations: Equations,
    state: OrderParameters,
    tolerance: float,
    small: float = 0.0,
    quick: bool = False,
    apart: np.ndarray | None = None,
) -> Found:
    """Look for a fixed point near a state with Newton's method.

    Args:
        equations: F.
        state: near a fixed point.
        tolerance: for the residual.
        small: units whose weights are below, and shrink, are left out; those without weights are
            in any case.
        quick: whether to give up where the steps do not shorten by themselves, or lead far away.
        apart: which units act as one with no others, shape `(K,)`; None is none.

    Returns:
        Where it ended.
    """
    best: Found | None = None
    limits = [(small, 0.0)]
    if quick:
        largest = float(unit_sizes(state).max())
        limits.insert(0, (max(small, _SMALL * largest), _SHRINKS * equations.decay_rate))
    seen = set()
    for limit in limits:
        gone = _vanishing(equations, state, *limit)
        if gone.tobytes() in seen:
            continue
        seen.add(gone.tobytes())
        found = _of_the_others(equations, state, gone, tolerance, quick, apart)
        if best is None or _rank(found) < _rank(best):
            best = found
        if found.converged and (found.near or not quick):
            break
    assert best is not None
    return best


def _rank(found: Found) -> tuple[bool, float]:
    return not found.converged, found.residual


def _of_the_others(
    equations: Equations,
    state: OrderParameters,
    gone: np.ndarray,
    tolerance: float,
    quick: bool,
    apart: np.ndarray | None,
) -> Found:
    """Look for a fixed point in which some units are gone."""
    index = torch.from_numpy(np.flatnonzero(~gone))
    left = units_of(state, index)
    best: Found | None = None
    for group, coordinates, start in _candidates(
        equations, left, None if apart is None else apart[~gone]
    ):
        found = _newton(equations, coordinates, start, index, tolerance, quick)
        groups = np.full(len(gone), -1)
        groups[~gone] = group
        found = found._replace(gone=gone, group=groups)
        if best is None or _rank(found) < _rank(best):
            best = found
        if found.converged and (found.near or not quick):
            return found
    assert best is not None
    return best


def _candidates(
    equations: Equations, state: OrderParameters, apart: np.ndarray | None
) -> Iterator[tuple[np.ndarray, Coordinates, OrderParameters]]:
    """Yield groups of units that may act as one, coordinates that say so, and where to start.

    The last ones say nothing of the kind. An integrator that tells units apart may leave nothing of
    the line of fixed points on which merged units share a readout: there one share alone is at
    rest.
    """
    hidden, overlaps = state.v.shape[-1], equations.mean_overlaps
    activation = equations.problem.activation
    alone = np.arange(hidden)
    if not activation.smooth:
        for group in partitions(state, shared=True, odd=False, apart=apart):
            if group.max(initial=-1) + 1 < hidden:
                shares = Exchangeable(group, state)
                yield group, shares, shares.shared(state)
        yield alone, Weights(overlaps, state), state
        return
    for group in partitions(state, shared=False, odd=_odd(activation), apart=apart):
        if group.max(initial=-1) + 1 < hidden:
            copies = Copies(group, overlaps, state)
            yield group, copies, state
    # An average over points depends on a root of the overlaps, if only by its error.
    kind = Weights if equations.sampled else SplitOverlaps
    yield alone, kind(overlaps, state), state


def _odd(activation: Activation) -> bool:
    x = torch.linspace(0.1, 3.0, 30, dtype=torch.float64)
    return bool(torch.allclose(activation(x), -activation(-x), rtol=1e-12, atol=1e-12))


def _newton(
    equations: Equations,
    coordinates: Coordinates,
    state: OrderParameters,
    kept: torch.Tensor,
    tolerance: float,
    quick: bool,
) -> Found:
    """Look for a fixed point near a state of the units that have not vanished."""
    hidden = equations.problem.initial.v.shape[-1]
    x, near = coordinates.flat(state), True
    if x.size:  # some units are left
        size = max(1.0, float(np.abs(x).max()))
        field = Field(equations, coordinates, kept)
        if quick:
            root = newton(field, x, tolerance, _LINEAR * size, *_QUICK)
        else:
            root = newton(field, x, tolerance)
        near = _near(root, float(np.abs(root.x - x).max()) / size, equations.decay_rate)
        state = coordinates.state(root.x)
    full = embedded(state, kept, hidden)
    rates = equations(full)
    asymmetry = residual(full, rates)
    size = residual(state, coordinates.averaged(units_of(rates, kept)))
    return plain(full, size, size <= tolerance)._replace(asymmetry=asymmetry, near=near)


def _near(root: Root, moved: float, decay_rate: float) -> bool:
    """Say whether a root is where the flow from the start of Newton's method ends."""
    if moved < _NEARBY or root.slopes is None:
        return moved < _NEARBY
    rising = float(np.linalg.eigvals(root.slopes).real.max())
    return moved < _LINEAR and root.contraction < _CONTRACTS and rising < _FLAT * decay_rate


def _vanishing(
    equations: Equations, state: OrderParameters, small: float, slow: float
) -> np.ndarray:
    """Say which units are smaller than `small` and shrink faster than at the rate `slow`."""
    size = unit_sizes(state)
    gone = size < small
    if bool(gone.any()):
        rates = equations(state)
        growth = rates.Q.diagonal() + 2 * state.v * rates.v  # of size², biases included
        if state.b is not None and rates.b is not None:
            growth = growth + 2 * state.b * rates.b
        gone &= growth < -2 * slow * size**2
    return np.array((gone | (size == 0)).numpy())
