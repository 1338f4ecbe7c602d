"""Moments of networks of piecewise-linear units, from those of units and of pairs; in torch."""

from __future__ import annotations

import torch
from torch import Tensor

from gmmdyn.gaussian import density
from gmmdyn.gaussian.piecewise_linear import (
    SLOPE,
    SLOPE2,
    SLOPE2_VALUE,
    SLOPE2_VALUE2,
    SLOPE_VALUE,
    SLOPE_VALUE2,
    VALUE,
    VALUE2,
    PiecewiseLinear,
    mean_value,
)
from gmmdyn.gaussian.piecewise_linear_pairs import PAIRS, expectations
from gmmdyn.interfaces import Fields
from gmmdyn_integrators._outputs import Exact, Head, PairMeans, of_square_loss, square_of


def moments(pieces: PiecewiseLinear, fields: Fields) -> Exact:
    """Compute what pairs of units determine: all but the noise of more than two units with kinks.

    Args:
        pieces: the activation.
        fields: the distribution of the local fields and the network.

    Returns:
        The moments, with 0 for a noise that pairs do not determine; the pmse and the mean slopes.
    """
    shape, head = fields.mean.shape, Head.of(fields)
    covariance = fields.covariance.expand(*shape, shape[-1])
    found = expectations(pieces, fields.mean, covariance)
    single = found.single
    pair = dict(zip(PAIRS, found.pair, strict=False))

    def matrix(diagonal: int, apart: tuple[int, int]) -> Tensor:
        found: Tensor = torch.diag_embed(single[diagonal]) + pair[apart]
        return found

    means = PairMeans(
        slope=single[SLOPE],
        value=single[VALUE],
        slope_value=matrix(SLOPE_VALUE, (SLOPE, VALUE)),
        slopes=matrix(SLOPE2, (SLOPE, SLOPE)),
        values=matrix(VALUE2, (VALUE, VALUE)),
        curvature=_curvature(pieces, fields, head, covariance),
    )
    if not len(pieces.kinks):
        noise = float(pieces.slopes[0]) ** 2 * square_of(head, means.value, means.values)
    else:
        noise = _noise(single, pair, head)
    return of_square_loss(fields, head, means, noise)


def _noise(single: Tensor, pair: dict[tuple[int, int], Tensor], head: Head) -> Tensor:
    """Return E[g'_k g'_l d_k d_l] of one or two units; of more 0."""
    slopes, pull, gram = pair[SLOPE, SLOPE], head.pull, head.gram
    size = gram.diagonal(dim1=-2, dim2=-1)  # (v vᵀ)_kk
    own = pull**2 * single[SLOPE2] - 2 * pull * size * single[SLOPE2_VALUE]
    own = own + size**2 * single[SLOPE2_VALUE2]
    if slopes.shape[-1] == 1:
        return own.unsqueeze(-1)
    if slopes.shape[-1] > 2:
        return torch.zeros_like(slopes)
    # d_k d_l is quadratic in two units, whose moments are known.
    uk, ul = pull.unsqueeze(-1), pull.unsqueeze(-2)
    kk, ll = size.unsqueeze(-1), size.unsqueeze(-2)
    apart = (
        uk * ul * slopes
        - (uk * gram + ul * kk) * pair[SLOPE_VALUE, SLOPE]
        - (ul * gram + uk * ll) * pair[SLOPE, SLOPE_VALUE]
        + kk * gram * pair[SLOPE_VALUE2, SLOPE]
        + ll * gram * pair[SLOPE, SLOPE_VALUE2]
        + (kk * ll + gram**2) * pair[SLOPE_VALUE, SLOPE_VALUE]
    )
    cross = uk * pair[SLOPE2, VALUE] - kk * pair[SLOPE2_VALUE, VALUE]
    own = own + (gram**2 * pair[SLOPE2, VALUE2] - 2 * gram * cross).sum(-1)
    same = torch.eye(2, dtype=torch.bool, device=slopes.device)
    return torch.where(same, torch.diag_embed(own), apart)


def _curvature(pieces: PiecewiseLinear, fields: Fields, head: Head, covariance: Tensor) -> Tensor:
    r"""Return $E[g''(\lambda_k) d_k]$ exactly, shape `(..., C, K)`.

    g'' is a jump J at each kink c, so this is $J\,N(c; m_k, Q_{kk})\,((v y)_k - \sum_i
    (v v^T)_{ki} E[g(\lambda_i) | \lambda_k = c])$, and given one field the others are single
    Gaussians.
    """
    mean, pull, gram = fields.mean, head.pull, head.gram
    variance = covariance.diagonal(dim1=-2, dim2=-1)
    frozen = variance <= 0
    safe = torch.where(frozen, torch.ones_like(variance), variance)
    share = covariance / safe.unsqueeze(-2)  # [i, k] = Q_ik / Q_kk
    left = variance.unsqueeze(-1) - share * covariance
    moves = left > 0
    spread = torch.where(moves, left, torch.ones_like(left)).sqrt()
    spread = torch.where(moves, spread, torch.zeros_like(left))
    total = torch.zeros_like(mean)
    for kink, jump in pieces.bends():
        distance = kink - mean
        height = density(distance / safe.sqrt()) / safe.sqrt()
        conditional = mean.unsqueeze(-1) + share * distance.unsqueeze(-2)  # [i, k]
        given = pull - (gram * mean_value(pieces, conditional, spread)).sum(-2)
        total = total + jump * torch.where(frozen, torch.zeros_like(height), height) * given
    return total
