"""What goes to torchdiffeq, with points of Monte Carlo too."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torchdiffeq

import gmmdyn as gd
from gmmdyn_ode import Problem, flow


@pytest.fixture
def calls(monkeypatch):
    """The methods with which torchdiffeq is called."""
    methods = []
    odeint = torchdiffeq.odeint

    def seen(*args, **options):
        methods.append(options["method"])
        return odeint(*args, **options)

    monkeypatch.setattr(torchdiffeq, "odeint", seen)
    return methods


def experiment():
    mixture = gd.data_model("ring", dim=60, clusters_per_label=1, variance=0.4)
    network = gd.network(
        "committee", dim=60, hidden=2, activation="erf", init_scale=0.8, seed=4, dtype="float64"
    )
    return gd.Experiment(mixture, network, gd.OnlineSGD(0.5, 0.05))


def points():
    return gd.integrator("monte-carlo", samples=500)


@pytest.mark.parametrize(
    "method", ["dopri8", "bosh3", "fehlberg2", "adaptive_heun", "euler", "midpoint", "rk4", "heun3"]
)
def test_torchdiffeq_integrates_its_methods_with_a_monte_carlo_integrator(method, calls):
    fixed = method in ("euler", "midpoint", "rk4", "heun3")
    options = {"step": 0.01} if fixed else {"rtol": 1e-5}
    found = experiment().solve(
        "ode", times=[0, 0.5, 1.0], method=method, integrator=points(), **options
    )
    assert calls == [method]
    assert found.metadata["solver"]["integrator"] == "monte-carlo"
    # SciPy, with the same points.
    other = experiment().solve("ode", times=[0, 0.5, 1.0], integrator=points(), rtol=1e-8)
    assert calls == [method]
    room = 2e-2 if method == "euler" else 2e-4
    for name in ("Q", "R", "v", "pmse"):
        np.testing.assert_allclose(found[name], other[name], atol=room, err_msg=name)
    assert np.ptp(other.pmse) > 0.05


def test_torchdiffeq_integrates_dopri5_with_gradients_and_a_monte_carlo_integrator(calls):
    one = experiment()
    problem = Problem.of(one.data_model, one.network, one.algorithm)
    rates = problem.rates.clone().requires_grad_()
    found = flow(problem._replace(rates=rates), [0.0, 1.0], points(), method="dopri5")
    assert calls == ["dopri5"]
    solved = one.solve("ode", times=[0, 1.0], method="dopri5", integrator=points(), rtol=1e-8)
    np.testing.assert_allclose(found.pmse.detach(), solved.pmse, atol=1e-5)
    (gradient,) = torch.autograd.grad(found.pmse[-1], rates)
    ends = [
        gd.Experiment(one.data_model, one.network, gd.OnlineSGD(rate, 0.05))
        .solve("ode", times=[0, 1.0], integrator=points(), rtol=1e-9)
        .pmse[-1]
        for rate in (0.499, 0.501)
    ]
    np.testing.assert_allclose(float(gradient), (ends[1] - ends[0]) / 0.002, rtol=1e-3)


def test_covariances_that_do_not_commute_are_integrated_by_torchdiffeq(calls):
    generator = torch.Generator().manual_seed(0)
    factor = torch.randn(2, 12, 7, generator=generator, dtype=torch.float64) / 4
    means = torch.randn(2, 12, generator=generator, dtype=torch.float64)
    mixture = gd.data_model("random-covariance", means=means, labels=[-1, 1], factor=factor)
    network = gd.network("committee", dim=12, hidden=2, activation="erf", seed=1, dtype="float64")
    gd.Experiment(mixture, network, gd.OnlineSGD(0.3)).solve(
        "ode", times=[0, 0.5], integrator=points(), rtol=1e-4
    )
    assert calls == ["dopri5"]


def test_a_step_of_rk4_with_a_monte_carlo_integrator_is_the_rule_of_three_eighths():
    """By hand, from right-hand sides at given states; torchdiffeq's `rk4` is that rule."""
    one, h = experiment(), 0.2
    theory = gd.theory("ode", integrator=points(), method="rk4", step=h)
    start, slopes = one.network.order_parameters(one.data_model), []

    def after(*weights):
        """The state moved by a combination of the slopes."""
        return gd.OrderParameters(
            *(
                getattr(start, name)
                + h * sum(w * getattr(k, name) for w, k in zip(weights, slopes, strict=True))
                for name in ("Q", "R", "v")
            )
        )

    for weights in ((), (1 / 3,), (-1 / 3, 1), (1, -1, 1)):
        state = after(*weights)
        slopes.append(theory.derivative(one.data_model, one.network, one.algorithm, state))
    wanted = after(1 / 8, 3 / 8, 3 / 8, 1 / 8)
    found = one.solve(theory, times=[0, h])
    for name in ("Q", "R", "v"):
        np.testing.assert_allclose(found[name][1], getattr(wanted, name), atol=1e-12, err_msg=name)
