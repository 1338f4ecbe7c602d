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

from gmmdyn.interfaces import Activation, Fields
from gmmdyn.linalg import covariance_factor
from gmmdyn.normal import density
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


def cut(fields: Fields, along: Tensor, points: Tensor, slack: float) -> Lines:
    """Cut lines at the breaks.

    Args:
        fields: the distribution of the local fields and the network.
        along: unit vectors u, shape `(..., C, K)`, or anything that broadcasts to it.
        points: standard normal points, shape `(S, K - 1)`.
        slack: as of `covariance_factor`.

    Returns:
        The network along each line.
    """
    factor = covariance_factor(fields.covariance, slack)
    start = fields.mean.unsqueeze(-2) + across(along, points) @ factor
    pace = (factor @ along.unsqueeze(-1)).squeeze(-1)
    return on_lines(fields.activation, fields.readout.unsqueeze(-2), start, pace)


def on_lines(activation: Activation, readout: Tensor, start: Tensor, pace: Tensor) -> Lines:
    """Cut given lines at the breaks.

    Args:
        activation: of the units.
        readout: v, shape `(..., C, K)`, or anything that broadcasts to it.
        start: a, shape `(..., C, S, K)`.
        pace: d, shape `(..., C, K)`.

    Returns:
        The network along each line.
    """
    start, pace = start.unsqueeze(-2), pace[..., None, None, :]  # (..., C, S, 1, K)
    safe = torch.where(pace == 0, torch.full_like(pace, 1e-300), pace)
    breaks = [((kink - start) / safe).clamp(-_FAR, _FAR) for kink in activation.kinks]
    far = torch.full_like(start[..., :1], _FAR)
    inner = [torch.sort(torch.cat(breaks, dim=-1), dim=-1).values] if breaks else []
    edges = torch.cat([-far, *inner, far], dim=-1).squeeze(-2)
    middle = ((edges[..., 1:] + edges[..., :-1]) / 2).unsqueeze(-1)  # (..., C, S, I, 1)
    lam = start + pace * middle
    slope = activation.derivative(lam)
    linear = slope * pace
    constant = activation(lam) - linear * middle
    v = readout[..., None, None, :]
    return Lines(edges, slope, v * constant, v * linear)


def rest_of_noise(lines: Lines, labels: Tensor, others: Tensor) -> tuple[Tensor, Tensor]:
    r"""Return the lines' means of g'_k g'_l (Delta² - Delta_kl²) and g'_k g'_l Delta_kl².

    Delta_kl is the error signal with all units but k and l at their means. Its part of the noise
    involves two units and is known, so that only the difference is left to the lines.

    Args:
        lines: the network along lines.
        labels: y, shape `(C,)`.
        others: v_k E[g_k], shape `(..., C, K)`.

    Returns:
        The rest and the lines' idea of what is known, each of shape `(..., C, K, K)`.
    """
    cdf, dens = torch.special.ndtr(lines.edges), density(lines.edges)
    p0 = cdf.diff(dim=-1)  # integrals of s^n phi(s) over each interval, n = 0, 1, 2
    p1 = -dens.diff(dim=-1)
    p2 = p0 - (lines.edges * dens).diff(dim=-1)

    def square(zeroth: Tensor, first: Tensor, power: tuple[Tensor, Tensor, Tensor]) -> Tensor:
        return zeroth**2 * power[0] + 2 * zeroth * first * power[1] + first**2 * power[2]

    y = labels[:, None, None]
    whole = square(y - lines.constant.sum(-1), -lines.linear.sum(-1), (p0, p1, p2))
    mean = others[..., None, None, :]  # (..., C, 1, 1, K)
    offset = mean - lines.constant
    rest = (y[..., None] - mean.sum(-1, keepdim=True)).unsqueeze(-1)
    hidden = lines.slope.shape[-1]
    # A unit with itself counts once.
    once = 1 - torch.eye(hidden, dtype=offset.dtype, device=offset.device)
    c0 = rest + offset.unsqueeze(-1) + once * offset.unsqueeze(-2)
    c1 = -lines.linear.unsqueeze(-1) - once * lines.linear.unsqueeze(-2)
    wide = (p0[..., None, None], p1[..., None, None], p2[..., None, None])
    pair = square(c0, c1, wide)
    slopes = lines.slope.unsqueeze(-1) * lines.slope.unsqueeze(-2)
    rest_mean = (slopes * (whole[..., None, None] - pair)).sum(-3).mean(-3)
    return rest_mean, (slopes * pair).sum(-3).mean(-3)


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
