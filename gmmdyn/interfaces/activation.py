"""The nonlinearity of the hidden units."""

from __future__ import annotations

import abc
from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor

from gmmdyn.component import Component

ScalarFunction = Callable[[float], float]


class Activation(Component, abc.ABC):
    r"""A scalar nonlinearity $g$ applied elementwise.

    Subclass it, write `forward` and `derivative`, and pass the object wherever a name is
    accepted. An activation with kinks is declared by `kinks` and `slopes`; without them it
    is taken to be twice differentiable.

    Attributes:
        kinks: where $g'$ jumps, increasing; empty for a smooth activation.
        slopes: $g'$ on each piece of a piecewise-linear activation, one more than `kinks`.
        closed_form: `"erf"` if $g(x) = \operatorname{erf}(x/\sqrt2)$, whose Gaussian integrals are
            closed forms; None for any other.
    """

    kinks: tuple[float, ...] = ()
    slopes: tuple[float, ...] = ()
    closed_form: Literal["erf"] | None = None

    @property
    def smooth(self) -> bool:
        """Whether the activation has no kinks."""
        return not self.kinks

    @abc.abstractmethod
    def forward(self, x: Tensor) -> Tensor:
        """Evaluate $g$.

        Args:
            x: pre-activations, any shape.

        Returns:
            Values of the shape and dtype of `x`.
        """

    @abc.abstractmethod
    def derivative(self, x: Tensor) -> Tensor:
        """Evaluate $g'$; at a kink, the value that autograd gives for `forward`.

        Args:
            x: pre-activations, any shape.

        Returns:
            Values of the shape and dtype of `x`.
        """

    def second_derivative(self, x: Tensor) -> Tensor:
        """Evaluate $g''$ away from kinks; by automatic differentiation unless overridden.

        Args:
            x: pre-activations, any shape.

        Returns:
            Values of the shape and dtype of `x`.
        """
        if self.slopes:
            return torch.zeros_like(x)
        with torch.enable_grad():
            point = x if x.requires_grad else x.detach().requires_grad_()
            slope = self.derivative(point)
            if not slope.requires_grad:
                return torch.zeros_like(x)
            (curvature,) = torch.autograd.grad(slope.sum(), point, create_graph=x.requires_grad)
        return curvature

    def scalar_functions(self) -> tuple[ScalarFunction, ScalarFunction] | None:
        """Offer $g$ and $g'$ as plain functions of one float, for the compiled engines.

        There is rarely a need to: without them the engines find the functions themselves in
        `forward` and `derivative`, if these are made of elementwise operations, and compare both.
        To be compiled by numba, they must agree with `forward` and `derivative`.

        Returns:
            The two functions, or None.
        """
        return None
