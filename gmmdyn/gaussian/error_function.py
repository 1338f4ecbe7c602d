r"""Expectations of one and two erf units under Gaussian fields, in closed form.

g(x) = erf(x/√2) is 2 Φ(x) - 1, and Φ(λ) the probability that an independent normal number lies
below λ. So, with s_k = 1/√(1 + Q_kk), a_k = m_k s_k and rho = Q_kl s_k s_l,

    E[g_k] = 2 Φ(a_k) - 1,    E[g_k g_l] = 4 Φ2(a_k, a_l; rho) - 2 Φ(a_k) - 2 Φ(a_l) + 1.

g' is √(2/π) exp(-x²/2): a factor g'_k leaves the fields Gaussian, with mean and covariance

    m - Q_.k m_k s_k²,    Q - Q_.k Q_k. s_k²,    and weight E[g'_k] = √(2/π) s_k exp(-a_k²/2).

Identical units are no special case: |rho| < 1 always.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from gmmdyn.gaussian.hermite import UnitMoments
from gmmdyn.gaussian.normal import cdf2, density, excess


def mean_value(mean: Tensor, variance: Tensor) -> Tensor:
    """Return E[g(x)] for x ~ N(mean, variance), of any shape."""
    return torch.erf(mean * torch.rsqrt(2 * (1 + variance)))


def products(mean: Tensor, covariance: Tensor) -> Tensor:
    """Return E[g_k g_l] of fields of shape `(..., K)` and `(..., K, K)`, shape `(..., K, K)`."""
    s = torch.rsqrt(1 + covariance.diagonal(dim1=-2, dim2=-1))
    a = mean * s
    value = torch.erf(a / math.sqrt(2))
    rho = covariance * s.unsqueeze(-1) * s.unsqueeze(-2)
    joint = cdf2(a.unsqueeze(-1), a.unsqueeze(-2), rho)
    return 4 * joint - value.unsqueeze(-1) - value.unsqueeze(-2) - 1


def tilted(mean: Tensor, covariance: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return the Gaussian of the fields under a factor g'_k, for each k.

    Args:
        mean: shape `(..., K)`.
        covariance: shape `(..., K, K)`.

    Returns:
        E[g'_k], shape `(..., K)`, and the mean `(..., K, K)` and covariance `(..., K, K, K)` under
        the factor, k on the axis after the batch.
    """
    square = 1 / (1 + covariance.diagonal(dim1=-2, dim2=-1))  # s_k²
    weight = torch.sqrt(2 / math.pi * square) * torch.exp(-0.5 * mean * mean * square)
    moved = mean.unsqueeze(-2) - covariance.mT * (mean * square).unsqueeze(-1)  # [k, i]
    outer = covariance.mT.unsqueeze(-1) * covariance.mT.unsqueeze(-2)  # [k, i, j] = Q_ik Q_jk
    return weight, moved, covariance.unsqueeze(-3) - outer * square[..., None, None]


def moments(mean: Tensor, deviation: Tensor) -> UnitMoments:
    """Compute the moments of one unit; see `unit_moments`."""
    variance = deviation**2
    scale = torch.rsqrt(1 + variance)
    beta = mean * scale
    slope = 2 * density(beta) * scale
    spread = 4 * torch.from_numpy(excess(beta, beta, variance / (1 + variance)))
    return UnitMoments(
        mean_value(mean, variance), slope, (spread - slope**2 * variance).clamp_min(0)
    )


def covariances(
    first: tuple[Tensor, Tensor], second: tuple[Tensor, Tensor], covariance: Tensor
) -> Tensor:
    """Compute the covariances of pairs of units; see `pair_covariance`."""
    scales = [torch.rsqrt(1 + fields[1] ** 2) for fields in (first, second)]
    a, b = (fields[0] * scale for fields, scale in zip((first, second), scales, strict=True))
    rho = covariance * scales[0].unsqueeze(1) * scales[1]
    return 4 * torch.from_numpy(excess(a.unsqueeze(1), b, rho))
