r"""Losses $\ell(\phi, y)$ of outputs and labels; what SGD needs of each.

The error signal is $\Delta = -\partial\ell/\partial\phi$: the updates and the equations of the
order parameters contain the loss through $\Delta$ and its slope only.
"""

from __future__ import annotations

import abc
from collections.abc import Callable
from typing import Any, ClassVar, final

import torch
from torch import Tensor

from gmmdyn.component import Component


class Loss(Component, abc.ABC):
    """A loss of outputs and labels.

    Most losses are those of one output: `value`, `signal` and `curvature` are elementwise, and over
    O outputs the losses are summed. A `joint` loss takes all outputs together, in a last axis.

    Subclass it, write `value`, `signal` and `curvature`, and pass the object wherever a name is
    accepted.

    Attributes:
        quadratic: whether it is ½(y − φ)², whose error signal is linear in the output; whoever has
            to know that asks here.
        joint: whether it is a loss of all outputs together: `value` maps `(..., O)` and `(..., O)`
            to `(...)`, `signal` to `(..., O)` and `curvature` to `(..., O, O)`.
        kinks: the values of φ − y at which the error signal jumps or bends.
    """

    quadratic: ClassVar[bool] = False
    joint: ClassVar[bool] = False
    kinks: tuple[float, ...] = ()

    @abc.abstractmethod
    def value(self, output: Tensor, label: Tensor) -> Tensor:
        r"""Return $\ell(\phi, y)$, elementwise unless the loss is `joint`.

        Args:
            output: $\phi$, any shape.
            label: $y$, of a shape that broadcasts with it.

        Returns:
            The loss.
        """

    @abc.abstractmethod
    def signal(self, output: Tensor, label: Tensor) -> Tensor:
        r"""Return the error signal $\Delta = -\partial\ell/\partial\phi$.

        Args:
            output: $\phi$, any shape.
            label: $y$, of a shape that broadcasts with it.

        Returns:
            The error signal, of the shape of both together.
        """

    @abc.abstractmethod
    def curvature(self, output: Tensor, label: Tensor) -> Tensor:
        r"""Return $\partial^2\ell/\partial\phi^2$, elementwise unless the loss is `joint`.

        Args:
            output: $\phi$, any shape.
            label: $y$, of a shape that broadcasts with it.

        Returns:
            The curvature, of the shape of both together; of a joint loss with one more axis, the
            last two being $\partial^2\ell/\partial\phi_o\partial\phi_p$.
        """

    def curvature_product(self, output: Tensor, label: Tensor, vectors: Tensor) -> Tensor:
        """Apply the curvature to vectors; by default with the matrix, or elementwise.

        Args:
            output: φ, shape `(..., O)`.
            label: y, of a shape that broadcasts with it.
            vectors: shape `(..., O)`, which broadcasts with both.

        Returns:
            The products, shape `(..., O)`.
        """
        curvature = self.curvature(output, label)
        if self.joint:
            return (curvature @ vectors.unsqueeze(-1)).squeeze(-1)
        return curvature * vectors

    def scalar_signal(self) -> Callable[[float, float], float] | None:
        """Offer `signal` as a plain function of two floats that numba can compile.

        It must agree with `signal`; it is found in the code of `signal` where none is offered.

        Returns:
            The function, or None.
        """
        return None

    def array_signal(self) -> Callable[[Any, Any, Any], None] | None:
        """Offer `signal` of a joint loss as a function of arrays that numba can compile.

        It takes outputs and label, shape `(O,)`, and writes the signals, shape `(O,)`, in loops
        over single numbers. It must agree with `signal`.

        Returns:
            The function, always the same one; or None.
        """
        return None

    def obstacle(self, labels: Tensor) -> str | None:
        """Say why the loss has no meaning for some labels; by default any will do.

        Args:
            labels: of the clusters, shape `(C,)` for one output or `(C, O)`.

        Returns:
            A sentence that says what labels to give, or None.
        """
        return None

    @final
    def total(self, output: Tensor, label: Tensor) -> Tensor:
        """Return the loss of all outputs, a sum if it is a loss of one output.

        Args:
            output: φ, shape `(..., O)`.
            label: y, of a shape that broadcasts with it.

        Returns:
            The loss, shape `(...)`.
        """
        value = self.value(output, label)
        return value if self.joint else value.sum(-1)


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
