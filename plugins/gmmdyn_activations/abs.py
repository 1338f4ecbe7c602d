"""The absolute value."""

from __future__ import annotations

from typing import final

import torch
from torch import Tensor

from gmmdyn.interfaces import Activation, ScalarFunction


def _value(x: float) -> float:
    return abs(x)


def _slope(x: float) -> float:
    return 1.0 if x > 0.0 else (-1.0 if x < 0.0 else 0.0)


@final
class Abs(Activation):
    r"""The absolute value $g(x) = |x|$, with $g'(0) = 0$ as autograd has it."""

    kinks: tuple[float, ...] = (0.0,)
    slopes: tuple[float, ...] = (-1.0, 1.0)

    def forward(self, x: Tensor) -> Tensor:
        """Evaluate $g$."""
        return torch.abs(x)

    def derivative(self, x: Tensor) -> Tensor:
        """Evaluate $g'$."""
        return torch.sign(x)

    def scalar_functions(self) -> tuple[ScalarFunction, ScalarFunction]:
        """Offer both for the compiled engine."""
        return _value, _slope
