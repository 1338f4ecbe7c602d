"""Whether a fixed point is stable, and the direction in which a saddle is left."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch

from gmmdyn import OrderParameters
from gmmdyn_ode.coordinates import Coordinates, Weights
from gmmdyn_ode.state import embedded, units_of
from gmmdyn_ode.state_evolution.residual import Equations, Field
from gmmdyn_ode.state_evolution.roots import slopes_of
from gmmdyn_ode.state_evolution.split import SplitOverlaps

if TYPE_CHECKING:
    from gmmdyn_ode.state_evolution.polish import Found

# How far along the unstable direction a saddle is left, as a share of the largest weight.
_AWAY = 1e-3
# Eigenvalues that no difference of right-hand sides resolves.
_ROUNDING = 1e-10
# What the integration error does to an eigenvalue that is 0, as a share of the rate of decay, which
# is the slowest that units have by themselves: merged units share a readout along flat directions.
_FLAT = 1e-5
# A direction parts units that it changes by amounts so different, as a share of the largest change.
_UNLIKE = 0.1
# By this share of the largest norm merged units are parted for differences of an average over
# points, whose error has a kink where they are one: many steps of differences away from it.
_APART = 1e-4


class Stability(NamedTuple):
    """What the Jacobian at a fixed point says.

    Attributes:
        name: "stable" (all real parts of eigenvalues below 0 by more than their error), "marginal"
            (none above 0, some 0 within their error), "saddle" (some above 0), or "unknown".
        rates: the real parts, largest first; none where the Jacobian is not finite.
        marginal: how many are 0 within their error: flat directions, such as the ways in which
            merged units can share a readout.
        left: for a saddle, a state a little along its most unstable direction.
        leaving: the rate at which the coordinate that changes most changes there, in units of 1/t.
        parts: which units that direction tells from others of their group, shape `(K,)`.
    """

    name: str
    rates: list[float]
    marginal: int = 0
    left: OrderParameters | None = None
    leaving: float = 0.0
    parts: np.ndarray | None = None


def stability_of(equations: Equations, found: Found) -> Stability:
    """Return what the Jacobian at a fixed point says.

    It is that of the units that have not vanished, in the coordinates in which F is smooth. Those
    that have are where the right-hand side may have no derivative; that they shrink was seen on
    the way. The error of each eigenvalue is what a step four times as long does to it, and a
    hundred-thousandth of the rate of decay 2 eta kappa for the integrator, which makes merged
    units a little unequal.

    Args:
        equations: F.
        found: the fixed point; without convergence there is nothing to say.

    Returns:
        The stability.
    """
    if not found.converged:
        return Stability("unknown", [])
    kept = torch.from_numpy(np.flatnonzero(~found.gone))
    state = units_of(found.state, kept)
    if not len(kept):
        return Stability("stable", [])
    coordinates, x = _smooth(equations, state)
    field = Field(equations, coordinates, kept)
    slopes = slopes_of(field, x, central=True)
    coarse = slopes_of(field, x, central=True, enlarged=4.0)
    if not (np.isfinite(slopes).all() and np.isfinite(coarse).all()):
        return Stability("unknown", [])
    values, right = np.linalg.eig(slopes)
    # Rows of the inverse are left eigenvectors, scaled so that their product with the right is 1.
    left = np.linalg.pinv(right)
    error = np.abs(np.einsum("ij,jk,ki->i", left, slopes - coarse, right))
    error += _ROUNDING * np.linalg.norm(left, axis=1) + 3 * found.asymmetry
    error += _FLAT * equations.decay_rate
    order = np.argsort(values.real)[::-1]
    rates, error = values.real[order], error[order]
    marginal = int((np.abs(rates) <= error).sum())
    if not (rates > error).any():
        return Stability("marginal" if marginal else "stable", rates.tolist(), marginal)
    unstable = right[:, order[int(np.argmax(rates > error))]]
    direction = unstable.real if np.abs(unstable.real).max() > 0 else unstable.imag
    direction = direction / direction[np.abs(direction).argmax()]
    step = _AWAY * np.abs(x).max()
    # A saddle may lie at the edge of the possible states, as where units have merged: inwards.
    sides = [coordinates.state(x + sign * step * direction) for sign in (1, -1)]
    inner = max(sides, key=lambda side: float(torch.linalg.eigvalsh(side.Q).min()))
    away = embedded(inner, kept, len(found.gone))
    fastest = float(rates[rates > error].max())
    parts = _parted(found, away)
    return Stability("saddle", rates.tolist(), marginal, away, step * fastest, parts)


def _parted(found: Found, away: OrderParameters) -> np.ndarray:
    """Say which units of a group a change of state tells from the others."""
    sign = torch.where(found.state.v < 0, -1.0, 1.0)
    moves = [away.R - found.state.R, (away.v - found.state.v).unsqueeze(0)]
    change = (torch.cat(moves) * sign).numpy()
    parted = np.zeros(len(found.group), dtype=bool)
    for number in range(found.group.max(initial=-1) + 1):
        members = found.group == number
        unlike = np.ptp(change[:, members], axis=1).max()
        parted[members] = unlike > _UNLIKE * np.abs(change).max()
    return parted


def _smooth(equations: Equations, state: OrderParameters) -> tuple[Coordinates, np.ndarray]:
    """Return coordinates in which F is smooth around a state, and those of the state."""
    overlaps, smooth = equations.mean_overlaps, equations.problem.activation.smooth
    coordinates: Coordinates
    if smooth and not equations.sampled:
        coordinates = SplitOverlaps(overlaps, state)
        return coordinates, coordinates.flat(state)
    coordinates = Weights(overlaps, state)
    if not smooth:
        return coordinates, coordinates.flat(state)
    apart = _APART**2 * state.Q.diagonal().max() * torch.eye(len(state.v)).double()
    parted = OrderParameters(Q=state.Q + apart, R=state.R, v=state.v, b=state.b)
    return coordinates, coordinates.flat(parted)
