"""The rule that says whether neighbouring fixed points are one branch, on curves in closed form.

A state here is one number x: one unit with v = 1, Q = 1 and R = x.
"""

from __future__ import annotations

import math

import numpy as np
import pytest

from gmmdyn import Trajectory
from gmmdyn.errors import ConvergenceError
from gmmdyn_ode.fixed_points.branches import End, Point, between, walk
from gmmdyn_ode.fixed_points.symmetry import Symmetry

ALONE = [Symmetry(np.arange(1), 1.0)]


def fixed(x, stability="stable", v=1.0):
    curves = {"pmse": [0.1], "Q": [[[v**2]]], "R": [[[x]]], "v": [[v]]}
    return Trajectory([np.inf], curves, "theory", metadata={"stability": stability})


class Curve:
    """What Newton's method finds, and for which values it was asked."""

    def __init__(self, at):
        self.at = at
        self.asked = []

    def __call__(self, value, state):
        self.asked.append(value)
        found = self.at(value)
        if isinstance(found, Trajectory):
            return found
        if math.isnan(found):
            raise ConvergenceError("there is none")
        return fixed(found)


def go(at, start, to, **options):
    curve = Curve(at)
    first = at(start)
    first = first if isinstance(first, Trajectory) else fixed(first)
    return walk(curve, Point(start, first), to, ALONE, **options), curve


def test_a_short_step_on_a_smooth_branch_takes_its_middle_and_its_end():
    went, curve = go(lambda value: 0.1 * value, 1.0, 2.0)
    assert went.value == 2.0
    assert float(went.state.R) == 0.2
    assert curve.asked == [math.sqrt(2), 2.0]


def test_a_long_way_is_gone_in_several_steps():
    went, curve = go(lambda value: value**2, 1.0, 2.0)
    assert float(went.state.R) == 4.0
    assert len(curve.asked) > 8
    assert not isinstance(went, End)


def test_a_power_of_the_parameter_is_one_branch_over_a_decade():
    """Order parameters grow like κ^(-1/2) as the weight decay goes to 0."""
    went, _ = go(lambda value: value**-0.5, 1e-4, 1e-5)
    assert went.value == 1e-5


def test_a_branch_ends_at_its_fold():
    """x² = 1 - value: no fixed point beyond 1."""
    went, _ = go(lambda value: math.sqrt(1 - value) if value <= 1 else math.nan, 0.5, 1.7)
    assert isinstance(went, End)
    assert not went.unstable
    assert went.reached.value <= 1 < went.beyond
    assert went.beyond / went.reached.value == pytest.approx((1.7 / 0.5) ** (1 / 16))


def test_a_jump_to_another_fixed_point_is_noticed():
    """The other one lies at three half steps' distance, and moves in the same way."""
    went, _ = go(lambda value: 0.1 * value + (0.15 if value > 1.6 else 0), 1.0, 2.0)
    assert isinstance(went, End)
    assert went.reached.value <= 1.6 < went.beyond
    assert went.beyond / went.reached.value == pytest.approx(2 ** (1 / 16))


def test_a_far_jump_is_no_branch_even_where_both_halves_are_far():
    went, _ = go(lambda value: math.floor(value), 0.5, 2.5)
    assert isinstance(went, End)


def test_a_difference_of_the_size_of_integration_errors_is_no_jump():
    went, _ = go(lambda value: 0.005 if value > 1.6 else 0.0, 1.0, 2.0)
    assert went.value == 2.0


def pitchfork(value):
    """The root x = 0 of x' = (value - 1) x - x³."""
    return fixed(0.0, "saddle" if value > 1 else "stable")


def test_a_branch_that_turns_into_a_saddle_is_left_there():
    went, _ = go(pitchfork, 0.5, 4.0)
    assert isinstance(went, End)
    assert went.unstable
    assert went.reached.value <= 1 < went.beyond
    assert went.reached.found.metadata["stability"] == "stable"


def test_a_branch_of_saddles_is_followed_where_that_is_wanted():
    went, _ = go(pitchfork, 0.5, 4.0, along_saddles=True)
    assert went.saddle
    went, _ = go(pitchfork, 2.0, 4.0)  # one that began as a saddle
    assert went.saddle
    went, _ = go(pitchfork, 4.0, 0.5)  # and gains stability
    assert not went.saddle


def test_marginal_is_no_saddle():
    went, _ = go(lambda value: fixed(0.0, "marginal" if value > 1 else "stable"), 0.5, 4.0)
    assert went.value == 4.0


def test_the_network_without_weights_is_a_branch_of_its_own():
    """v = 1 - value, and 0 beyond: continuous, but another branch."""

    def fading(value):
        v = max(0.0, 1 - value)
        return fixed(v**2, v=v)

    went, _ = go(fading, 0.5, 1.0)
    assert isinstance(went, End)
    assert went.reached.value < 1 == went.beyond
    assert not went.reached.faded
    went, _ = go(fading, 1.2, 1.5)
    assert went.faded


def test_a_symmetric_copy_is_the_same_branch():
    mirror = [*ALONE, Symmetry(np.arange(1), -1.0)]

    def copy(value):
        sign = -1.0 if value > 1.2 else 1.0
        return fixed(0.1 * value, v=sign)

    start = Point(1.0, copy(1.0))
    assert walk(Curve(copy), start, 2.0, mirror).value == 2.0
    assert isinstance(walk(Curve(copy), start, 2.0, ALONE), End)


def test_whole_numbers_stay_whole_and_neighbours_have_no_middle():
    went, curve = go(lambda value: 1 / value, 1, 40, whole=True)
    assert went.value == 40
    assert all(isinstance(value, int) for value in curve.asked)
    went, curve = go(lambda value: 10.0 * value, 1, 2, whole=True)
    assert (went.value, curve.asked) == (2, [2])
    ends = walk(Curve(lambda value: math.nan), Point(1, fixed(1.0)), 2, ALONE, whole=True)
    assert (ends.reached.value, ends.beyond) == (1, 2)


def test_values_between_two_of_one_sign_are_geometric():
    assert between(0.01, 1.0, 0.5) == pytest.approx(0.1)
    assert between(-0.01, -1.0, 0.5) == pytest.approx(-0.1)
    assert between(0.0, 1.0, 0.25) == 0.25
    assert between(-1.0, 1.0, 0.5) == 0.0
    assert between(10, 100, 0.5, whole=True) == 32
