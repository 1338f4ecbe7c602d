r"""Expectations of two piecewise-linear units under Gaussian fields, in closed form.

A piecewise polynomial of a unit is a sum of polynomials that set in at kinks, so an expectation of
two units is a sum of moments of a bivariate normal truncated to an orthant (Rosenbaum, JRSS B 23,
405 (1961)). In standard units U, V of correlation rho, with alpha = (m - c)/tau, r = sqrt(1 -
rho²), the indicator 1 of U > -alpha and V > -beta, A = φ(alpha) Φ((beta - rho alpha)/r) and its
mirror image B, and G = r φ(alpha) φ((beta - rho alpha)/r):

    E[1] = Φ2(alpha, beta; rho)            E[U 1] = A + rho B
    E[UV 1] = rho (E[1] - alpha A - beta B) + G
    E[U² 1] = E[1] - alpha A - rho² beta B + rho G

Shapes: J kinks; E = J + 1 edges, the kinks and minus infinity before them.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from gmmdyn.gaussian.normal import cdf, cdf2, density
from gmmdyn.gaussian.piecewise_linear import FAR, PiecewiseLinear, line, ramps_of, summed

# Equal or opposite units have correlation ±1; this much less moves an expectation by 1e-8 or so.
_NEAREST = 1e-15

# The products of two units whose expectations are needed, by the numbers of
# `PiecewiseLinear.jumps`: the first ones for the drift and the pmse, all of them for the noise of a
# network of two units.
DRIFT_PAIRS = 4
PAIRS = (
    *((0, 0), (0, 1), (1, 0), (1, 1)),
    *((2, 0), (0, 2), (3, 0), (0, 3), (2, 2), (5, 1), (6, 1), (5, 4), (1, 5), (1, 6), (4, 5)),
)


def covariances(
    unit: PiecewiseLinear,
    first: tuple[Tensor, Tensor],
    second: tuple[Tensor, Tensor],
    covariance: Tensor,
) -> Tensor:
    """Compute the covariances of pairs of units; see `pair_covariance`."""
    from gmmdyn.gaussian.compiled import ramp_covariances  # numba is heavy

    jumps = np.diff(unit.slopes)
    arrays, slopes, tilts = [], [], []
    for mean, deviation in (first, second):
        ramps = ramps_of(unit, mean, deviation)
        slopes.append(line(unit, mean)[1])
        tilts.append(summed(jumps, ramps.side * ramps.open))
        parts = (ramps.side, ramps.ratio, ramps.open, ramps.density, ramps.mean)
        arrays.append((deviation.contiguous().numpy(), torch.stack(parts).numpy()))
    linear = slopes[0].unsqueeze(1) * (slopes[1] + tilts[1]) + tilts[0].unsqueeze(1) * slopes[1]
    rest = torch.empty(covariance.shape, dtype=torch.float64)
    (u, left), (v, right) = arrays
    ramp_covariances(u, left, v, right, jumps, covariance.contiguous().numpy(), rest.numpy())
    return linear * covariance + rest


class Expectations(NamedTuple):
    """Expectations of units and of pairs of units.

    Attributes:
        single: of the eight polynomials of `PiecewiseLinear.jumps`, shape `(8, ..., C, K)`.
        pair: E[p(x_k) q(x_l)] for (p, q) in `PAIRS`, shape `(15, ..., C, K, K)`, or the first
            `DRIFT_PAIRS` of them if there are more than two units; a unit with itself is left out
            (0).
    """

    single: Tensor
    pair: Tensor


def expectations(unit: PiecewiseLinear, mean: Tensor, covariance: Tensor) -> Expectations:
    """Compute the expectations of polynomials of one and two units of a network.

    Args:
        unit: the activation.
        mean: of the fields, shape `(..., C, K)`.
        covariance: of the fields, shape `(..., C, K, K)`, positive semi-definite.

    Returns:
        The expectations; differentiable.
    """
    jumps = torch.from_numpy(unit.jumps).to(mean)
    variance = covariance.diagonal(dim1=-2, dim2=-1)
    # A solver's trial may lie a little outside of the possible; `covariance_factor` sees to more.
    frozen = variance <= 0
    deviation = torch.where(frozen, torch.ones_like(variance), variance).sqrt()
    m = mean.unsqueeze(-1)
    above = m - torch.from_numpy(unit.kinks).to(mean)
    ratio = (above / deviation.unsqueeze(-1)).clamp(-FAR, FAR)
    stuck = torch.where(above > 0, FAR, -FAR)
    alpha = torch.where(frozen.unsqueeze(-1), stuck, ratio)
    alpha = torch.cat([torch.full_like(m, FAR), alpha], dim=-1)  # (..., C, K, E)
    tau = torch.where(frozen, torch.zeros_like(deviation), deviation)
    t = tau.unsqueeze(-1)

    up, dens = cdf(alpha), density(alpha)
    first = m * up + t * dens
    second = m * m * up + 2 * m * t * dens + t * t * (up - alpha * dens)
    single = torch.einsum("fea,...ea->f...", jumps, torch.stack([up, first, second], dim=-1))

    hidden = mean.shape[-1]
    outer = deviation.unsqueeze(-1) * deviation.unsqueeze(-2)
    same = torch.eye(hidden, dtype=torch.bool, device=mean.device)
    apart = ~(same | frozen.unsqueeze(-1) | frozen.unsqueeze(-2))
    rho = torch.where(apart, covariance / outer, torch.zeros_like(outer))
    rho = rho.clamp(-1 + _NEAREST, 1 - _NEAREST)[..., None, None]  # (..., C, K, K, 1, 1)
    powers = truncated(
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
    return Expectations(single, torch.where(same, torch.zeros_like(pair), pair))  # type: ignore[arg-type]


def truncated(
    mean: tuple[Tensor, Tensor],
    deviation: tuple[Tensor, Tensor],
    edges: tuple[Tensor, Tensor],
    rho: Tensor,
) -> dict[tuple[int, int], Tensor]:
    """Return moments of two fields over both above their kinks.

    Args:
        mean: of x_0 and x_1, any shapes that broadcast.
        deviation: likewise.
        edges: alpha and beta of the head of this module.
        rho: correlation, |rho| < 1.

    Returns:
        E[x_0^i x_1^j 1] by (i, j), i + j <= 2.
    """
    (m0, m1), (t0, t1) = mean, deviation
    a, b = edges
    r = torch.sqrt((1 - rho) * (1 + rho))
    far = (b - rho * a) / r
    both = cdf2(a, b, rho)
    one = density(a) * cdf(far)
    two = density(b) * cdf((a - rho * b) / r)
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
