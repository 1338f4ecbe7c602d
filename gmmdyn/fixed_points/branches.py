r"""Whether two fixed points at neighbouring values of a parameter lie on one branch.

A branch is a curve of fixed points that moves continuously with the parameter. Of two fixed points
that Newton's method found one from the other, that is not known: it may have jumped. So the step is
made in two halves, and the distances of the two halves are compared, after the symmetries of the
mixture and of the units (`symmetry.py`). On a smooth curve they are nearly the same, and at a fold,
where the state moves like the square root of the parameter, the one is at most 0.71 of their sum; a
jump is all in one half. The rule:

- neither half is more than 0.8 of the two together, nor more than 0.2 of the largest order
  parameter; halves below 0.01, which integration errors make, are not compared;
- the network without weights is a branch of its own.

Where this fails, the step is halved, down to a sixteenth. A branch that fails over the smallest
step has ended there. It has lost its stability where a fixed point that is no saddle is followed by
a saddle. Between neighbouring whole numbers there is no middle, and Newton's method decides alone.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from gmmdyn.errors import ConvergenceError
from gmmdyn.fixed_points.symmetry import Symmetry, distance
from gmmdyn.trajectory import Trajectory
from gmmdyn.trajectory.order_parameters import OrderParameters

# The longest share of one half, its longest distance, and what counts as no distance.
_UNEVEN, _FAR, _ALIKE = 0.8, 0.2, 0.01
_SMALLEST_STEP = 1 / 16
_NOTHING = 1e-5

Near = Callable[[float, OrderParameters], Trajectory]


class Point(NamedTuple):
    """A fixed point on a branch.

    Attributes:
        value: of the parameter.
        found: the fixed point.
    """

    value: float
    found: Trajectory

    @property
    def state(self) -> OrderParameters:
        """The order parameters."""
        return self.found.order_parameters(0)

    @property
    def saddle(self) -> bool:
        """Whether it is unstable."""
        return bool(self.found.metadata.get("stability") == "saddle")

    @property
    def faded(self) -> bool:
        """Whether it is the network without weights, to which Newton's method comes near."""
        return bool(abs(self.found["v"]).max() < _NOTHING)


class End(NamedTuple):
    """Where a branch ends, or is left.

    Attributes:
        reached: the last point on it.
        beyond: the value up to which it could not be followed.
        unstable: whether it goes on there as a saddle.
    """

    reached: Point
    beyond: float
    unstable: bool


def walk(
    near: Near,
    start: Point,
    to: float,
    allowed: list[Symmetry],
    *,
    whole: bool = False,
    along_saddles: bool = False,
) -> Point | End:
    """Go along a branch.

    Args:
        near: finds the fixed point at a value of the parameter near a state.
        start: a point on the branch.
        to: the value to go to.
        allowed: the symmetries of the mixture.
        whole: whether the parameter takes whole numbers alone.
        along_saddles: whether to go on where the branch has lost its stability.

    Returns:
        The point of the branch at `to`, or where it ends before.
    """
    reached, done, share = start, 0.0, 1.0
    while done < 1:
        share = min(share, 1 - done)
        middle, end = (
            between(start.value, to, done + part * share, whole=whole) for part in (0.5, 1.0)
        )
        if end == reached.value:  # of whole numbers
            done += share
            continue
        divisible = middle not in (reached.value, end)
        steps, fits = [reached], False
        try:
            for value in (middle, end) if divisible else (end,):
                steps.append(Point(value, near(value, steps[-1].state)))
            fits = _one_branch(steps, allowed)
        except ConvergenceError:
            pass
        unstable = fits and not reached.saddle and any(point.saddle for point in steps)
        if fits and (along_saddles or not unstable):
            reached, done = steps[-1], done + share
        elif divisible and share > _SMALLEST_STEP:
            share /= 2
        else:
            return End(reached, end, unstable)
    return reached


def between(start: float, to: float, share: float, *, whole: bool = False) -> float:
    """Return a value between two.

    Args:
        start: at the share 0.
        to: at the share 1.
        share: from 0 to 1.
        whole: whether to round to a whole number.

    Returns:
        The geometric mean with these weights if both are of one sign, else the arithmetic one.
    """
    if share == 1 or start == to:
        return to
    value = start * (to / start) ** share if start * to > 0 else start + share * (to - start)
    return round(value) if whole else value


def _one_branch(steps: list[Point], allowed: list[Symmetry]) -> bool:
    if len({point.faded for point in steps}) > 1:
        return False
    if len(steps) == 2:
        return True
    start, middle, end = steps
    halves = (
        distance(start.state, middle.state, allowed),
        distance(middle.state, end.state, allowed),
    )
    return max(halves) <= max(_ALIKE, min(_FAR, _UNEVEN * sum(halves)))
