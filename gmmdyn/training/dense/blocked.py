"""The exact blocked form of the dense engine: all work of order D in three matrix products.

What is left is the recursion of K local fields for each sample (`recursion.py`). On a GPU a kernel
does it in one launch, if the activation has scalar functions (`recursion_cuda.py`).
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from gmmdyn.algorithm import OnlineSGD
from gmmdyn.interfaces import Activation
from gmmdyn.interfaces.activation import ScalarFunction
from gmmdyn.training.compiled.cuda import usable
from gmmdyn.training.dense.recursion import Chunk, Moved, solve
from gmmdyn.training.dense.recursion_cuda import solver
from gmmdyn.training.evaluation import Weights

# Samples in one matrix product: more cost more in the Gram matrix, fewer more in the overhead of
# the sweeps.
CHUNK = 64


class BlockedForm:
    """Moves some replicas, in place, on any device and for any activation.

    Args:
        activation: of the hidden units.
        algorithm: how they learn.
        weights: views of what is to be moved.
        functions: the activation and its derivative for compiled loops, or None.
    """

    def __init__(
        self,
        activation: Activation,
        algorithm: OnlineSGD,
        weights: Weights,
        functions: tuple[ScalarFunction, ScalarFunction] | None = None,
    ) -> None:
        self._activation = activation
        self._algorithm = algorithm
        self._weights = weights
        self._kernel: Callable[[Chunk], Moved] | None = None
        layer = weights.first_layer
        if functions is not None and algorithm.batch_size <= CHUNK // 2 and usable(layer.device):
            signal = algorithm.loss_function.scalar_signal()
            if signal is not None:
                self._kernel = solver((*functions, signal), layer.shape[-2], layer.dtype)

    def move(self, inputs: Tensor, labels: Tensor, rates: np.ndarray) -> None:
        """Move over given samples.

        Args:
            inputs: shape `(N, U b, D)`, in the coordinates of the weights.
            labels: shape `(N, U b)`.
            rates: eta at each update, shape `(U,)`.
        """
        batch = self._algorithm.batch_size
        updates = max(1, CHUNK // batch)
        scaled = torch.from_numpy(rates / inputs.shape[-1]).to(inputs.device)
        for start in range(0, len(rates), updates):
            part = slice(start * batch, (start + updates) * batch)
            self._chunk(inputs[:, part], labels[:, part], scaled[start : start + updates])

    def _chunk(self, x: Tensor, y: Tensor, rates: Tensor) -> None:
        """Move over samples that share one Gram matrix."""
        weights, root = self._weights, math.sqrt(x.shape[-1])
        chunk = Chunk(
            fields=x @ weights.first_layer.mT / root,
            gram=x @ x.mT if len(rates) > 1 else None,
            labels=y,
            readout=weights.readout,
            bias=weights.bias,
            rates=rates,
            weight_decay=self._algorithm.weight_decay,
            train_readout=self._algorithm.train_readout,
        )
        if self._kernel is not None and len(rates) > 1:
            moved = self._kernel(chunk)
        else:
            moved = solve(chunk, self._activation, self._algorithm.loss_function)
        # In double precision: in single, a factor next to 1 would be rounded, the same way always.
        weights.first_layer.copy_(weights.first_layer.double() * moved.shrink)
        weights.first_layer.baddbmm_(moved.steps.to(x.dtype).mT, x, alpha=root)
        weights.readout.copy_(moved.readout)
        if weights.bias is not None and moved.bias is not None:
            weights.bias.copy_(moved.bias)
