"""The logistic loss."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import final

import torch
from torch import Tensor

from gmmdyn import Loss


def _signal(output: float, label: float) -> float:
    margin = label * output
    # The exponential of a positive number could overflow.
    if margin > 0:
        small = math.exp(-margin)
        return label * small / (1 + small)
    return label / (1 + math.exp(margin))


@final
class LogisticLoss(Loss):
    r"""The loss $\log(1 + e^{-y\phi})$, for labels -1 and +1."""

    def value(self, output: Tensor, label: Tensor) -> Tensor:
        """Return log(1 + exp(−yφ)); see `Loss.value`."""
        return torch.nn.functional.softplus(-label * output)

    def signal(self, output: Tensor, label: Tensor) -> Tensor:
        """Return y/(1 + exp(yφ)); see `Loss.signal`."""
        return label * torch.sigmoid(-label * output)

    def curvature(self, output: Tensor, label: Tensor) -> Tensor:
        """Return y²/(2 cosh(yφ/2))²; see `Loss.curvature`."""
        wrong = torch.sigmoid(-label * output)
        return label**2 * wrong * (1 - wrong)

    def scalar_signal(self) -> Callable[[float, float], float]:
        """Return y/(1 + exp(yφ)) as a scalar function; see `Loss.scalar_signal`."""
        return _signal

    def obstacle(self, labels: Tensor) -> str | None:
        """Describe one output and labels -1 and +1; see `Loss.obstacle`."""
        if labels.ndim == 1 and bool((labels.abs() == 1).all()):
            return None
        return (
            "the logistic loss is one of a single output and labels -1 and +1; give such labels, "
            "or take `cross-entropy` for labels of several outputs."
        )
