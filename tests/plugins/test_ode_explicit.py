"""Dormand and Prince's method for one problem: its interpolant, kinks, and how it ends."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import gmmdyn as gd
from gmmdyn.errors import NotPositiveError
from gmmdyn_ode.differentiable import integrate_with_torchdiffeq
from gmmdyn_ode.dynamics import Dynamics
from gmmdyn_ode.integration import accepted_steps, integrate
from gmmdyn_ode.problem import Problem
from gmmdyn_ode.solver import BLOW_UP, Settings

SETTINGS = Settings("dopri5", 1e-8, 1e-10, None, 2000)
NO_KINKS = torch.zeros(0, dtype=torch.float64)


def tensor(*values):
    return torch.tensor(values, dtype=torch.float64)


def test_states_between_steps_follow_the_closed_form():
    """y' = i y as two numbers, at many more times than there are steps."""
    times = torch.linspace(0, 20, 4001, dtype=torch.float64)
    start = tensor(1.0, 0.0)

    def field(t, y):
        return torch.stack([-y[1], y[0]])

    found = integrate(field, start, times, SETTINGS, NO_KINKS)
    wanted = torch.stack([times.cos(), times.sin()], 1)
    torch.testing.assert_close(torch.stack(found.states), wanted, rtol=0, atol=1e-6)
    assert found.stopped is None
    # Recorded times cost nothing.
    ends = integrate(field, start, times[[0, -1]], SETTINGS, NO_KINKS)
    assert found.evaluations == ends.evaluations < 2000
    torch.testing.assert_close(found.states[-1], ends.states[-1], rtol=0, atol=1e-12)


def test_a_step_ends_on_each_kink(monkeypatch):
    """y' = |t - 1| + |t - 2|, linear between its kinks: each piece is integrated exactly."""
    steps = []

    def seen(*args):
        for step in accepted_steps(*args):
            steps.append((step.time, step.length))
            yield step

    monkeypatch.setattr("gmmdyn_ode.integration.accepted_steps", seen)
    found = integrate(
        lambda t, y: ((t - 1).abs() + (t - 2).abs()).reshape(1),
        tensor(0.0),
        tensor(0.0, 1.5, 3.0),
        SETTINGS,
        tensor(1.0, 2.0, -1.0, 7.0),
    )
    torch.testing.assert_close(torch.cat(found.states), tensor(0.0, 2.5, 5.0), atol=1e-12, rtol=0)
    ends, lengths = np.array(steps).T
    assert {1.0, 2.0, 3.0} <= set(ends)
    np.testing.assert_allclose(np.cumsum(lengths), ends)


@pytest.mark.parametrize("power", [2, 4])
def test_growth_without_bounds_is_said_to_be_that(power):
    """y' = y^n is infinite at t = 1/(n - 1)."""
    loose = SETTINGS._replace(rtol=1e-5, atol=1e-7)
    times = tensor(0.0, 0.2, 2.0)
    found = integrate(lambda t, y: y**power, tensor(1.0), times, loose, NO_KINKS)
    assert found.stopped.reason == BLOW_UP[0]
    assert abs(found.stopped.time - 1 / (power - 1)) < 1e-3
    assert len(found.states) == 2


def test_the_limit_of_evaluations_ends_with_what_there_was():
    found = integrate(
        lambda t, y: torch.cos(t).reshape(1), tensor(0.0), tensor(0.0, 1.0, 1e6), SETTINGS, NO_KINKS
    )
    assert "2000 evaluations allowed" in found.stopped.reason
    assert found.evaluations == 2000
    assert len(found.states) == 2
    np.testing.assert_allclose(float(found.states[1]), np.sin(1.0), atol=1e-7)


def test_where_there_is_no_rate_at_the_start_there_is_no_state():
    def field(t, y):
        raise NotPositiveError("no state.")

    found = integrate(field, tensor(0.0), tensor(0.0, 1.0), SETTINGS, NO_KINKS)
    assert found.states == []
    assert found.stopped.time == 0
    assert found.stopped.reason.startswith("no state.")


def test_it_is_the_solution_of_torchdiffeq():
    """XOR with ReLU and a schedule; torchdiffeq's steps end on every recorded time."""
    mixture = gd.data_model("xor", dim=100, variance=0.1)
    network = gd.network("committee", dim=100, hidden=3, init_scale=1.0, seed=1)
    algorithm = gd.OnlineSGD(gd.Schedule([0.0, 3.3, 20.0], [0.2, 1.0, 0.1]), 0.01)
    problem = Problem.of(mixture, network, algorithm)
    rule = gd.integrator("preintegrated", log2_lines=4)
    rule.prepare(3)
    dynamics, start = Dynamics(problem, rule), problem.initial

    def field(t, flat):
        return dynamics.derivative(t, start.unpack(flat)).pack()

    times = torch.linspace(0, 30, 61, dtype=torch.float64)
    loose, tight = (Settings("dopri5", r, r / 100, None, 20_000) for r in (1e-6, 1e-9))
    found = integrate(field, start.pack(), times, loose, problem.knots)
    slow = integrate_with_torchdiffeq(
        field, start.pack(), times, tight, problem.knots, [len(start.pack())]
    )
    wanted = torch.stack(slow.states)
    torch.testing.assert_close(torch.stack(found.states), wanted, rtol=0, atol=1e-5)
    assert float((wanted[-1] - wanted[0]).abs().max()) > 0.5  # it moves
