r"""Moments of networks of erf units over Gaussian fields, in closed form; in torch.

A factor g'_k leaves the fields Gaussian (`gmmdyn.gaussian.error_function`, where the formulas are).
Two of them make the noise an expectation of Delta² over another Gaussian, of pairs of units again;
and g'' = -x g', whose expectation with Delta Stein's lemma gives. Identical units are no special
case: |rho| < 1 always.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from gmmdyn.gaussian.error_function import mean_value, products, tilted
from gmmdyn.interfaces import Fields, Moments


class Closed(NamedTuple):
    """What closed forms give.

    Attributes:
        moments: of the error signal.
        pmse: shape `(..., C)`.
        slope: E[g'], shape `(..., C, K)`.
    """

    moments: Moments
    pmse: Tensor
    slope: Tensor


def moments(fields: Fields) -> Closed:
    """Compute the moments and the pmse of a network of erf units.

    Args:
        fields: the distribution of the local fields and the network.

    Returns:
        The moments, the pmse and the mean slopes.
    """
    shape = fields.mean.shape
    m, q = fields.mean, fields.covariance.expand(*shape, shape[-1])
    y, v = fields.labels.to(m)[:, None], fields.readout.unsqueeze(-2)  # (C, 1), (..., 1, K)
    value, both = mean_value(m, q.diagonal(dim1=-2, dim2=-1)), products(m, q)
    slope, m1, q1 = tilted(m, q)  # by unit k: (..., C, K), (..., C, K, K), (..., C, K, K, K)
    value1 = mean_value(m1, q1.diagonal(dim1=-2, dim2=-1))
    slope1, m2, q2 = tilted(m1, q1)  # by units k and l
    v1 = v.unsqueeze(-2)
    own = m1.diagonal(dim1=-2, dim2=-1)  # the mean of field k itself
    stir = (q1.diagonal(dim1=-3, dim2=-2).mT * slope1 * v1).sum(-1)  # sum_i v_i Q'_ki E'[g'_i]
    bend = own * (y - (value1 * v1).sum(-1)) - stir
    curvature = -slope * bend
    found = Moments(
        drive=slope * (y - (value1 * v1).sum(-1)),
        noise=slope.unsqueeze(-1) * slope1 * _square(m2, q2, y[..., None, None], v1.unsqueeze(-2)),
        stein=torch.diag_embed(curvature) - slope.unsqueeze(-1) * slope1 * v1,
        readout=y * value - (both @ v.unsqueeze(-1)).squeeze(-1),
    )
    return Closed(found, 0.5 * _square(m, q, y, v).squeeze(-1), slope)


def _square(m: Tensor, q: Tensor, y: Tensor, v: Tensor) -> Tensor:
    """Return E[Delta²]; y and v broadcast against (..., 1) and (..., K)."""
    value, both = mean_value(m, q.diagonal(dim1=-2, dim2=-1)), products(m, q)
    mean = (v * value).sum(-1)
    return (
        y.squeeze(-1) ** 2
        - 2 * y.squeeze(-1) * mean
        + (v * (both @ v.unsqueeze(-1)).squeeze(-1)).sum(-1)
    )
