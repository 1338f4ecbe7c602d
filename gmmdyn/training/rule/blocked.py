"""The exact blocked form: all work of order D in three matrix products.

What is left is the recursion of K local fields for each sample (`recursion.py`). On a GPU a kernel
does it in one launch, if the rule has functions to compile (`recursion_cuda.py`).
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from gmmdyn.compiler.cuda import usable
from gmmdyn.training.evaluation import Weights
from gmmdyn.training.rule.recursion import Chunk, Moved, solve
from gmmdyn.training.rule.recursion_cuda import solver
from gmmdyn.training.rule.rule import Rule

# Samples in one matrix product: more cost more in the Gram matrix, fewer more in the overhead of
# the sweeps.
CHUNK = 64


class BlockedForm:
    """Moves some replicas, in place, on any device and for any activation.

    Args:
        rule: how they learn.
        weights: views of what is to be moved.
        dtype: of the inputs.
    """

    def __init__(self, rule: Rule, weights: Weights, dtype: torch.dtype) -> None:
        self._rule = rule
        self._weights = weights
        replicas, hidden, _ = weights.first_layer.shape
        self._readout = weights.readout.view(replicas, -1, hidden)
        self._kernel: Callable[[Chunk], Moved] | None = None
        if rule.batch <= CHUNK // 2 and usable(weights.first_layer.device):
            self._kernel = solver(rule, hidden, self._readout.shape[1], dtype)

    def move(self, inputs: Tensor, labels: Tensor, rates: np.ndarray) -> None:
        """Move over given samples.

        Args:
            inputs: shape `(N, U b, D)`, in the coordinates of the weights.
            labels: shape `(N, U b)`, or `(N, U b, O)` for O outputs.
            rates: eta at each update, shape `(U,)`.
        """
        labels = labels.reshape(*labels.shape[:2], -1)
        updates = max(1, CHUNK // self._rule.batch)
        scaled = torch.from_numpy(rates / inputs.shape[-1]).to(inputs.device)
        for start in range(0, len(rates), updates):
            part = slice(start * self._rule.batch, (start + updates) * self._rule.batch)
            self._chunk(inputs[:, part], labels[:, part], scaled[start : start + updates])

    def _chunk(self, x: Tensor, y: Tensor, rates: Tensor) -> None:
        """Move over samples that share one Gram matrix."""
        layer, bias, root = self._weights.first_layer, self._weights.bias, math.sqrt(x.shape[-1])
        chunk = Chunk(
            fields=x @ layer.to(x.dtype).mT / root,
            gram=x @ x.mT if len(rates) > 1 else None,
            labels=y,
            readout=self._readout,
            bias=bias,
            rates=rates,
        )
        if self._kernel is not None and len(rates) > 1:
            moved = self._kernel(chunk)
        else:
            moved = solve(chunk, self._rule)
        pull = moved.steps.to(x.dtype).mT @ x
        # In double precision: in single, a factor next to 1 would be rounded, the same way always.
        layer.copy_((layer.double() * moved.shrink).add_(pull, alpha=root))
        self._readout.copy_(moved.readout)
        if bias is not None and moved.bias is not None:
            bias.copy_(moved.bias)
