r"""Normal probabilities of one and two variables.

Of tensors (any device, batched, differentiable), and one of arrays. The formulas are those of
`gmmdyn.gaussian.compiled`, where the sources are.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(20)


def density(x: Tensor) -> Tensor:
    """Return φ(x), the standard normal density."""
    return torch.exp(-0.5 * x * x) / math.sqrt(2 * math.pi)


def cdf(x: Tensor) -> Tensor:
    """Return Φ(x), right in its leading digits in both tails, as `torch.special.ndtr` is not."""
    return 0.5 * torch.erfc(-x / math.sqrt(2))


def _moderate(a: Tensor, b: Tensor, rho: Tensor) -> Tensor:
    """Quadrature of Plackett's identity over the angle, for |rho| < 0.925."""
    squares, product, angle = 0.5 * (a * a + b * b), a * b, torch.asin(rho)
    total = torch.zeros_like(product)
    for node, weight in zip(_NODES, _WEIGHTS, strict=True):
        sine = torch.sin(0.5 * angle * (1 + node))
        total = total + weight * torch.exp((sine * product - squares) / (1 - sine * sine))
    independent = cdf(a) * cdf(b)
    result: Tensor = independent + total * angle / (4 * math.pi)
    return result


def _extreme(a: Tensor, b: Tensor, rho: Tensor) -> Tensor:
    """Quadrature of the difference from |rho| = 1, for 0.925 <= |rho| <= 1."""
    h, k = -a, torch.where(rho < 0, b, -b)
    left = (1 - rho) * (1 + rho)
    root = left.sqrt()
    gap, product = (h - k) ** 2, h * k
    c, d = (4 - product) / 8, (12 - product) / 16
    safe = torch.where(left > 0, left, torch.ones_like(left))
    series = 1 - c * (gap - left) * (1 - d * gap / 5) / 3 + c * d * left * left / 5
    total = root * torch.exp(-0.5 * (gap / safe + product)) * series
    far = gap.sqrt()
    tail = torch.exp(-0.5 * product) * math.sqrt(2 * math.pi) * cdf(-far / safe.sqrt()) * far
    # The bound only matters where `tail` is multiplied by 0, or to keep it from 0 times infinity.
    total = total - torch.where(product > -1400, tail, 0.0) * (1 - c * gap * (1 - d * gap / 5) / 3)
    for node, weight in zip(_NODES, _WEIGHTS, strict=True):
        square = (0.5 * root * (1 + node)) ** 2
        one = torch.sqrt(1 - square)
        exponent = -0.5 * (gap / torch.where(left > 0, square, torch.ones_like(square)) + product)
        exact = torch.exp(-0.5 * product * square / (1 + one) ** 2) / one
        rest = exact - (1 + c * square * (1 + d * square))
        term = 0.5 * root * weight * torch.exp(exponent) * rest
        total = total + torch.where(exponent > -700, term, 0.0)
    total = -torch.where(left > 0, total, 0.0) / (2 * math.pi)
    opposite = torch.where(h < 0, cdf(k) - cdf(h), cdf(-h) - cdf(-k)).clamp_min(0)
    return torch.where(rho > 0, cdf(-torch.maximum(h, k)) + total, opposite - total)


class _Cdf2(torch.autograd.Function):
    """Φ2 with its derivatives in closed form, which do not see the two cases."""

    generate_vmap_rule = True

    @staticmethod
    def forward(a: Tensor, b: Tensor, rho: Tensor) -> Tensor:
        extreme = rho.abs() >= 0.925
        middle = _moderate(a, b, torch.where(extreme, torch.zeros_like(rho), rho))
        return torch.where(extreme, _extreme(a, b, rho), middle)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, ...]:
        (gradient,) = gradients
        a, b, rho = ctx.saved_tensors
        r = torch.sqrt((1 - rho) * (1 + rho))
        far = (b - rho * a) / r
        first = density(a) * cdf(far)
        second = density(b) * cdf((a - rho * b) / r)
        return gradient * first, gradient * second, gradient * density(a) * density(far) / r


def cdf2(a: Tensor, b: Tensor, rho: Tensor) -> Tensor:
    """Return P(U <= a, V <= b) of standard normal numbers with correlation rho.

    Args:
        a: any shape.
        b: of a shape that broadcasts with it.
        rho: likewise, |rho| < 1.

    Returns:
        The probability, to about 1e-15; twice differentiable.
    """
    shape = (a + b + rho).shape
    a, b, rho = a.expand(shape), b.expand(shape), rho.expand(shape)
    return _Cdf2.apply(a, b, rho)  # type: ignore[no-any-return, no-untyped-call]


def excess(a: ArrayLike, b: ArrayLike, rho: ArrayLike) -> np.ndarray:
    """Return how much likelier correlation makes it that two normal numbers are both small.

    Args:
        a: any shape.
        b: of a shape that broadcasts with it.
        rho: correlations, likewise, from -1 to 1.

    Returns:
        P(U <= a, V <= b) - P(U <= a) P(V <= b), to about 1e-15; for |rho| below 0.925 without the
        cancellation of that difference, so that a small one is right in its leading digits.
    """
    from gmmdyn.gaussian.compiled import excess_of_each  # numba is heavy

    parts = np.broadcast_arrays(*(np.asarray(x, dtype=np.float64) for x in (a, b, rho)))
    one, two, both = (np.ascontiguousarray(part).reshape(-1) for part in parts)
    out = np.empty(parts[0].shape)
    excess_of_each(one, two, both, out.reshape(-1))
    return out
