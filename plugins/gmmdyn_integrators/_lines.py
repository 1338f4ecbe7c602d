r"""Networks of piecewise-linear units along lines through the space of local fields.

Legend: the local fields are lam = m + L z with z = s u + x, s along a unit vector u, x across it.
Along a line lam_k(s) = a_k + d_k s crosses each kink once, at the *breaks*; between two breaks the
output is o0 + o1 s. Shapes: lines S, intervals I = K J + 1 for J kinks; the arrays are
(..., C, S, I) and (..., C, S, I, K).
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from gmmdyn.interfaces import Fields
from gmmdyn.linalg import covariance_factor

# Beyond this many standard deviations the normal density underflows.
_FAR = 40.0


class Lines(NamedTuple):
    """A network along lines: on each interval everything is linear in s."""

    edges: Tensor  # (..., C, S, I + 1)
    slope: Tensor  # g' of each unit, (..., C, S, I, K)
    o0: Tensor  # (..., C, S, I)
    o1: Tensor  # (..., C, S, I)


def cut(fields: Fields, along: Tensor, points: Tensor, slack: float) -> Lines:
    """Cut lines at the breaks.

    Args:
        fields: the distribution of the local fields and the network.
        along: unit vectors u, shape `(..., C, K)`, or anything that broadcasts to it.
        points: standard normal points across, shape `(S, K - 1)`.
        slack: as of `covariance_factor`.

    Returns:
        The network along each line.
    """
    activation = fields.activation
    factor = covariance_factor(fields.covariance, slack)
    # The reflection that takes e_1 to u takes the other axes to what is across u.
    embedded = torch.nn.functional.pad(points, (1, 0))
    mirror = along.clone()
    mirror[..., 0] -= 1.0
    square = (mirror * mirror).sum(-1, keepdim=True).clamp_min(1e-300)
    across = embedded - 2 * (embedded @ (mirror / square).unsqueeze(-1)) * mirror.unsqueeze(-2)
    start = (fields.mean.unsqueeze(-2) + across @ factor).unsqueeze(-2)  # (..., C, S, 1, K)
    pace = (factor @ along.unsqueeze(-1)).squeeze(-1)[..., None, None, :]
    safe = torch.where(pace == 0, torch.full_like(pace, 1e-300), pace)
    breaks = [((kink - start) / safe).clamp(-_FAR, _FAR) for kink in activation.kinks]
    far = torch.full_like(start[..., :1], _FAR)
    inner = [torch.sort(torch.cat(breaks, dim=-1), dim=-1).values] if breaks else []
    edges = torch.cat([-far, *inner, far], dim=-1).squeeze(-2)
    middle = ((edges[..., 1:] + edges[..., :-1]) / 2).unsqueeze(-1)  # (..., C, S, I, 1)
    lam = start + pace * middle
    slope = activation.derivative(lam)
    g1 = slope * pace
    g0 = activation(lam) - g1 * middle
    v = fields.readout[..., None, None, :, None]
    return Lines(edges, slope, (g0 @ v).squeeze(-1), (g1 @ v).squeeze(-1))


def normal_moments(edges: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return ∫ s^n phi(s) ds over each interval, n = 0, 1, 2."""
    cdf = torch.special.ndtr(edges)
    density = torch.exp(-0.5 * edges**2) / math.sqrt(2 * math.pi)
    p0 = cdf.diff(dim=-1)
    return p0, -density.diff(dim=-1), p0 - (edges * density).diff(dim=-1)


def wrong(lines: Lines, y: Tensor) -> Tensor:
    """Return the probability of y times the output <= 0 on each interval."""
    low, high = lines.edges[..., :-1], lines.edges[..., 1:]
    rising = y * lines.o1
    flat = rising == 0
    root = -lines.o0 / torch.where(flat, torch.ones_like(rising), lines.o1)
    root = torch.minimum(torch.maximum(root, low), high)
    at_low, at_root, at_high = (torch.special.ndtr(x) for x in (low, root, high))
    partly = torch.where(rising > 0, at_root - at_low, at_high - at_root)
    # An output of exactly 0 (all ReLU units off) is an error.
    wholly = torch.where(y * lines.o0 <= 0, at_high - at_low, torch.zeros_like(low))
    return torch.where(flat, wholly, partly)
