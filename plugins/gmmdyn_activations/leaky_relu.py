"""The rectifier that lets some of the negative side through."""

from __future__ import annotations

from typing import final

import torch
from torch import Tensor

from gmmdyn import checks
from gmmdyn.interfaces import Activation


@final
class LeakyReLU(Activation):
    r"""$g(x) = x$ above 0 and $sx$ below, with $g'(0) = s$ as autograd has it.

    Args:
        slope: s; 0 is the rectifier, 1 the identity, -1 the absolute value.

    Raises:
        RangeError: if the slope is not finite.
    """

    kinks: tuple[float, ...] = (0.0,)

    def __init__(self, slope: float = 0.01) -> None:
        super().__init__()
        self._slope = checks.number("slope", slope)
        self.slopes = (self._slope, 1.0)

    def forward(self, x: Tensor) -> Tensor:
        """Evaluate $g$."""
        return torch.where(x > 0, x, self._slope * x)

    def derivative(self, x: Tensor) -> Tensor:
        """Evaluate $g'$."""
        return torch.where(x > 0, torch.ones_like(x), torch.full_like(x, self._slope))
