"""The learning algorithm: one object for simulation and theory."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, fields
from typing import final

import numpy as np

from gmmdyn import checks
from gmmdyn.algorithm.losses import LOSSES, Loss
from gmmdyn.algorithm.schedule import Schedule
from gmmdyn.errors import RangeError

# Variations of plain SGD by name: what each is called, and what to do where it is not described.
# Another loss is the variation `loss=NAME`.
_VARIATIONS: Mapping[str, tuple[str, str]] = {
    "schedule": ("a schedule of the learning rate", "give one `learning_rate`"),
    "batch_size": ("mini-batches", "leave `batch_size` out"),
    "label_noise": ("label noise", "leave `label_noise` out"),
    "train_readout": ("a frozen readout", "leave `train_readout` out"),
    **{
        f"loss={name}": (f"the {name} loss", "leave `loss` out")
        for name, loss in LOSSES.items()
        if not loss.quadratic
    },
}


@dataclass(frozen=True)
class OnlineSGD:
    r"""One-pass SGD: fresh samples at every update, each seen once.

    In the notation of the theory, with the error signal $\Delta = -\partial\ell/\partial\phi$,
    which is $y - \phi(x)$ for the square loss,

    $$w_k \leftarrow (1 - \eta\kappa/D)\, w_k + (\eta/\sqrt{D})\, v_k g'(\lambda_k) \Delta\, x,
      \qquad v_k \leftarrow (1 - \eta\kappa/D)\, v_k + (\eta/D)\, \Delta\, g(\lambda_k).$$

    The same object goes to simulation and theory, so that they cannot run at different rates. Each
    engine and theory declares which variations of it it describes (`variations`), and refuses all
    others by name: also what a subclass adds, whose meaning nobody knows.

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
    @final
    def variations(self) -> frozenset[str]:
        """What makes this more than plain SGD at one rate on the square loss, by name.

        They are `schedule`, `batch_size`, `label_noise`, `train_readout` (where the readout is
        frozen), `loss=NAME` for another loss, and every name that a subclass adds or overrides.
        """
        present = {
            "schedule": isinstance(self.learning_rate, Schedule),
            f"loss={self.loss}": not self.loss_function.quadratic,
            "batch_size": self.batch_size > 1,
            "label_noise": self.label_noise > 0,
            "train_readout": not self.train_readout,
        }
        return frozenset(name for name, there in present.items() if there) | _added(self)

    @final
    def undescribed(self, described: Collection[str]) -> str | None:
        """Say which variation is not described by an engine or a theory.

        This is the one place where that is decided: every engine and every theory comes here
        before any work, with the `describes` that it declares.

        Args:
            described: names of `variations`.

        Returns:
            A clause that goes on from "the … engine" or "the theory …", or None if there is none.
        """
        there = OnlineSGD.variations.fget(self)  # type: ignore[attr-defined] # not a subclass's own
        others = sorted(there.difference(described), key=lambda name: (name in _VARIATIONS, name))
        if not others:
            return None
        words, remedies = zip(*(self._named(name) for name in others), strict=True)
        known = [word for name, (word, _) in _VARIATIONS.items() if name in described]
        also = f" with or without {', '.join(known)}" if known else " alone"
        return (
            f"describes plain SGD{also}, and not {', '.join(words)}; "
            f"{', '.join(dict.fromkeys(remedies))}"
        )

    def _named(self, name: str) -> tuple[str, str]:
        """Return what a variation is called, and what to do where it is not described."""
        if name in _VARIATIONS:
            return _VARIATIONS[name]
        if name.startswith("loss="):
            return f"the {self.loss} loss", "leave `loss` out"
        cls = type(self).__name__
        return f"`{name}` of {cls}", "take OnlineSGD itself"


def _added(algorithm: OnlineSGD) -> frozenset[str]:
    """Return the names that a subclass, or whoever wrote to the object, adds or overrides."""
    names = set(vars(algorithm))
    for cls in type(algorithm).__mro__:
        if cls not in OnlineSGD.__mro__:
            names |= {*vars(cls), *vars(cls).get("__annotations__", ())}
    settings = {item.name for item in fields(OnlineSGD)}
    return frozenset(name for name in names - settings if not name.startswith("__"))
