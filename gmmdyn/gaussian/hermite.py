r"""Units of any smooth nonlinearity: Hermite coefficients, and Mehler's series for pairs.

With u = m + s xi and the normalised Hermite polynomials h_0 = 1, h_1 = xi, h_2 = (xi² - 1)/√2, ...
a nonlinearity is psi(u) = Σ_k c_k h_k(xi), and two units of correlation rho have the covariance
Σ_{k>0} c_k c'_k rho^k. Integrals over xi are sums by the trapezoidal rule, which for a smooth
function converges faster than any power of its step.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

# Beyond this many standard deviations a Gaussian is below the rounding errors of a double, also
# times a polynomial of single units; times the root of it, as of Mehler's terms.
_REACH, _WIDE = 10.0, 20.0
# Terms of Mehler's series; the terms decay like rho^k.
_TERMS = 64
# Numbers held at once, which fit into a cache.
_NUMBERS = 2**17


class Nonlinearity(Protocol):
    """What the formulas need of an `Activation`, whose package imports this one."""

    @property
    def kinks(self) -> tuple[float, ...]:
        """Where the slope jumps."""

    @property
    def slopes(self) -> tuple[float, ...]:
        """The slope of each piece of a piecewise-linear one."""

    @property
    def closed_form(self) -> str | None:
        """The name of its closed forms."""

    def forward(self, x: Tensor) -> Tensor:
        """Evaluate it."""

    def derivative(self, x: Tensor) -> Tensor:
        """Evaluate its slope."""


class UnitMoments(NamedTuple):
    """Moments of psi(u), u ~ N(m, s²), each of the shape of m and s.

    Attributes:
        mean: E[psi(u)].
        slope: E[psi'(u)].
        residual: Var psi(u) - slope² s², not negative.
    """

    mean: Tensor
    slope: Tensor
    residual: Tensor


class UnitCumulants(NamedTuple):
    """Moments of c = psi(u) - E psi(u) with u = m + s xi, each of the shape of m and s.

    With the normalised Hermite polynomials h_1 = xi, h_2 = (xi² - 1)/√2 and h_3 = (xi³ - 3 xi)/√6.

    Attributes:
        first: E[c h_1].
        second: E[c h_2].
        third: E[c h_3].
        square_first: E[c² h_1].
        square_second: E[c² h_2].
        cube: E[c³].
    """

    first: Tensor
    second: Tensor
    third: Tensor
    square_first: Tensor
    square_second: Tensor
    cube: Tensor


def _polynomials(xi: Tensor, degree: int) -> Tensor:
    """Return h_0 to h_degree at points `(n,)`, shape `(degree + 1, n)`."""
    found = [torch.ones_like(xi), xi]
    for k in range(1, degree):
        found.append((xi * found[k] - math.sqrt(k) * found[k - 1]) / math.sqrt(k + 1))
    return torch.stack(found)


def _integrals(
    activation: Nonlinearity,
    mean: Tensor,
    deviation: Tensor,
    degree: int,
    rule: Callable[[Tensor, Tensor, Tensor], Sequence[Tensor]],
    reach: float = _REACH,
) -> list[Tensor]:
    """Apply a rule to the values of units at the nodes.

    Args:
        activation: psi.
        mean: m, any shape.
        deviation: s, same shape.
        degree: of the Hermite polynomials that the rule needs, at least 1.
        rule: from psi(m + s xi) at n nodes, shape `(N, n)`, the weights of the nodes, `(n,)`, and
            the polynomials there, `(degree + 1, n)`, to integrals of shape `(N,)`.
        reach: of the nodes.

    Returns:
        The integrals, of the shape of the mean.
    """
    # The step resolves what varies on a scale of 1 in the field, and the squares of it.
    step = min(0.1, 0.25 / max(float(deviation.max()), 1e-9))
    count = 2 * math.ceil(reach / step) + 1
    nodes = torch.linspace(-reach, reach, count, dtype=mean.dtype, device=mean.device)
    weights = torch.exp(-0.5 * nodes**2)
    weights, polynomials = weights / weights.sum(), _polynomials(nodes, degree)
    rows = max(1, _NUMBERS // count)
    parts = []
    with torch.no_grad():
        blocks = (torch.split(part.reshape(-1, 1), rows) for part in (mean, deviation))
        for m, s in zip(*blocks, strict=True):
            parts.append(rule(activation.forward(torch.addcmul(m, s, nodes)), weights, polynomials))
    return [torch.cat(part).reshape(mean.shape) for part in zip(*parts, strict=True)]


def mean_value(activation: Nonlinearity, mean: Tensor, deviation: Tensor) -> Tensor:
    """Compute the mean of one unit; see `unit_mean`."""
    (found,) = _integrals(activation, mean, deviation, 1, lambda g, w, h: [g @ w])
    return found


def moments(activation: Nonlinearity, mean: Tensor, deviation: Tensor) -> UnitMoments:
    """Compute the moments of one unit; see `unit_moments`."""

    def rule(g: Tensor, w: Tensor, h: Tensor) -> Sequence[Tensor]:
        first_two = g @ (w * h).mT
        return *first_two.unbind(1), (g - first_two @ h) ** 2 @ w

    value, first, residual = _integrals(activation, mean, deviation, 1, rule)
    noisy = deviation > 0
    slope = first / torch.where(noisy, deviation, torch.ones_like(deviation))
    if not bool(noisy.all()):
        slope = torch.where(noisy, slope, activation.derivative(mean).detach())
    return UnitMoments(value, slope, residual)


def cumulants(activation: Nonlinearity, mean: Tensor, deviation: Tensor) -> UnitCumulants:
    """Compute the cumulants of one unit; see `unit_cumulants`."""

    def rule(g: Tensor, w: Tensor, h: Tensor) -> Sequence[Tensor]:
        centred = g - (g @ w).unsqueeze(1)
        square, along = centred**2, (w * h).mT
        coefficients, squares = centred @ along[:, 1:], square @ along[:, 1:3]
        return *coefficients.unbind(1), *squares.unbind(1), (square * centred) @ w

    return UnitCumulants(*_integrals(activation, mean, deviation, 3, rule))


def covariances(
    activation: Nonlinearity,
    first: tuple[Tensor, Tensor],
    second: tuple[Tensor, Tensor],
    covariance: Tensor,
) -> Tensor:
    """Sum Mehler's series for pairs of units; see `pair_covariance`."""

    def coefficients(mean: Tensor, deviation: Tensor) -> list[Tensor]:
        return _integrals(
            activation, mean, deviation, _TERMS, lambda g, w, h: (g @ (w * h).mT).unbind(1), _WIDE
        )

    left, right = (coefficients(*fields) for fields in (first, second))
    outer = first[1].unsqueeze(1) * second[1]
    rho = torch.where(outer > 0, covariance / outer, torch.zeros_like(outer)).clamp(-1, 1)
    total = torch.zeros_like(rho)
    for one, two in zip(left[:0:-1], right[:0:-1], strict=True):  # Horner
        total = rho * torch.addcmul(total, one.unsqueeze(1), two)
    return total
