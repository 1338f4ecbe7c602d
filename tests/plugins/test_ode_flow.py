"""Gradients of solutions, and batches that are tensors."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import gmmdyn as gd
from gmmdyn.errors import RangeError
from gmmdyn_ode import Problem, flow

POINTS = gd.integrator("sobol", log2_samples=6)
FIXED = {"integrator": POINTS, "method": "rk4", "step": 0.5}
TIMES = [0.0, 0.7, 2.0]


def problem(activation="erf", **options):
    mixture = gd.data_model("ring", dim=30, clusters_per_label=1, variance=0.4, rho=0.3)
    network = gd.network(
        "committee",
        dim=30,
        hidden=2,
        activation=activation,
        bias=[0.1, -0.2],
        init_scale=0.7,
        seed=3,
        dtype="float64",
    )
    schedule = gd.Schedule([0.0, 0.9, 1.5], [0.8, 0.5, 0.2])
    algorithm = gd.OnlineSGD(schedule, 0.1, batch_size=2, label_noise=0.1)
    return gd.Experiment(mixture, network, algorithm), Problem.of(mixture, network, algorithm)


def test_it_is_the_solution_of_the_theory():
    experiment, tensors = problem()
    theory = gd.theory("ode", integrator=POINTS, rtol=1e-8)
    solved = experiment.solve(theory, times=TIMES)
    found = flow(tensors, solved.times, POINTS, rtol=1e-8, atol=1e-10)
    for name in ("Q", "R", "v", "b", "pmse", "classification_error"):
        np.testing.assert_allclose(getattr(found, name), solved[name], atol=1e-9, err_msg=name)


# What may have a gradient, by name in the problem or in its initial state.
LEAVES = [
    "rates",
    "weight_decay",
    "variances",
    "priors",
    "overlaps",
    "label_noise",
    "q",
    "r",
    "v",
    "b",
]


def put(tensors, name, value):
    if name in tensors.initial._fields:
        return tensors._replace(initial=tensors.initial._replace(**{name: value}))
    return tensors._replace(**{name: value})


@pytest.mark.parametrize("activation", ["erf", "relu"])
def test_gradients_are_those_of_finite_differences(activation):
    """In a random direction of each tensor."""
    lines = gd.integrator("preintegrated", log2_lines=4)
    options = {**FIXED, "integrator": lines if activation == "relu" else POINTS}
    _, tensors = problem(activation)
    generator = torch.Generator().manual_seed(0)
    leaves, directions = {}, {}
    for name in LEAVES:
        home = tensors.initial if name in tensors.initial._fields else tensors
        leaves[name] = getattr(home, name).clone().requires_grad_()
        shape = leaves[name].shape
        direction = torch.randn(shape, generator=generator, dtype=torch.float64)
        directions[name] = direction + direction.mT if name == "q" else direction

    def end(values):
        now = tensors
        for name, value in values.items():
            now = put(now, name, value)
        found = flow(now, TIMES, **options)
        # The errors measured after the last step, and a part of each curve on the way.
        return found.pmse[-1] + 0.1 * found.Q[1].sum() + 0.1 * found.v[-1].sum()

    gradients = torch.autograd.grad(end(leaves), list(leaves.values()))
    for (name, direction), gradient in zip(directions.items(), gradients, strict=True):
        h = 1e-5
        ends = []
        with torch.no_grad():
            for sign in (-1, 1):
                moved = leaves[name] + sign * h * direction
                ends.append(float(end({**leaves, name: moved})))
        wanted = (ends[1] - ends[0]) / (2 * h)
        np.testing.assert_allclose(
            float((gradient * direction).sum()), wanted, rtol=1e-5, err_msg=name
        )
        assert abs(wanted) > 1e-4, name


def test_the_gradient_through_an_adaptive_solver_is_that_of_the_solution():
    _, tensors = problem()
    rates = tensors.rates.clone().requires_grad_()
    tight = {"rtol": 1e-9, "atol": 1e-11, "integrator": POINTS}
    end = flow(tensors._replace(rates=rates), TIMES, **tight).pmse[-1]
    (gradient,) = torch.autograd.grad(end, rates)
    with torch.no_grad():
        for i in range(3):
            h = 1e-3
            shift = h * torch.eye(3, dtype=torch.float64)[i]
            ends = [
                float(flow(tensors._replace(rates=rates + sign * shift), TIMES, **tight).pmse[-1])
                for sign in (-1, 1)
            ]
            np.testing.assert_allclose(gradient[i], (ends[1] - ends[0]) / (2 * h), rtol=1e-5)


def test_a_tensor_with_a_leading_dimension_is_a_batch():
    experiment, tensors = problem()
    decays, rates = torch.tensor([0.0, 0.3, 0.1]).double(), torch.tensor([[0.5], [1.0]]).double()
    grid = tensors._replace(
        weight_decay=decays, rates=rates[..., None] * tensors.rates, knots=tensors.knots
    )
    assert grid.batch_shape == (2, 3)
    found = flow(grid, TIMES, **FIXED)
    assert found.Q.shape == (3, 2, 3, 2, 2)
    assert found.R.shape == (3, 2, 3, 2, 2)
    assert found.pmse.shape == (3, 2, 3)
    for i in range(2):
        for j in range(3):
            alone = tensors._replace(weight_decay=decays[j], rates=rates[i] * tensors.rates)
            one = flow(alone, TIMES, **FIXED)
            for name in ("Q", "R", "v", "b", "pmse", "classification_error", "loss"):
                torch.testing.assert_close(getattr(found, name)[:, i, j], getattr(one, name))
    adaptive = flow(grid, TIMES, POINTS)
    torch.testing.assert_close(adaptive.pmse, found.pmse, atol=1e-3, rtol=0)


def test_bad_arguments_are_named():
    _, tensors = problem()
    with pytest.raises(RangeError, match="`times`"):
        flow(tensors, [1.0, 0.0], POINTS)
    with pytest.raises(RangeError, match="`method`"):
        flow(tensors, [0.0, 1.0], POINTS, method="rk4")
