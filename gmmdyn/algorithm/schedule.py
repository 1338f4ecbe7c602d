"""Learning rates that change in time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import numpy as np

from gmmdyn import checks
from gmmdyn.errors import RangeError


@final
@dataclass(frozen=True)
class Schedule:
    r"""A learning rate $\eta(t)$ that is linear between given times and constant beyond them.

    Attributes:
        times: t, shape `(n,)`, increasing, in the unit of the trajectories (updates/D).
        rates: $\eta$ at these times, shape `(n,)`, not negative and not all zero.

    Raises:
        ShapeError: if one is no list of numbers.
        RangeError: if the two do not fit, the times do not increase or a rate is negative.
    """

    times: Sequence[float]
    rates: Sequence[float]

    def __post_init__(self) -> None:
        times = checks.array("times", self.times, (None,))
        rates = checks.array("rates", self.rates, (None,))
        if len(times) != len(rates) or not len(times):
            raise RangeError(
                f"the schedule has {len(times)} `times` and {len(rates)} `rates`; give one rate "
                "for each time."
            )
        if bool((times.diff() <= 0).any()):
            raise RangeError("the `times` of a schedule must increase.")
        if bool((rates < 0).any()) or not bool((rates > 0).any()):
            raise RangeError("the `rates` of a schedule must not be negative, nor all zero.")
        object.__setattr__(self, "times", tuple(times.tolist()))
        object.__setattr__(self, "rates", tuple(rates.tolist()))

    def __call__(self, time: float | np.ndarray) -> np.ndarray:
        r"""Return $\eta(t)$.

        Args:
            time: t, any shape.

        Returns:
            The rates, float64, of the same shape.
        """
        return np.asarray(np.interp(time, self.times, self.rates))
