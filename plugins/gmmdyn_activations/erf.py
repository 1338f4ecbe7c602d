"""The error function, the classic activation of the statistical physics of learning."""

from __future__ import annotations

import math
from typing import Literal, final

import torch
from torch import Tensor

from gmmdyn.interfaces import Activation


@final
class Erf(Activation):
    r"""$g(x) = \operatorname{erf}(x/\sqrt{2})$, so that $g'(x) = \sqrt{2/\pi}\, e^{-x^2/2}$.

    References:
        Saad and Solla, Physical Review E 52, 4225 (1995), section II.
    """

    closed_form: Literal["erf"] | None = "erf"

    def forward(self, x: Tensor) -> Tensor:
        """Evaluate $g$."""
        return torch.erf(x / math.sqrt(2))

    def derivative(self, x: Tensor) -> Tensor:
        """Evaluate $g'$."""
        return math.sqrt(2 / math.pi) * torch.exp(-x * x / 2)

    def second_derivative(self, x: Tensor) -> Tensor:
        """Evaluate $g''$."""
        return -x * self.derivative(x)
