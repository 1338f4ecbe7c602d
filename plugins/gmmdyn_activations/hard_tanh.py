"""The identity, cut off at both ends."""

from __future__ import annotations

from typing import final

import torch
from torch import Tensor

from gmmdyn.interfaces import Activation


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
