"""The identity, cut off at both ends."""

from __future__ import annotations

from typing import final

import torch
from torch import Tensor

from gmmdyn.interfaces import Activation, ScalarFunction


def _value(x: float) -> float:
    # Comparisons, since numba has no `min` and `max` for CUDA.
    return 1.0 if x > 1.0 else (-1.0 if x < -1.0 else x)


def _slope(x: float) -> float:
    return 1.0 if -1.0 < x < 1.0 else 0.0


@final
class HardTanh(Activation):
    r"""$g(x) = \min(\max(x, -1), 1)$, with $g'(\pm 1) = 0$ as autograd has it."""

    kinks: tuple[float, ...] = (-1.0, 1.0)
    slopes: tuple[float, ...] = (0.0, 1.0, 0.0)

    def forward(self, x: Tensor) -> Tensor:
        """Evaluate $g$."""
        return torch.nn.functional.hardtanh(x)

    def derivative(self, x: Tensor) -> Tensor:
        """Evaluate $g'$."""
        return ((x > -1) & (x < 1)).to(x.dtype)

    def scalar_functions(self) -> tuple[ScalarFunction, ScalarFunction]:
        """Offer both for the compiled engine."""
        return _value, _slope
