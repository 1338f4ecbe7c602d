"""The learning algorithm: one object for simulation and theory."""

from __future__ import annotations

from dataclasses import dataclass

from gmmdyn import checks
from gmmdyn.errors import RangeError


@dataclass(frozen=True)
class OnlineSGD:
    r"""One-pass SGD on the square loss: one fresh sample per update, each seen once.

    In the notation of the theory, with $\Delta = y - \phi(x)$,

    $$w_k \leftarrow (1 - \eta\kappa/D)\, w_k + (\eta/\sqrt{D})\, v_k g'(\lambda_k) \Delta\, x,
      \qquad v_k \leftarrow (1 - \eta\kappa/D)\, v_k + (\eta/D)\, \Delta\, g(\lambda_k).$$

    The same object goes to simulation and theory, so that they cannot run at different rates.

    Attributes:
        learning_rate: $\eta$, positive, the same for all layers; the powers of D are applied by
            `Network.parameter_groups`.
        weight_decay: $\kappa$, not negative.
        train_readout: whether the second layer learns (and decays) too.

    Raises:
        RangeError: if a rate is out of range.
    """

    learning_rate: float
    weight_decay: float = 0.0
    train_readout: bool = True

    def __post_init__(self) -> None:
        rate = checks.number("learning_rate", self.learning_rate, above=0)
        decay = checks.number("weight_decay", self.weight_decay, at_least=0)
        object.__setattr__(self, "learning_rate", rate)
        object.__setattr__(self, "weight_decay", decay)
        if not isinstance(self.train_readout, bool):
            raise RangeError(f"`train_readout` is {self.train_readout!r}; give True or False.")
