"""Moments of networks of piecewise-linear units, from those of units and of pairs; in torch."""

from __future__ import annotations

from typing import NamedTuple

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
from gmmdyn.gaussian.piecewise_linear_pairs import PAIRS, Expectations, expectations
from gmmdyn.interfaces import Fields, Moments


class Exact(NamedTuple):
    """What pairs of units determine.

    Attributes:
        moments: all moments; of more than two units with kinks, a noise of 0.
        pmse: shape `(..., C)`.
        slope: E[g'], shape `(..., C, K)`.
    """

    moments: Moments
    pmse: Tensor
    slope: Tensor


def moments(pieces: PiecewiseLinear, fields: Fields) -> Exact:
    """Compute what pairs of units determine.

    Args:
        pieces: the activation.
        fields: the distribution of the local fields and the network.

    Returns:
        The moments and the pmse.
    """
    shape = fields.mean.shape
    covariance = fields.covariance.expand(*shape, shape[-1])
    found = expectations(pieces, fields.mean, covariance)
    single = found.single
    pair = dict(zip(PAIRS, found.pair, strict=False))
    y = fields.labels.to(fields.mean)[:, None]
    v = fields.readout.unsqueeze(-2)  # (..., 1, K)

    def matrix(diagonal: int, apart: tuple[int, int]) -> Tensor:
        found: Tensor = torch.diag_embed(single[diagonal]) + pair[apart]
        return found

    def applied(pairs: Tensor) -> Tensor:
        return (pairs @ v.unsqueeze(-1)).squeeze(-1)

    both_values = matrix(VALUE2, (VALUE, VALUE))
    outputs = v * single[VALUE]
    pmse = 0.5 * y**2 - y * outputs.sum(-1, keepdim=True)
    pmse = (pmse + 0.5 * (v * applied(both_values)).sum(-1, keepdim=True)).squeeze(-1)
    curvature = _curvature(pieces, fields, covariance)
    slopes = matrix(SLOPE2, (SLOPE, SLOPE))
    all_moments = Moments(
        drive=y * single[SLOPE] - applied(matrix(SLOPE_VALUE, (SLOPE, VALUE))),
        noise=_noise(pieces, found, pair, y, v, pmse),
        stein=torch.diag_embed(curvature) - slopes * v.unsqueeze(-2),
        readout=y * single[VALUE] - applied(both_values),
    )
    return Exact(all_moments, pmse, single[SLOPE])


def _noise(
    pieces: PiecewiseLinear,
    found: Expectations,
    pair: dict[tuple[int, int], Tensor],
    y: Tensor,
    v: Tensor,
    pmse: Tensor,
) -> Tensor:
    """Return E[g'_k g'_l Delta²] of one or two units or of any number without kinks; else 0."""
    single, slopes = found.single, pair[SLOPE, SLOPE]
    if not len(pieces.kinks):
        square = 2 * float(pieces.slopes[0]) ** 2 * pmse
        return square[..., None, None].expand_as(slopes)
    own = y**2 * single[SLOPE2] - 2 * y * v * single[SLOPE2_VALUE]
    own = own + v**2 * single[SLOPE2_VALUE2]
    if v.shape[-1] == 1:
        return own.unsqueeze(-1)
    if v.shape[-1] > 2:
        return torch.zeros_like(slopes)
    # Delta is quadratic in two units, whose moments are known.
    y, vk, vl = y.unsqueeze(-1), v.unsqueeze(-1), v.unsqueeze(-2)
    apart = (
        y**2 * slopes
        - 2 * y * (vk * pair[SLOPE_VALUE, SLOPE] + vl * pair[SLOPE, SLOPE_VALUE])
        + vk**2 * pair[SLOPE_VALUE2, SLOPE]
        + vl**2 * pair[SLOPE, SLOPE_VALUE2]
        + 2 * vk * vl * pair[SLOPE_VALUE, SLOPE_VALUE]
    )
    cross = y * pair[SLOPE2, VALUE] - vk * pair[SLOPE2_VALUE, VALUE]
    own = own + (vl**2 * pair[SLOPE2, VALUE2] - 2 * vl * cross).sum(-1)
    same = torch.eye(2, dtype=torch.bool, device=v.device)
    return torch.where(same, torch.diag_embed(own), apart)


def _curvature(pieces: PiecewiseLinear, fields: Fields, covariance: Tensor) -> Tensor:
    r"""Return $E[g''(\lambda_k)\Delta]$ exactly, shape `(..., C, K)`.

    g'' is a jump J at each kink c, so this is $J\,N(c; m_k, Q_{kk})\,(y - \sum_i v_i
    E[g(\lambda_i) | \lambda_k = c])$, and given one field the others are single Gaussians.
    """
    mean = fields.mean
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
        output = fields.readout[..., None, None, :] @ mean_value(pieces, conditional, spread)
        given = fields.labels.to(mean)[:, None] - output.squeeze(-2)
        total = total + jump * torch.where(frozen, torch.zeros_like(height), height) * given
    return total
