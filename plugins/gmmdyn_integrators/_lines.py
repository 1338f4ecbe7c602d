r"""Networks of piecewise-linear units along lines through the space of local fields, in torch.

Legend: the local fields are lam = m + L z with z = s u + x, s along a unit vector u, x across it.
Along a line lam_k(s) = a_k + d_k s crosses each kink once, at the *breaks*; between two breaks the
units' terms v_k g_k are constant_k + linear_k s. Shapes: lines S, intervals I = K J + 1 for J
kinks; the arrays are (..., C, S, I) and (..., C, S, I, K). The compiled
`_kernels_lines.py` computes the same sums.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from gmmdyn.gaussian import density, field_factor
from gmmdyn.interfaces import Activation, Fields
from gmmdyn_integrators._zero import ZERO

# Beyond this many standard deviations the normal density underflows.
_FAR = 40.0


class Lines(NamedTuple):
    """A network along lines: on each interval everything is linear in s."""

    edges: Tensor  # (..., C, S, I + 1)
    slope: Tensor  # g' of each unit, (..., C, S, I, K)
    constant: Tensor  # (..., C, S, I, K)
    linear: Tensor  # (..., C, S, I, K)


def generic_direction(hidden: int) -> Tensor:
    """Return a unit vector, shape `(K,)`, along which no two units that are equal or opposite move.

    No two entries are alike in size: opposite or equal units must not be constant along it.
    """
    golden = (math.sqrt(5) - 1) / 2
    entries = [(-1) ** k * (1 + (k * golden) % 1) for k in range(hidden)]
    along = torch.tensor(entries, dtype=torch.float64)
    along /= along.norm()
    return along


def across(along: Tensor, points: Tensor) -> Tensor:
    """Put points across a direction.

    Args:
        along: unit vectors u, shape `(..., K)`.
        points: standard normal points, shape `(S, K - 1)`.

    Returns:
        Points at right angles to u, shape `(..., S, K)`.
    """
    # The reflection that takes e_1 to u takes the other axes to what is across u.
    embedded = torch.nn.functional.pad(points, (1, 0))
    first = torch.zeros_like(along)
    first[..., 0] = 1.0
    mirror = along - first
    square = (mirror * mirror).sum(-1, keepdim=True).clamp_min(1e-300)
    shift = embedded @ (mirror / square).unsqueeze(-1)
    return embedded - 2 * shift * mirror.unsqueeze(-2)


def cut(fields: Fields, along: Tensor, points: Tensor) -> Lines:
    """Cut lines at the breaks.

    Args:
        fields: the distribution of the local fields and the network.
        along: unit vectors u, shape `(..., C, K)`, or anything that broadcasts to it.
        points: standard normal points, shape `(S, K - 1)`.

    Returns:
        The network along each line.
    """
    factor = field_factor(fields.covariance)
    start = fields.mean.unsqueeze(-2) + across(along, points) @ factor.mT
    pace = (factor @ along.unsqueeze(-1)).squeeze(-1)
    return on_lines(fields.activation, fields.readout.unsqueeze(-2), start, pace)


def on_lines(
    activation: Activation,
    readout: Tensor,
    start: Tensor,
    pace: Tensor,
    inner: Tensor | None = None,
    far: float = _FAR,
) -> Lines:
    """Cut given lines at the breaks.

    Args:
        activation: of the units.
        readout: v, shape `(..., C, K)`, or anything that broadcasts to it.
        start: a, shape `(..., C, S, K)`.
        pace: d, shape `(..., C, K)`.
        inner: other places to cut them at, any shape `(n,)`.
        far: where lines end; beyond is nothing.

    Returns:
        The network along each line.
    """
    start, pace = start.unsqueeze(-2), pace[..., None, None, :]  # (..., C, S, 1, K)
    # A unit that does not move meets no kink, even if it sits on one.
    moves = pace != 0
    safe = torch.where(moves, pace, torch.ones_like(pace))
    places = [torch.where(moves, (kink - start) / safe, far) for kink in activation.kinks]
    cuts = [place.clamp(-far, far) for place in places]
    if inner is not None:
        cuts.append(inner.expand(*start.shape[:-1], -1))
    end = torch.full_like(start[..., :1], far)
    between = [torch.sort(torch.cat(cuts, dim=-1), dim=-1).values] if cuts else []
    edges = torch.cat([-end, *between, end], dim=-1).squeeze(-2)
    middle = ((edges[..., 1:] + edges[..., :-1]) / 2).unsqueeze(-1)  # (..., C, S, I, 1)
    lam = start + pace * middle
    slope = activation.derivative(lam)
    linear = slope * pace
    constant = activation(lam) - linear * middle
    v = readout[..., None, None, :]
    return Lines(edges, slope, v * constant, v * linear)


def noise(lines: Lines, labels: Tensor) -> Tensor:
    r"""Return the mean over lines of the integrals of g'_k g'_l Delta² along them.

    An average of squares with positive weights: positive semi-definite whatever the lines.

    Args:
        lines: the network along lines.
        labels: y, shape `(C,)`.

    Returns:
        The noise, shape `(..., C, K, K)`.
    """
    cdf, dens = torch.special.ndtr(lines.edges), density(lines.edges)
    p0 = cdf.diff(dim=-1)  # integrals of s^n phi(s) over each interval, n = 0, 1, 2
    p1 = -dens.diff(dim=-1)
    p2 = p0 - (lines.edges * dens).diff(dim=-1)
    d0, d1 = labels[:, None, None] - lines.constant.sum(-1), -lines.linear.sum(-1)
    square = (d0**2 * p0 + 2 * d0 * d1 * p1 + d1**2 * p2).clamp_min(0)  # (..., C, S, I)
    slope = lines.slope.flatten(-3, -2)  # (..., C, S I, K)
    weighted = slope * square.flatten(-2).unsqueeze(-1)
    mean: Tensor = weighted.mT @ slope / square.shape[-2]
    return mean


def wrong(lines: Lines, y: Tensor) -> tuple[Tensor, Tensor]:
    """Return P(y phi < 0) + P(phi = 0)/2 and P(phi = 0) on each interval, phi the output."""
    low, high = lines.edges[..., :-1], lines.edges[..., 1:]
    o0, o1 = lines.constant.sum(-1), lines.linear.sum(-1)
    with torch.no_grad():  # what is left of larger terms on the line by rounding is 0
        size0, size1 = (
            part.abs().sum(-1).amax(-1, keepdim=True) for part in (lines.constant, lines.linear)
        )
        flat = o1.abs() <= ZERO * size1
        zero = flat & (o0.abs() <= ZERO * size0)
    rising = torch.where(flat, torch.zeros_like(o1), y * o1)
    root = -y * o0 / torch.where(flat, torch.ones_like(rising), rising)
    root = torch.minimum(torch.maximum(root, low), high)
    at_low, at_root, at_high = (torch.special.ndtr(x) for x in (low, root, high))
    partly = torch.where(rising > 0, at_root - at_low, at_high - at_root)
    all_of_it, none = at_high - at_low, torch.zeros_like(low)
    tied = torch.where(zero, all_of_it, none)
    wholly = torch.where(~zero & (y * o0 < 0), all_of_it, none)
    return torch.where(flat, wholly, partly) + 0.5 * tied, tied
