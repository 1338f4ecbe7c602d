"""The identity: a linear network, for which the ODEs have a closed form."""

from __future__ import annotations

from typing import final

import torch
from torch import Tensor

from gmmdyn.interfaces import Activation, ScalarFunction


def _value(x: float) -> float:
    return x


def _slope(x: float) -> float:
    return 1.0


@final
class Linear(Activation):
    """The identity $g(x) = x$."""

    slopes: tuple[float, ...] = (1.0,)

    def forward(self, x: Tensor) -> Tensor:
        """Evaluate $g$."""
        return x

    def derivative(self, x: Tensor) -> Tensor:
        """Evaluate $g'$."""
        return torch.ones_like(x)

    def scalar_functions(self) -> tuple[ScalarFunction, ScalarFunction]:
        """Offer both for the compiled engine."""
        return _value, _slope
