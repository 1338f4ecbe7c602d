"""The cross-entropy of several classes."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, ClassVar, final

import torch
from torch import Tensor

from gmmdyn import Loss


def _signal(outputs: Any, label: Any, signals: Any) -> None:
    largest = outputs[0]
    for o in range(1, len(outputs)):
        largest = max(largest, outputs[o])
    total = 0.0
    for o in range(len(outputs)):
        signals[o] = math.exp(outputs[o] - largest)
        total += signals[o]
    for o in range(len(outputs)):
        signals[o] = label[o] - signals[o] / total


@final
class CrossEntropy(Loss):
    r"""The cross-entropy $-\sum_o y_o \log\pi_o$ of labels and the softmax $\pi$ of all outputs.

    A label is a row of probabilities, one for each class; it sums to one. With outputs φ and -φ for
    two classes it is the logistic loss at 2φ.
    """

    joint: ClassVar[bool] = True

    def value(self, output: Tensor, label: Tensor) -> Tensor:
        """Return −Σ y log π; see `Loss.value`."""
        return -(label * torch.log_softmax(output, -1)).sum(-1)

    def signal(self, output: Tensor, label: Tensor) -> Tensor:
        """Return y − π; see `Loss.signal`."""
        return label - torch.softmax(output, -1)

    def curvature(self, output: Tensor, label: Tensor) -> Tensor:
        """Return the matrix of π and −π πᵀ, diag(π) − π πᵀ; see `Loss.curvature`."""
        p = torch.softmax(output + 0 * label, -1)
        return torch.diag_embed(p) - p.unsqueeze(-1) * p.unsqueeze(-2)

    def curvature_product(self, output: Tensor, label: Tensor, vectors: Tensor) -> Tensor:
        """Return π (d − π·d) for vectors d; see `Loss.curvature_product`."""
        p = torch.softmax(output, -1)
        return p * (vectors - (p * vectors).sum(-1, keepdim=True))

    def array_signal(self) -> Callable[[Any, Any, Any], None]:
        """Return y − π as a function of arrays; see `Loss.array_signal`."""
        return _signal

    def obstacle(self, labels: Tensor) -> str | None:
        """Describe labels that are probabilities of two or more classes; see `Loss.obstacle`."""
        if labels.ndim == 2 and labels.shape[-1] > 1:
            sums = labels.sum(-1)
            if bool((labels >= 0).all()) and torch.allclose(sums, torch.ones_like(sums)):
                return None
        return (
            "the cross-entropy takes labels that are probabilities of classes: rows of at least "
            "two numbers from 0 on that sum to one. These, of shape "
            f"{tuple(labels.shape)}, are not; give one-hot labels of shape (C, O)."
        )
