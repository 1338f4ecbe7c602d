r"""Networks of piecewise-linear units along lines through the space of local fields, in torch.

Legend: the local fields are lam = m + L z with z = s u + x, s along a unit vector u, x across it.
Along a line lam_k(s) = a_k + d_k s crosses each kink once, at the *breaks*; between two breaks the
units g_k are constant_k + linear_k s. Shapes: lines S, intervals I = K J + 1 for J kinks; the
arrays are (..., C, S, I) and (..., C, S, I, K). The compiled `_kernels_lines.py` computes the same
sums.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from gmmdyn.gaussian import density, field_factor
from gmmdyn.interfaces import Activation, Fields
from gmmdyn_integrators._outputs import Head, lead_sizes, leads
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
    return on_lines(fields.activation, start, pace)


def on_lines(
    activation: Activation,
    start: Tensor,
    pace: Tensor,
    inner: Tensor | None = None,
    far: float = _FAR,
) -> Lines:
    """Cut given lines at the breaks.

    Args:
        activation: of the units.
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
    return Lines(edges, slope, constant, linear)


def noise(lines: Lines, fields: Fields) -> Tensor:
    r"""Return the mean over lines of the integrals of gamma_k gamma_l along them.

    On an interval gamma is a + b s. With p its probability, c the mean of s there and r p the
    variance, the integral is p (a + b c)(a + b c)ᵀ + r b bᵀ: positive semi-definite whatever the
    lines.

    Args:
        lines: the network along lines.
        fields: the distribution of the local fields and the network.

    Returns:
        The noise, shape `(..., C, K, K)`.
    """
    cdf, dens = torch.special.ndtr(lines.edges), density(lines.edges)
    p0 = cdf.diff(dim=-1)  # integrals of s^n phi(s) over each interval, n = 0, 1, 2
    p1 = -dens.diff(dim=-1)
    p2 = p0 - (lines.edges * dens).diff(dim=-1)
    some = p0 > 0
    centre = torch.where(some, p1, 0.0) / torch.where(some, p0, 1.0)
    spread = (p2 - centre * p1).clamp_min(0)
    head = Head.of(fields)
    v = head.readout.unsqueeze(-3)  # (..., 1, 1, K, O)
    delta0, delta1 = head.labels[:, None, None] - lines.constant @ v, -(lines.linear @ v)
    at_centre = torch.addcmul(delta0, delta1, centre.unsqueeze(-1))
    both = torch.stack([at_centre, delta1], dim=-3) @ v.unsqueeze(-3).mT  # (..., C, S, 2, I, K)
    weights = torch.stack([p0, spread], dim=-2).unsqueeze(-1)
    gamma = lines.slope.unsqueeze(-3) * both
    mean: Tensor = gamma.flatten(-4, -2).mT @ (weights * gamma).flatten(-4, -2) / p0.shape[-2]
    return mean


def wrong(lines: Lines, readout: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Return the probabilities of an error and of a tie on each interval.

    Args:
        lines: through the fields of N clusters.
        readout: v, shape `(N, K, O)`.
        labels: y, shape `(N, O)`.

    Returns:
        Both of shape `(N, S, I)`; of one output P(y phi < 0) + P(phi = 0)/2 and P(phi = 0).
    """
    low, high = lines.edges[..., :-1].unsqueeze(-1), lines.edges[..., 1:].unsqueeze(-1)
    v, y = readout.unsqueeze(-3), labels[:, None, None]
    lead0, lead1 = (leads(part @ v, y) for part in (lines.constant, lines.linear))
    with torch.no_grad():  # what is left of larger terms on the line by rounding is 0
        size0, size1 = (
            lead_sizes((part.abs() @ v.abs()).amax(-2, keepdim=True), y)
            for part in (lines.constant, lines.linear)
        )
        flat = lead1.abs() <= ZERO * size1
        level = flat & (lead0.abs() <= ZERO * size0)
        lost = (flat & ~level & (lead0 < 0)).any(-1)
        alike = level.sum(-1)
    root = -lead0 / torch.where(flat, torch.ones_like(lead1), lead1)
    root = torch.minimum(torch.maximum(root, low), high)
    # The class leads from `first` to `last`.
    first = torch.where(~flat & (lead1 > 0), root, low).amax(-1)
    last = torch.where(~flat & (lead1 < 0), root, high).amin(-1)
    low, high = low.squeeze(-1), high.squeeze(-1)
    lost = lost | (first >= last)
    at_low, at_first, at_last, at_high = (torch.special.ndtr(x) for x in (low, first, last, high))
    behind = torch.where(lost, at_high - at_low, at_first - at_low + (at_high - at_last))
    tied = torch.where(lost | (alike == 0), torch.zeros_like(low), at_last - at_first)
    return behind + tied * (alike / (1.0 + alike)), tied
