"""The absolute value."""

from __future__ import annotations

from typing import final

import torch
from torch import Tensor

from gmmdyn.interfaces import Activation


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
