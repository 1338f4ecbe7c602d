"""The hyperbolic tangent."""

from __future__ import annotations

from typing import final

import torch
from torch import Tensor

from gmmdyn.interfaces import Activation


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
