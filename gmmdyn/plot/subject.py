"""What a figure shows: one trajectory, or a simulation and its prediction."""

from __future__ import annotations

from typing import Protocol

from gmmdyn.trajectory import Estimate, Trajectory


class SideBySide(Protocol):
    """A simulation and what was predicted for it, such as a `Comparison`.

    Attributes:
        simulated: the simulation.
        predicted: the theory, or None.
        bayes_error: the smallest classification error possible, or None where it is not known.
    """

    @property
    def simulated(self) -> Trajectory:
        """The simulation."""
        ...

    @property
    def predicted(self) -> Trajectory | None:
        """The theory, or None."""
        ...

    @property
    def bayes_error(self) -> Estimate | None:
        """The smallest classification error possible, or None where it is not known."""
        ...


Pair = tuple[Trajectory | None, Trajectory | None]


def pair_of(subject: SideBySide | Trajectory) -> Pair:
    """Return the simulation and the prediction in a subject.

    Args:
        subject: two trajectories side by side, or one.

    Returns:
        Both, None for the one that it does not have.
    """
    if not isinstance(subject, Trajectory):
        return subject.simulated, subject.predicted
    return (subject, None) if subject.source == "simulation" else (None, subject)
