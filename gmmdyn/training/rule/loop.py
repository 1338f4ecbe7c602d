"""The compiled loop: one update after the other, as SGD is defined."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
from torch import Tensor

from gmmdyn.interfaces import PrincipalAxes
from gmmdyn.training.evaluation import Weights
from gmmdyn.training.rule.rule import Addresses, Rule
from gmmdyn.training.samples import Choices


class CompiledLoop:
    """Moves one replica, in place, on a CPU.

    Args:
        rule: how it learns; it has functions.
        weights: of one replica, in the dtype of its inputs or in double precision; views of what is
            to be moved.
    """

    def __init__(self, rule: Rule, weights: Weights) -> None:
        if rule.functions is None:
            raise AssertionError("the engine takes the blocked form")
        self._addresses = Addresses(rule.functions)
        self._batch = rule.batch
        bias = np.empty(0) if weights.bias is None else weights.bias.numpy()
        layer, readout = weights.first_layer.numpy(), weights.readout.numpy()
        self._state = layer, readout.reshape(-1, len(layer)), bias
        numbers = rule.weight_decay, rule.bias_decay, rule.train_readout
        self._how = self._batch, numbers, self._addresses.numbers

    def move(self, inputs: Tensor, labels: Tensor, rates: np.ndarray) -> None:
        """Move over given samples.

        Args:
            inputs: shape `(1, U b, D)`, in the coordinates of the weights.
            labels: shape `(1, U b)`, or `(1, U b, O)` for O outputs.
            rates: eta at each update, shape `(U,)`.
        """
        given = inputs[0].contiguous().numpy(), _rows(labels[0].to(inputs.dtype))
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
            _rows(choices.labels[part]),
            self._state,
            rates,
            *self._how,
        )


def _rows(labels: Tensor) -> np.ndarray:
    """Return labels with an axis of outputs."""
    return labels.reshape(len(labels), -1).contiguous().numpy()


@lru_cache(maxsize=1)
def _kernel() -> Any:
    from gmmdyn.training.rule import _loop

    return _loop
