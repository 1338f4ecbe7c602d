r"""Networks of piecewise-linear units along lines through the space of local fields, in torch.

Legend: the local fields are lam = m + L z with z = s u + x, s along a unit vector u, x across it.
Along a line lam_k(s) = a_k + d_k s crosses each kink once, at the *breaks*; between two breaks the
units' terms v_k g_k are constant_k + linear_k s. Shapes: lines S, intervals I = K J + 1 for J
kinks; the arrays are (..., C, S, I) and (..., C, S, I, K). The compiled
`_kernels_lines.py` computes the same sums.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from gmmdyn.interfaces import Fields
from gmmdyn.linalg import field_factor
from gmmdyn.normal import density

# Beyond this many standard deviations the normal density underflows.
_FAR = 40.0


class Lines(NamedTuple):
    """A network along lines: on each interval everything is linear in s."""

    edges: Tensor  # (..., C, S, I + 1)
    slope: Tensor  # g' of each unit, (..., C, S, I, K)
    constant: Tensor  # (..., C, S, I, K)
    linear: Tensor  # (..., C, S, I, K)


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
        slack: as of `field_factor`.

    Returns:
        The network along each line.
    """
    activation = fields.activation
    factor = field_factor(fields.covariance, slack)
    place = across(along, points)
    start = (fields.mean.unsqueeze(-2) + place @ factor.mT).unsqueeze(-2)  # (..., C, S, 1, K)
    pace = (factor @ along.unsqueeze(-1)).squeeze(-1)[..., None, None, :]
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
    v = fields.readout[..., None, None, None, :]
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


def wrong(lines: Lines, y: Tensor) -> Tensor:
    """Return the probability of y times the output <= 0 on each interval."""
    low, high = lines.edges[..., :-1], lines.edges[..., 1:]
    o0, rising = lines.constant.sum(-1), y * lines.linear.sum(-1)
    flat = rising == 0
    root = -y * o0 / torch.where(flat, torch.ones_like(rising), rising)
    root = torch.minimum(torch.maximum(root, low), high)
    at_low, at_root, at_high = (torch.special.ndtr(x) for x in (low, root, high))
    partly = torch.where(rising > 0, at_root - at_low, at_high - at_root)
    # An output of exactly 0 (all ReLU units off) is an error.
    wholly = torch.where(y * o0 <= 0, at_high - at_low, torch.zeros_like(low))
    return torch.where(flat, wholly, partly)
