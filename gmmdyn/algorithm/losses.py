r"""Losses $\ell(\phi, y)$ of an output and a label; what SGD needs of each.

The error signal is $\Delta = -\partial\ell/\partial\phi$: the updates and the equations of the
order parameters contain the loss through $\Delta$ and its slope only.
"""

from __future__ import annotations

import abc
from collections.abc import Callable
from typing import ClassVar, final

import torch
from torch import Tensor

from gmmdyn.component import Component


class Loss(Component, abc.ABC):
    """A loss of an output and a label.

    Subclass it, write `value`, `signal` and `curvature`, and pass the object wherever a name is
    accepted.

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

    def scalar_signal(self) -> Callable[[float, float], float] | None:
        """Offer `signal` as a plain function of two floats, for the compiled engines.

        To be compiled by numba, it must agree with `signal`.

        Returns:
            The function, or None.
        """
        return None


def _square_signal(output: float, label: float) -> float:
    return label - output


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


# The pmse is its mean, whatever is minimised.
SQUARE = SquareLoss()
