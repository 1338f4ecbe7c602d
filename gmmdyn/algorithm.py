"""The learning algorithm: one object for simulation and theory."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from gmmdyn import checks
from gmmdyn.errors import RangeError
from gmmdyn.losses import LOSSES, Loss
from gmmdyn.schedule import Schedule


@dataclass(frozen=True)
class OnlineSGD:
    r"""One-pass SGD: fresh samples at every update, each seen once.

    In the notation of the theory, with the error signal $\Delta = -\partial\ell/\partial\phi$,
    which is $y - \phi(x)$ for the square loss,

    $$w_k \leftarrow (1 - \eta\kappa/D)\, w_k + (\eta/\sqrt{D})\, v_k g'(\lambda_k) \Delta\, x,
      \qquad v_k \leftarrow (1 - \eta\kappa/D)\, v_k + (\eta/D)\, \Delta\, g(\lambda_k).$$

    The same object goes to simulation and theory, so that they cannot run at different rates.

    Attributes:
        learning_rate: $\eta$, positive, the same for all layers, or a `Schedule` (in a
            configuration file a mapping with its `times` and `rates`); the powers of D are applied
            by `Network.parameter_groups`.
        weight_decay: $\kappa$, not negative.
        train_readout: whether the second layer learns (and decays) too.
        loss: `"square"` for ½(y − φ)², or `"logistic"` for log(1 + exp(−yφ)).
        batch_size: fresh samples whose gradients are averaged for one update, at least 1. Time
            counts updates whatever their size: t = updates/D.
        label_noise: probability that a training label is the wrong one, from 0 to 0.5; errors are
            those on clean labels.

    Raises:
        RangeError: if a number is out of range.
    """

    learning_rate: float | Schedule
    weight_decay: float = 0.0
    train_readout: bool = True
    loss: str = "square"
    batch_size: int = 1
    label_noise: float = 0.0

    def __post_init__(self) -> None:
        rate = self.learning_rate
        if isinstance(rate, Mapping):
            unknown = sorted(set(rate) ^ {"times", "rates"})
            if unknown:
                raise RangeError(
                    f"`learning_rate` is {rate!r}; give a number, or `times` and `rates`."
                )
            rate = Schedule(**rate)
        if not isinstance(rate, Schedule):
            rate = checks.number("learning_rate", rate, above=0)
        decay = checks.number("weight_decay", self.weight_decay, at_least=0)
        noise = checks.number("label_noise", self.label_noise, at_least=0, at_most=0.5)
        object.__setattr__(self, "learning_rate", rate)
        object.__setattr__(self, "weight_decay", decay)
        object.__setattr__(self, "label_noise", noise)
        object.__setattr__(self, "batch_size", checks.whole("batch_size", self.batch_size))
        checks.choice("loss", self.loss, LOSSES)
        if not isinstance(self.train_readout, bool):
            raise RangeError(f"`train_readout` is {self.train_readout!r}; give True or False.")

    def rate(self, time: float | np.ndarray) -> np.ndarray:
        r"""Return $\eta(t)$.

        Args:
            time: t, any shape.

        Returns:
            The learning rates, float64, of the same shape.
        """
        if isinstance(self.learning_rate, Schedule):
            return self.learning_rate(time)
        return np.full(np.shape(time), self.learning_rate)

    @property
    def loss_function(self) -> Loss:
        """The loss itself."""
        return LOSSES[self.loss]

    @property
    def variations(self) -> frozenset[str]:
        """The settings that make this more than plain SGD at one rate on the square loss.

        What knows plain SGD alone refuses by it: a subset of `schedule`, `loss`, `batch_size` and
        `label_noise`.
        """
        present = {
            "schedule": isinstance(self.learning_rate, Schedule),
            "loss": self.loss != "square",
            "batch_size": self.batch_size > 1,
            "label_noise": self.label_noise > 0,
        }
        return frozenset(name for name, there in present.items() if there)
