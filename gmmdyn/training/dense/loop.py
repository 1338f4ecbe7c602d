"""The compiled loop of the dense engine: one update after the other, as SGD is defined."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
from torch import Tensor

from gmmdyn.algorithm import OnlineSGD
from gmmdyn.interfaces import PrincipalAxes
from gmmdyn.interfaces.activation import ScalarFunction
from gmmdyn.training.compiled.scalars import compiled_scalar
from gmmdyn.training.evaluation import Weights
from gmmdyn.training.pieces import Choices


class CompiledLoop:
    """Moves one replica, in place, on a CPU.

    Args:
        functions: the activation and its derivative, which numba can compile.
        algorithm: how it learns.
        weights: of one replica; views of what is to be moved.
    """

    def __init__(
        self,
        functions: tuple[ScalarFunction, ScalarFunction],
        algorithm: OnlineSGD,
        weights: Weights,
    ) -> None:
        # Held as long as their addresses are used.
        self._compiled = [compiled_scalar(function) for function in functions]
        self._compiled.append(compiled_scalar(algorithm.loss_function.scalar_signal(), 2))
        self._batch = algorithm.batch_size
        bias = np.empty(0) if weights.bias is None else weights.bias.numpy()
        self._state = weights.first_layer.numpy(), weights.readout.numpy(), bias
        self._how = (
            self._batch,
            (algorithm.weight_decay, algorithm.train_readout),
            tuple(function.address for function in self._compiled),
        )

    def move(self, inputs: Tensor, labels: Tensor, rates: np.ndarray) -> None:
        """Move over given samples.

        Args:
            inputs: shape `(1, U b, D)`, in the coordinates of the weights.
            labels: shape `(1, U b)`.
            rates: eta at each update, shape `(U,)`.
        """
        given = inputs[0].contiguous().numpy(), labels[0].contiguous().numpy()
        _kernel().advance(*given, self._state, rates, *self._how)

    def draw_and_move(
        self, choices: Choices, first: int, rates: np.ndarray, axes: PrincipalAxes
    ) -> None:
        """Move over samples that are drawn on the way.

        Args:
            choices: of the block; the state of their generator, which is where update `first`
                begins, is moved on.
            first: update, counted from the start of the block.
            rates: eta at each update, shape `(U,)`.
            axes: in the dtype of the weights.
        """
        part = slice(first * self._batch, (first + len(rates)) * self._batch)
        _kernel().draw_and_advance(
            (choices.state, axes.scale.numpy(), axes.centres.contiguous().numpy()),
            choices.clusters[part].numpy(),
            choices.labels[part].numpy(),
            self._state,
            rates,
            *self._how,
        )


@lru_cache(maxsize=1)
def _kernel() -> Any:
    from gmmdyn.training.dense import _kernel

    return _kernel
