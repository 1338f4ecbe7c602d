r"""Losses $\ell(\phi, y)$ of outputs and labels; what SGD needs of each.

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

from gmmdyn.errors import IncompatibleError


class Loss(abc.ABC):
    """A loss of outputs and labels.

    Most losses are those of one output: `value`, `signal` and `curvature` are elementwise, and over
    O outputs the losses are summed. A `joint` loss takes all outputs together, in a last axis.

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

    @abc.abstractmethod
    def scalar_signal(self) -> Callable[[float, float], float]:
        """Return `signal` as a plain function of two floats that numba can compile."""

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

    def obstacle(self, labels: Tensor) -> str | None:
        """Describe one output and labels -1 and +1; see `Loss.obstacle`."""
        if labels.ndim == 1 and bool((labels.abs() == 1).all()):
            return None
        return (
            "the logistic loss is one of a single output and labels -1 and +1; give such labels, "
            "or take `cross-entropy` for labels of several outputs."
        )


@final
class CrossEntropy(Loss):
    r"""The cross-entropy $-\sum_o y_o \log\pi_o$ of labels and the softmax $\pi$ of all outputs.

    A label is a row of probabilities, one for each class; it sums to one. With outputs φ and -φ for
    two classes it is the logistic loss at 2φ.
    """

    joint: ClassVar[bool] = True

    def value(self, output: Tensor, label: Tensor) -> Tensor:
        """Return −Σ y log π; see `Loss.value`."""
        return -(label * torch.log_softmax(output, -1)).sum(-1)

    def signal(self, output: Tensor, label: Tensor) -> Tensor:
        """Return y − π; see `Loss.signal`."""
        return label - torch.softmax(output, -1)

    def curvature(self, output: Tensor, label: Tensor) -> Tensor:
        """Return the matrix of π and −π πᵀ, diag(π) − π πᵀ; see `Loss.curvature`."""
        p = torch.softmax(output + 0 * label, -1)
        return torch.diag_embed(p) - p.unsqueeze(-1) * p.unsqueeze(-2)

    def curvature_product(self, output: Tensor, label: Tensor, vectors: Tensor) -> Tensor:
        """Return π (d − π·d) for vectors d; see `Loss.curvature_product`."""
        p = torch.softmax(output, -1)
        return p * (vectors - (p * vectors).sum(-1, keepdim=True))

    def scalar_signal(self) -> Callable[[float, float], float]:
        """Raise `IncompatibleError`: it is no function of one output."""
        raise IncompatibleError(
            "the cross-entropy is a loss of several outputs, and compiled loops have one; solve it "
            "by the theory `ode`."
        )

    def obstacle(self, labels: Tensor) -> str | None:
        """Describe labels that are probabilities of two or more classes; see `Loss.obstacle`."""
        if labels.ndim == 2 and labels.shape[-1] > 1:
            sums = labels.sum(-1)
            if bool((labels >= 0).all()) and torch.allclose(sums, torch.ones_like(sums)):
                return None
        return (
            "the cross-entropy takes labels that are probabilities of classes: rows of at least "
            "two numbers from 0 on that sum to one. These, of shape "
            f"{tuple(labels.shape)}, are not; give one-hot labels of shape (C, O)."
        )


# Each but the square one is the variation `loss=NAME` of SGD, which engines and theories declare.
SQUARE = SquareLoss()
LOSSES: Mapping[str, Loss] = {
    "square": SQUARE,
    "logistic": LogisticLoss(),
    "cross-entropy": CrossEntropy(),
}
