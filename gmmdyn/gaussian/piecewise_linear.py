r"""Expectations of one piecewise-linear unit under a Gaussian field, in closed form.

On the piece where m lies g is a line; the rest are ramps J (±(x - c))_+ that open away from m, so
that nothing large cancels when a kink is far. With d the distance of m from the kink c,

    P(open) = Φ(-d/s),    E[ramp] = s φ(d/s) - d Φ(-d/s).

Shapes: J kinks; E = J + 1 edges, the kinks and minus infinity before them.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from gmmdyn.gaussian.hermite import Nonlinearity, UnitCumulants, UnitMoments
from gmmdyn.gaussian.normal import cdf, density

# Beyond this many standard deviations the normal density underflows.
FAR = 40.0

# The polynomials of one unit, in the order of `PiecewiseLinear.jumps`.
SLOPE, VALUE, SLOPE_VALUE, SLOPE_VALUE2, VALUE2, SLOPE2, SLOPE2_VALUE, SLOPE2_VALUE2 = range(8)


class PiecewiseLinear(NamedTuple):
    """A piecewise-linear activation g as numbers.

    Attributes:
        kinks: where its slope changes, shape `(J,)`, increasing.
        offsets: of g(x) = o + s x on each piece, shape `(J + 1,)`.
        slopes: s, shape `(J + 1,)`.
        jumps: by how much the polynomials g', g, g'g, g'g², g², g'², g'²g and g'²g² (in this order)
            change at each edge: coefficients of 1, x and x², shape `(8, E, 3)`. At minus infinity
            each changes from 0 to its first piece.
    """

    kinks: np.ndarray
    offsets: np.ndarray
    slopes: np.ndarray
    jumps: np.ndarray

    @classmethod
    def of(cls, activation: Nonlinearity) -> PiecewiseLinear:
        """Return an activation that declares its `slopes` as numbers."""
        kinks, s = np.array(activation.kinks, dtype=float), np.array(activation.slopes, dtype=float)
        anchor = min(activation.kinks, default=0.0)
        value = float(activation.forward(torch.tensor([anchor], dtype=torch.float64)))
        # Continuity fixes the offsets of the other pieces.
        steps = np.concatenate([[value - s[0] * anchor], -np.diff(s) * kinks])
        o = np.cumsum(steps)
        zero = np.zeros_like(s)
        polynomials = [
            (s, zero, zero),
            (o, s, zero),
            (s * o, s**2, zero),
            (s * o**2, 2 * s**2 * o, s**3),
            (o**2, 2 * o * s, s**2),
            (s**2, zero, zero),
            (s**2 * o, s**3, zero),
            (s**2 * o**2, 2 * s**3 * o, s**4),
        ]
        coefficients = np.array(polynomials).swapaxes(1, 2)  # (8, J + 1, 3)
        jumps = np.ascontiguousarray(np.diff(coefficients, axis=1, prepend=0.0))
        return cls(kinks, o, s, jumps)

    def bends(self) -> list[tuple[float, float]]:
        """Return each kink and by how much the slope changes there."""
        return list(zip(self.kinks.tolist(), np.diff(self.slopes).tolist(), strict=True))


def _column(values: np.ndarray, like: Tensor) -> Tensor:
    """Return numbers of kinks or pieces on an axis before those of a tensor."""
    return torch.from_numpy(values).to(like).reshape(-1, *(1 for _ in like.shape))


class Ramps(NamedTuple):
    """The ramps (±(x - c))_+ of a unit, each of shape `(J, ...)`.

    Attributes:
        side: +1 for those that open to the right.
        distance: of m from the kink.
        ratio: the distance in deviations.
        open: the probability that a ramp is not 0.
        density: the standard normal density at the ratio.
        mean: of the ramp.
        square: mean of its square.
    """

    side: Tensor
    distance: Tensor
    ratio: Tensor
    open: Tensor
    density: Tensor
    mean: Tensor
    square: Tensor


def ramps_of(unit: PiecewiseLinear, mean: Tensor, deviation: Tensor) -> Ramps:
    """Return the ramps of a unit of x ~ N(mean, deviation²)."""
    apart = mean - _column(unit.kinks, mean)
    side = 1 - 2 * (apart > 0).to(mean)
    d, s = -side * apart, deviation
    noisy = s > 0
    ratio = d / torch.where(noisy, s, torch.ones_like(s))
    ratio = torch.where(noisy, ratio, torch.full_like(ratio, FAR)).clamp_max(FAR)
    chance, height = cdf(-ratio), density(ratio)
    # Below 0 by rounding only, and only where the chance itself is below 1e-15 or so.
    ramp = (s * height - d * chance).clamp_min(0)
    square = ((s**2 + d**2) * chance - d * s * height).clamp_min(0)
    return Ramps(side, d, ratio, chance, height, ramp, square)


def line(unit: PiecewiseLinear, mean: Tensor) -> tuple[Tensor, Tensor]:
    """Return g(m), and the slope of the piece on which m lies."""
    piece = torch.bucketize(mean.detach().contiguous(), torch.from_numpy(unit.kinks).to(mean))
    offsets, slopes = (torch.from_numpy(part).to(mean)[piece] for part in unit[1:3])
    return offsets + slopes * mean, slopes


def summed(jumps: np.ndarray, values: Tensor) -> Tensor:
    """Sum over kinks, the first axis of the values."""
    return torch.einsum("j,j...->...", torch.from_numpy(jumps).to(values), values)


def mean_value(unit: PiecewiseLinear, mean: Tensor, deviation: Tensor) -> Tensor:
    """Return E[g(x)] for x ~ N(mean, deviation²), of any shape; differentiable."""
    value, _ = line(unit, mean)
    return value + summed(np.diff(unit.slopes), ramps_of(unit, mean, deviation).mean)


def moments(unit: PiecewiseLinear, mean: Tensor, deviation: Tensor) -> UnitMoments:
    """Compute the moments of one unit; see `unit_moments`."""
    value, slope = line(unit, mean)
    jumps, ramps = np.diff(unit.slopes), ramps_of(unit, mean, deviation)
    rise, tilt = summed(jumps, ramps.mean), summed(jumps, ramps.side * ramps.open)
    square, d = summed(jumps**2, ramps.square), ramps.distance
    for j in range(len(jumps)):
        for k in range(j):
            # On one side of m the farther ramp decides; on opposite sides never both are open.
            same, far = ramps.side[j] == ramps.side[k], d[j] > d[k]
            ramp = torch.where(far, ramps.mean[j], ramps.mean[k])
            both = torch.where(far, ramps.square[j], ramps.square[k]) + (d[j] - d[k]).abs() * ramp
            square = square + float(2 * jumps[j] * jumps[k]) * torch.where(same, both, 0.0)
    residual = (square - rise**2 - (deviation * tilt) ** 2).clamp_min(0)
    return UnitMoments(value + rise, slope + tilt, residual)


def cumulants(unit: PiecewiseLinear, mean: Tensor, deviation: Tensor) -> UnitCumulants:
    """Compute the cumulants piece by piece; see `unit_cumulants`. Good to rounding of g(m)."""
    noisy = deviation > 0
    safe = torch.where(noisy, deviation, torch.ones_like(deviation))
    kinks = _column(unit.kinks, mean)
    stuck = torch.where(kinks >= mean, FAR, -FAR).to(mean)
    inner = torch.where(noisy, (kinks - mean) / safe, stuck).clamp(-FAR, FAR)
    end = torch.full_like(mean, FAR).unsqueeze(0)
    edges = torch.cat([-end, inner, end])
    # E[xi^n; on the piece] for n up to 4, shape (J + 1, ...) each
    near = density(edges)
    powers = [cdf(edges).diff(dim=0), -near.diff(dim=0)]
    for n in range(2, 5):
        powers.append((n - 1) * powers[n - 2] - (edges ** (n - 1) * near).diff(dim=0))
    # On each piece g - E g is height + rise xi.
    offsets, slopes = _column(unit.offsets, mean), _column(unit.slopes, mean)
    height = offsets + slopes * mean - mean_value(unit, mean, deviation)
    rise = slopes * deviation
    # and its powers times xi^n have the means
    one = [height * powers[n] + rise * powers[n + 1] for n in range(4)]
    two = [height * one[n] + rise * one[n + 1] for n in range(3)]
    found = [
        one[1],
        (one[2] - one[0]) / math.sqrt(2),
        (one[3] - 3 * one[1]) / math.sqrt(6),
        two[1],
        (two[2] - two[0]) / math.sqrt(2),
        height * two[0] + rise * two[1],
    ]
    return UnitCumulants(*(part.sum(0) for part in found))
