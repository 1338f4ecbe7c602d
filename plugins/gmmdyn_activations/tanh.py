"""The hyperbolic tangent."""

from __future__ import annotations

import math
from typing import final

import torch
from torch import Tensor

from gmmdyn.interfaces import Activation, ScalarFunction


def _value(x: float) -> float:
    return math.tanh(x)


def _slope(x: float) -> float:
    return 1.0 - math.tanh(x) ** 2


@final
class Tanh(Activation):
    r"""The hyperbolic tangent $g(x) = \tanh x$."""

    def forward(self, x: Tensor) -> Tensor:
        """Evaluate $g$."""
        return torch.tanh(x)

    def derivative(self, x: Tensor) -> Tensor:
        """Evaluate $g'$."""
        return 1 - torch.tanh(x) ** 2

    def second_derivative(self, x: Tensor) -> Tensor:
        """Evaluate $g''$."""
        return -2 * torch.tanh(x) * self.derivative(x)

    def scalar_functions(self) -> tuple[ScalarFunction, ScalarFunction]:
        """Offer both for the compiled engine."""
        return _value, _slope
