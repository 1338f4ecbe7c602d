"""The rectifier."""

from __future__ import annotations

from typing import final

import torch
from torch import Tensor

from gmmdyn.interfaces import Activation


@final
class ReLU(Activation):
    r"""The rectifier $g(x) = \max(x, 0)$, with $g'(0) = 0$ as autograd has it."""

    kinks: tuple[float, ...] = (0.0,)
    slopes: tuple[float, ...] = (0.0, 1.0)

    def forward(self, x: Tensor) -> Tensor:
        """Evaluate $g$."""
        return torch.relu(x)

    def derivative(self, x: Tensor) -> Tensor:
        """Evaluate $g'$."""
        return (x > 0).to(x.dtype)
