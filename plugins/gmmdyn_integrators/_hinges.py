r"""Expectations of one or two piecewise-linear units over Gaussian fields, in closed form.

A piecewise polynomial of a unit is a sum of polynomials that set in at kinks, so an expectation of
two units is a sum of moments of a bivariate normal truncated to an orthant (Rosenbaum, JRSS B 23,
405 (1961)). In standard units U, V of correlation rho, with alpha = (m - c)/tau, r = sqrt(1 -
rho²), the indicator 1 of U > -alpha and V > -beta, A = phi(alpha) Phi((beta - rho alpha)/r) and its
mirror image B, and G = r phi(alpha) phi((beta - rho alpha)/r):

    E[1] = Phi2(alpha, beta; rho)            E[U 1] = A + rho B
    E[UV 1] = rho (E[1] - alpha A - beta B) + G
    E[U² 1] = E[1] - alpha A - rho² beta B + rho G

The compiled `_kernels_pairs.py` computes the same numbers. Shapes: J kinks, E = J + 1 with the one
at minus infinity.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from gmmdyn.gaussian.normal import cdf2, density
from gmmdyn_integrators._pieces import DRIFT_PAIRS, PAIRS, Pieces

# Beyond this many standard deviations the normal density underflows.
_FAR = 40.0
# Equal or opposite units have correlation ±1; this much less moves an expectation by 1e-8 or so.
_NEAREST = 1e-15


class Units(NamedTuple):
    """Expectations of units and of pairs of units.

    Attributes:
        single: of the eight polynomials of `Pieces.jumps`, shape `(8, ..., C, K)`.
        pair: E[p(x_k) q(x_l)] for (p, q) in `PAIRS`, shape `(15, ..., C, K, K)`, or the first
            `DRIFT_PAIRS` of them if there are more than two units; a unit with itself is left out
            (0).
    """

    single: Tensor
    pair: Tensor


def units(pieces: Pieces, mean: Tensor, covariance: Tensor) -> Units:
    """Compute the expectations of one and two units.

    Args:
        pieces: the activation.
        mean: of the fields, shape `(..., C, K)`.
        covariance: of the fields, shape `(..., C, K, K)`, positive semi-definite.

    Returns:
        The expectations.
    """
    jumps = torch.from_numpy(pieces.jumps).to(mean)
    variance = covariance.diagonal(dim1=-2, dim2=-1)
    # A solver's trial may lie a little outside of the possible; `covariance_factor` sees to more.
    frozen = variance <= 0
    deviation = torch.where(frozen, torch.ones_like(variance), variance).sqrt()
    m = mean.unsqueeze(-1)
    above = m - torch.from_numpy(pieces.kinks).to(mean)
    ratio = (above / deviation.unsqueeze(-1)).clamp(-_FAR, _FAR)
    stuck = torch.where(above > 0, _FAR, -_FAR)
    alpha = torch.where(frozen.unsqueeze(-1), stuck, ratio)
    alpha = torch.cat([torch.full_like(m, _FAR), alpha], dim=-1)  # (..., C, K, E)
    tau = torch.where(frozen, torch.zeros_like(deviation), deviation)
    t = tau.unsqueeze(-1)

    up, dens = torch.special.ndtr(alpha), density(alpha)
    first = m * up + t * dens
    second = m * m * up + 2 * m * t * dens + t * t * (up - alpha * dens)
    single = torch.einsum("fea,...ea->f...", jumps, torch.stack([up, first, second], dim=-1))

    hidden = mean.shape[-1]
    outer = deviation.unsqueeze(-1) * deviation.unsqueeze(-2)
    same = torch.eye(hidden, dtype=torch.bool, device=mean.device)
    apart = ~(same | frozen.unsqueeze(-1) | frozen.unsqueeze(-2))
    rho = torch.where(apart, covariance / outer, torch.zeros_like(outer))
    rho = rho.clamp(-1 + _NEAREST, 1 - _NEAREST)[..., None, None]  # (..., C, K, K, 1, 1)
    powers = _truncated(
        (mean[..., :, None, None, None], mean[..., None, :, None, None]),
        (tau[..., :, None, None, None], tau[..., None, :, None, None]),
        (alpha[..., :, None, :, None], alpha[..., None, :, None, :]),
        rho,
    )
    wanted = PAIRS if hidden == 2 else PAIRS[:DRIFT_PAIRS]
    left, right = jumps[[p for p, _ in wanted]], jumps[[q for _, q in wanted]]
    pair = sum(
        torch.einsum("fd,fe,...de->f...", left[..., i], right[..., j], moment)
        for (i, j), moment in powers.items()
    )
    return Units(single, torch.where(same, torch.zeros_like(pair), pair))  # type: ignore[arg-type]


def _truncated(
    mean: tuple[Tensor, Tensor],
    deviation: tuple[Tensor, Tensor],
    edges: tuple[Tensor, Tensor],
    rho: Tensor,
) -> dict[tuple[int, int], Tensor]:
    """Return E[x_k^i x_l^j 1] by (i, j), i + j <= 2, over both units above their kinks."""
    (m0, m1), (t0, t1) = mean, deviation
    a, b = edges
    r = torch.sqrt((1 - rho) * (1 + rho))
    far = (b - rho * a) / r
    both = cdf2(a, b, rho)
    one = density(a) * torch.special.ndtr(far)
    two = density(b) * torch.special.ndtr((a - rho * b) / r)
    flat = r * density(a) * density(far)
    u, v = one + rho * two, two + rho * one
    uv = rho * (both - a * one - b * two) + flat
    uu = both - a * one - rho * rho * b * two + rho * flat
    vv = both - b * two - rho * rho * a * one + rho * flat
    return {
        (0, 0): both,
        (1, 0): m0 * both + t0 * u,
        (0, 1): m1 * both + t1 * v,
        (1, 1): m0 * m1 * both + m0 * t1 * v + m1 * t0 * u + t0 * t1 * uv,
        (2, 0): m0 * m0 * both + 2 * m0 * t0 * u + t0 * t0 * uu,
        (0, 2): m1 * m1 * both + 2 * m1 * t1 * v + t1 * t1 * vv,
    }
