r"""Moments of networks of erf units over Gaussian fields, in closed form; in torch.

g(x) = erf(x/√2) is 2 Φ(x) - 1, and Φ(λ) the probability that an independent normal number lies
below λ. So, with s_k = 1/√(1 + Q_kk), a_k = m_k s_k and rho = Q_kl s_k s_l,

    E[g_k] = 2 Φ(a_k) - 1,    E[g_k g_l] = 4 Φ2(a_k, a_l; rho) - 2 Φ(a_k) - 2 Φ(a_l) + 1.

g' is √(2/π) exp(-x²/2): a factor g'_k leaves the fields Gaussian, with mean and covariance

    m - Q_.k m_k s_k²,    Q - Q_.k Q_k. s_k²,    and weight E[g'_k] = √(2/π) s_k exp(-a_k²/2).

Two of them make the noise an expectation of d_k d_l over another Gaussian, of pairs of units again;
and g'' = -x g', whose expectation with Delta Stein's lemma gives. Identical units are no special
case: |rho| < 1 always.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from gmmdyn.gaussian.normal import cdf2
from gmmdyn.interfaces import Fields
from gmmdyn_integrators._outputs import Exact, Head, PairMeans, of_square_loss


def moments(fields: Fields) -> Exact:
    """Compute the moments and the pmse of a network of erf units.

    Args:
        fields: the distribution of the local fields and the network.

    Returns:
        The moments, the pmse and the mean slopes.
    """
    shape, head = fields.mean.shape, Head.of(fields)
    m, q = fields.mean, fields.covariance.expand(*shape, shape[-1])
    pull, gram = head.pull, head.gram  # (..., C, K), (..., 1, K, K)
    value, both = _outputs(m, q)
    slope, m1, q1 = _tilted(m, q)  # by unit k: (..., C, K), (..., C, K, K), (..., C, K, K, K)
    value1, _ = _outputs(m1, q1, pairs=False)
    slope1, m2, q2 = _tilted(m1, q1)  # by units k and l
    own = m1.diagonal(dim1=-2, dim2=-1)  # the mean of field k itself
    # sum_i (v vᵀ)_ki Q'_ki E'[g'_i]
    stir = (q1.diagonal(dim1=-3, dim2=-2).mT * slope1 * gram).sum(-1)
    bend = own * (pull - (gram * value1).sum(-1)) - stir
    slopes = slope.unsqueeze(-1) * slope1
    means = PairMeans(
        slope=slope,
        value=value,
        slope_value=slope.unsqueeze(-1) * value1,
        slopes=slopes,
        values=both,
        curvature=-slope * bend,
    )
    return of_square_loss(fields, head, means, slopes * _square(m2, q2, pull, gram))


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


def _square(m: Tensor, q: Tensor, pull: Tensor, gram: Tensor) -> Tensor:
    """Return E[d_k d_l] over the Gaussian [k, l] of m `(..., K, K, K)` and q, `(..., C, K, K)`."""
    value, both = _outputs(m, q)
    one, two = gram.unsqueeze(-2), gram.unsqueeze(-3)  # [k, ., i] and [., l, i]
    first, second = (one * value).sum(-1), (two * value).sum(-1)
    product = (one.unsqueeze(-2) @ both @ two.unsqueeze(-1)).squeeze((-2, -1))
    pull_k, pull_l = pull.unsqueeze(-1), pull.unsqueeze(-2)
    return pull_k * pull_l - pull_k * second - pull_l * first + product
