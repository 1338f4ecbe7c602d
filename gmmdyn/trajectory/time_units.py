"""Units of the axis of time in figures."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

from gmmdyn import checks
from gmmdyn.errors import RangeError
from gmmdyn.trajectory.times import TIME
from gmmdyn.trajectory.trajectory import Trajectory

# The unit and the power of D that t is multiplied by; the label of the axis.
TIME_UNITS: Mapping[str, tuple[float, str]] = {
    "t": (0.0, f"t = {TIME}"),
    "t*sqrt(D)": (0.5, rf"$t\,\sqrt{{D}}$,  t = {TIME}"),
    "t*D": (1.0, "t D = updates"),
}


def in_unit(trajectory: Trajectory, time_unit: str) -> Trajectory:
    """Return a trajectory on another clock, to be drawn.

    Args:
        trajectory: with t = updates/D.
        time_unit: a key of `TIME_UNITS`.

    Returns:
        The trajectory with its times in that unit.

    Raises:
        RangeError: if the unit is unknown, or the dimension, which is in the metadata of what an
            `Experiment` returns.
    """
    power, _ = TIME_UNITS[checks.choice("time_unit", time_unit, TIME_UNITS)]
    if power == 0:
        return trajectory
    dim = trajectory.metadata.get("dim")
    if dim is None:
        raise RangeError(
            f"`time_unit` is '{time_unit}', but the metadata of the trajectory does not say the "
            "dimension; give 't'."
        )
    return replace(trajectory, times=trajectory.times * math.pow(dim, power))


@dataclass(frozen=True)
class Figures:
    """How the figures of a run are drawn: the section `figures` of a configuration.

    Attributes:
        time_unit: unit of the axis of time: `t`, `t*sqrt(D)` or `t*D`.

    Raises:
        RangeError: if the unit is unknown.
    """

    time_unit: str = "t"

    def __post_init__(self) -> None:
        checks.choice("time_unit", self.time_unit, TIME_UNITS)
