r"""Losses $\ell(\phi, y)$ of an output and a label; what SGD needs of each.

The error signal is $\Delta = -\partial\ell/\partial\phi$: the updates and the equations of the
order parameters contain the loss through $\Delta$ and its slope only.
"""

from __future__ import annotations

import abc
import math
from collections.abc import Callable, Mapping
from typing import ClassVar, final

import torch
from torch import Tensor


class Loss(abc.ABC):
    """A loss of an output and a label.

    Attributes:
        quadratic: whether it is ½(y − φ)², whose error signal is linear in the output; whoever has
            to know that asks here.
    """

    quadratic: ClassVar[bool] = False

    @abc.abstractmethod
    def value(self, output: Tensor, label: Tensor) -> Tensor:
        r"""Return $\ell(\phi, y)$, elementwise.

        Args:
            output: $\phi$, any shape.
            label: $y$, of a shape that broadcasts with it.

        Returns:
            The loss.
        """

    @abc.abstractmethod
    def signal(self, output: Tensor, label: Tensor) -> Tensor:
        r"""Return the error signal $\Delta = -\partial\ell/\partial\phi$, elementwise.

        Args:
            output: $\phi$, any shape.
            label: $y$, of a shape that broadcasts with it.

        Returns:
            The error signal.
        """

    @abc.abstractmethod
    def curvature(self, output: Tensor, label: Tensor) -> Tensor:
        r"""Return $\partial^2\ell/\partial\phi^2$, elementwise.

        Args:
            output: $\phi$, any shape.
            label: $y$, of a shape that broadcasts with it.

        Returns:
            The curvature, of the shape of both together.
        """

    @abc.abstractmethod
    def scalar_signal(self) -> Callable[[float, float], float]:
        """Return `signal` as a plain function of two floats that numba can compile."""


def _square_signal(output: float, label: float) -> float:
    return label - output


def _logistic_signal(output: float, label: float) -> float:
    margin = label * output
    # The exponential of a positive number could overflow.
    if margin > 0:
        small = math.exp(-margin)
        return label * small / (1 + small)
    return label / (1 + math.exp(margin))


@final
class SquareLoss(Loss):
    r"""The loss $\frac12 (y - \phi)^2$."""

    quadratic: ClassVar[bool] = True

    def value(self, output: Tensor, label: Tensor) -> Tensor:
        """Return ½(y − φ)²; see `Loss.value`."""
        return 0.5 * (label - output) ** 2

    def signal(self, output: Tensor, label: Tensor) -> Tensor:
        """Return y − φ; see `Loss.signal`."""
        return label - output

    def curvature(self, output: Tensor, label: Tensor) -> Tensor:
        """Return 1; see `Loss.curvature`."""
        return torch.ones_like(label - output)

    def scalar_signal(self) -> Callable[[float, float], float]:
        """Return y − φ as a scalar function; see `Loss.scalar_signal`."""
        return _square_signal


@final
class LogisticLoss(Loss):
    r"""The loss $\log(1 + e^{-y\phi})$, for labels -1 and +1."""

    def value(self, output: Tensor, label: Tensor) -> Tensor:
        """Return log(1 + exp(−yφ)); see `Loss.value`."""
        return torch.nn.functional.softplus(-label * output)

    def signal(self, output: Tensor, label: Tensor) -> Tensor:
        """Return y/(1 + exp(yφ)); see `Loss.signal`."""
        return label * torch.sigmoid(-label * output)

    def curvature(self, output: Tensor, label: Tensor) -> Tensor:
        """Return y²/(2 cosh(yφ/2))²; see `Loss.curvature`."""
        wrong = torch.sigmoid(-label * output)
        return label**2 * wrong * (1 - wrong)

    def scalar_signal(self) -> Callable[[float, float], float]:
        """Return y/(1 + exp(yφ)) as a scalar function; see `Loss.scalar_signal`."""
        return _logistic_signal


# Each but the square one is the variation `loss=NAME` of SGD, which engines and theories declare.
SQUARE = SquareLoss()
LOSSES: Mapping[str, Loss] = {"square": SQUARE, "logistic": LogisticLoss()}
