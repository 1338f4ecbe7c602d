"""The identity: a linear network, for which the ODEs have a closed form."""

from __future__ import annotations

from typing import final

import torch
from torch import Tensor

from gmmdyn.interfaces import Activation


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
