r"""Moments of networks of erf units over Gaussian fields, in closed form; in torch.

g(x) = erf(x/√2) is 2 Φ(x) - 1, and Φ(λ) the probability that an independent normal number lies
below λ. So, with s_k = 1/√(1 + Q_kk), a_k = m_k s_k and rho = Q_kl s_k s_l,

    E[g_k] = 2 Φ(a_k) - 1,    E[g_k g_l] = 4 Φ2(a_k, a_l; rho) - 2 Φ(a_k) - 2 Φ(a_l) + 1.

g' is √(2/π) exp(-x²/2): a factor g'_k leaves the fields Gaussian, with mean and covariance

    m - Q_.k m_k s_k²,    Q - Q_.k Q_k. s_k²,    and weight E[g'_k] = √(2/π) s_k exp(-a_k²/2).

Two of them make the noise an expectation of Delta² over another Gaussian, of pairs of units again;
and g'' = -x g', whose expectation with Delta Stein's lemma gives. Identical units are no special
case: |rho| < 1 always.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from gmmdyn.gaussian import cdf2
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
    value, both = _outputs(m, q)
    slope, m1, q1 = _tilted(m, q)  # by unit k: (..., C, K), (..., C, K, K), (..., C, K, K, K)
    value1, _ = _outputs(m1, q1, pairs=False)
    slope1, m2, q2 = _tilted(m1, q1)  # by units k and l
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


def _outputs(m: Tensor, q: Tensor, pairs: bool = True) -> tuple[Tensor, Tensor]:
    """Return E[g_k], shape `(..., K)`, and E[g_k g_l], shape `(..., K, K)`."""
    s = torch.rsqrt(1 + q.diagonal(dim1=-2, dim2=-1))
    a = m * s
    value = torch.erf(a / math.sqrt(2))
    if not pairs:
        return value, value
    rho = q * s.unsqueeze(-1) * s.unsqueeze(-2)
    joint = cdf2(a.unsqueeze(-1), a.unsqueeze(-2), rho)
    return value, 4 * joint - value.unsqueeze(-1) - value.unsqueeze(-2) - 1


def _tilted(m: Tensor, q: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return E[g'_k], and the mean and covariance under the factor g'_k, k on a new axis."""
    square = 1 / (1 + q.diagonal(dim1=-2, dim2=-1))  # s_k²
    weight = torch.sqrt(2 / math.pi * square) * torch.exp(-0.5 * m * m * square)
    mean = m.unsqueeze(-2) - q.mT * (m * square).unsqueeze(-1)  # [k, i]
    outer = q.mT.unsqueeze(-1) * q.mT.unsqueeze(-2)  # [k, i, j] = Q_ik Q_jk
    return weight, mean, q.unsqueeze(-3) - outer * square[..., None, None]


def _square(m: Tensor, q: Tensor, y: Tensor, v: Tensor) -> Tensor:
    """Return E[Delta²]; y and v broadcast against (..., 1) and (..., K)."""
    value, both = _outputs(m, q)
    mean = (v * value).sum(-1)
    return (
        y.squeeze(-1) ** 2
        - 2 * y.squeeze(-1) * mean
        + (v * (both @ v.unsqueeze(-1)).squeeze(-1)).sum(-1)
    )
