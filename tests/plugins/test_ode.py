"""The theory `ode`: closed forms, invariances, and never hanging."""

from __future__ import annotations

import time

import numpy as np
import pytest
import torch

import gmmdyn as gd
from gmmdyn.errors import ConvergenceError, IncompatibleError, RangeError, ShapeError
from gmmdyn.interfaces import Errors, Integrator


def committee(mixture, activation="relu", **options):
    options = {"hidden": 3, "init_scale": 0.8, "seed": 4, "dtype": "float64", **options}
    return gd.network("committee", dim=mixture.dim, activation=activation, **options)


def linear_reference(mixture, network, algorithm, times):
    """One linear unit with frozen readout 1, small steps of the hand-written moments.

    With g(x) = x and v = 1 every moment is elementary: Delta = y - lambda.
    """
    start = network.order_parameters(mixture)
    q, r = float(start.Q[0, 0]), start.R[:, 0].numpy().copy()
    p, y, s2 = mixture.priors.numpy(), mixture.labels.numpy(), mixture.variance
    overlaps = mixture.mean_overlaps.numpy()
    length = s2 + np.diag(overlaps) / mixture.dim
    eta, kappa = algorithm.learning_rate, algorithm.weight_decay
    rows, now = [], 0.0
    for until in times:
        steps = max(1, round((until - now) / 1e-4))
        h = (until - now) / steps
        for _ in range(steps):
            gap = y - r
            square = gap**2 + s2 * q
            dr = eta * (overlaps.T @ (p * gap) - s2 * r) - eta * kappa * r
            dq = 2 * eta * ((p * gap) @ r - s2 * q)
            dq += eta**2 * (p * square * length).sum() - 2 * eta * kappa * q
            r, q = r + h * dr, q + h * dq
        now = until
        rows.append((0.5 * p @ ((y - r) ** 2 + s2 * q), q))
    return np.array(rows)


def test_a_linear_unit_follows_its_closed_equations():
    mixture = gd.data_model("ring", dim=50, clusters_per_label=1, variance=0.4, rho=0.3)
    network = committee(mixture, "linear", hidden=1, readout="ones")
    algorithm = gd.OnlineSGD(0.3, 0.05, train_readout=False)
    times = np.array([0.0, 0.5, 2.0, 8.0])
    expected = linear_reference(mixture, network, algorithm, times)
    theory = gd.theory("ode", integrator=gd.integrator("sobol", log2_samples=16), rtol=1e-8)
    solved = theory.solve(mixture, network, algorithm, times=times)
    np.testing.assert_allclose(solved.pmse, expected[:, 0], atol=3e-4)
    np.testing.assert_allclose(solved["Q"][:, 0, 0], expected[:, 1], atol=3e-4)
    assert np.ptp(expected[:, 0]) > 0.1  # the problem moves


def derivative(mixture, network, algorithm, state):
    theory = gd.theory("ode", integrator=gd.integrator("sobol", log2_samples=14))
    return theory.derivative(mixture, network, algorithm, state)


@pytest.mark.parametrize("activation", ["relu", "erf"])
def test_the_right_hand_side_is_the_mean_change_of_one_sgd_step(activation):
    """Brute force: the mean over many samples of one update of the real network."""
    dim, count = 30, 400_000
    generator = torch.Generator().manual_seed(1)
    means = torch.randn(3, dim, generator=generator, dtype=torch.float64) * 1.5
    mixture = gd.data_model(
        "isotropic", means=means, labels=[-1, 1, 1], priors=[0.5, 0.2, 0.3], variance=0.6
    )
    network = committee(mixture, activation, hidden=2, bias=[0.2, -0.1])
    algorithm = gd.OnlineSGD(0.7, 0.2)
    theory = gd.theory("ode", integrator=gd.integrator("sobol", log2_samples=17))
    rates = theory.derivative(mixture, network, algorithm)
    batch = mixture.sample(count, generator, torch.float64)
    with torch.no_grad():
        w, v, b = network.first_layer, network.readout, network.bias
        fields = batch.inputs @ w.T / dim**0.5 + b
        g, dg = network.activation(fields), network.activation.derivative(fields)
        delta = (batch.labels - g @ v).unsqueeze(1)
        signal = v * dg * delta  # (n, K)
        eta, kappa = algorithm.learning_rate, algorithm.weight_decay
        nu = batch.inputs @ mixture.means.T / dim**0.5
        # d(mu.w)/D for each sample, in units of dt = 1/D
        dr = eta * nu.unsqueeze(2) * signal.unsqueeze(1)
        local = fields - b
        dq = eta * (signal.unsqueeze(2) * local.unsqueeze(1))
        dq = dq + dq.mT
        square = (batch.inputs**2).sum(1) / dim
        dq = dq + eta**2 * signal.unsqueeze(2) * signal.unsqueeze(1) * square[:, None, None]
        samples = {"R": dr, "Q": dq, "v": eta * delta * g, "b": eta * signal}
        state = network.order_parameters(mixture)
        decay = {"R": state.R, "Q": 2 * state.Q, "v": state.v, "b": state.b}
    for name, value in samples.items():
        mean = value.mean(0) - eta * kappa * decay[name]
        spread = value.std(0) / count**0.5
        # The theory neglects the correlation of |x|² with the fields, of order 1/D in dQ.
        room = 4 * spread + (0.02 if name == "Q" else 0)
        assert bool(((getattr(rates, name) - mean).abs() < room).all()), name


def test_relabelling_units_and_clusters_relabels_the_derivative():
    mixture = gd.data_model("random-means", dim=40, variance=0.3, rho=0.3, seed=2)
    network = committee(mixture)
    algorithm = gd.OnlineSGD(0.3, 0.1)
    state = network.order_parameters(mixture)
    units, clusters = [2, 0, 1], [3, 1, 0, 2]
    theory = gd.theory("ode", integrator=gd.integrator("sobol", log2_samples=16))
    plain = theory.derivative(mixture, network, algorithm, state)
    shuffled = gd.data_model(
        "isotropic",
        means=mixture.means[clusters],
        labels=mixture.labels[clusters],
        priors=mixture.priors[clusters],
        variance=0.3,
    )
    moved = gd.OrderParameters(
        Q=state.Q[units][:, units], R=state.R[clusters][:, units], v=state.v[units]
    )
    rates = theory.derivative(shuffled, network, algorithm, moved)
    # Other units meet other Sobol coordinates: equal to the integration error.
    torch.testing.assert_close(rates.Q, plain.Q[units][:, units], atol=2e-3, rtol=0)
    torch.testing.assert_close(rates.R, plain.R[clusters][:, units], atol=2e-3, rtol=0)


def test_splitting_a_cluster_in_two_changes_nothing():
    mixture = gd.data_model("xor", dim=40, variance=0.3, rho=0.3)
    network = committee(mixture)
    algorithm = gd.OnlineSGD(0.3, 0.1)
    split = gd.data_model(
        "isotropic",
        means=torch.cat([mixture.means, mixture.means[:1]]),
        labels=[-1, -1, 1, 1, -1],
        priors=[0.1, 0.35, 0.15, 0.15, 0.25],
        variance=0.3,
    )
    one = derivative(mixture, network, algorithm, network.order_parameters(mixture))
    two = derivative(split, network, algorithm, network.order_parameters(split))
    torch.testing.assert_close(one.Q, two.Q, atol=1e-12, rtol=0)
    torch.testing.assert_close(one.R, two.R[:4], atol=1e-12, rtol=0)
    torch.testing.assert_close(one.v, two.v, atol=1e-12, rtol=0)


def test_a_frozen_readout_does_not_move():
    mixture = gd.data_model("xor", dim=40)
    algorithm = gd.OnlineSGD(0.3, 0.1, train_readout=False)
    rates = derivative(mixture, committee(mixture), algorithm, None)
    assert torch.equal(rates.v, torch.zeros(3, dtype=torch.float64))
    assert bool((rates.Q != 0).all())


@pytest.mark.parametrize(("method", "order"), [("euler", 1), ("rk4", 4)])
def test_fixed_steps_converge_with_the_order_of_the_method(method, order):
    mixture = gd.data_model("xor", dim=40, variance=0.5)
    network = committee(mixture, "erf")
    algorithm = gd.OnlineSGD(1.5, 0.1)
    integrator = gd.integrator("sobol", log2_samples=8)

    def end(step, method):
        theory = gd.theory("ode", integrator=integrator, method=method, step=step)
        return theory.solve(mixture, network, algorithm, times=[0, 4.0])["Q"][-1]

    exact = end(0.025, "rk4")
    steps = np.array([0.8, 0.4, 0.2]) * (0.25 if method == "euler" else 1)
    errors = [np.abs(end(step, method) - exact).max() for step in steps]
    slope = np.polyfit(np.log(steps), np.log(errors), 1)[0]
    assert abs(slope - order) < 0.15 * order


def test_it_starts_from_given_order_parameters():
    mixture = gd.data_model("xor", dim=200)
    experiment = gd.Experiment(mixture, committee(mixture), gd.OnlineSGD(0.1))
    other = committee(mixture, seed=9).order_parameters(mixture)
    solved = experiment.solve("ode", times=[0, 1.0], initial=other, integrator="sobol")
    np.testing.assert_allclose(solved["R"][0], other.R.numpy())
    np.testing.assert_allclose(solved.order_parameters(0).Q, other.Q)


def test_a_tight_tolerance_on_a_jumping_integrator_ends_with_what_it_had():
    mixture = gd.data_model("xor", dim=200)
    network = committee(mixture, hidden=4)
    integrator = gd.integrator("monte-carlo", samples=200)
    experiment = gd.Experiment(mixture, network, gd.OnlineSGD(0.5, 0.01))
    began = time.perf_counter()
    with pytest.raises(ConvergenceError, match=r"stopped at t = .*evaluations allowed") as caught:
        experiment.solve(
            "ode", 50, integrator=integrator, rtol=1e-13, atol=1e-15, max_evaluations=2000
        )
    assert time.perf_counter() - began < 60
    partial = caught.value.partial
    assert partial is not None
    assert 1 <= partial.times.size < 51
    assert np.isfinite(partial.pmse).all()


def test_blow_up_says_when():
    mixture = gd.data_model("xor", dim=200, variance=1.0)
    network = committee(mixture, hidden=4)
    experiment = gd.Experiment(mixture, network, gd.OnlineSGD(50.0))
    with pytest.raises(ConvergenceError, match=r"t = .*lower the learning rate") as caught:
        experiment.solve("ode", 50, integrator="sobol", method="euler", step=0.1)
    assert caught.value.partial.times[0] == 0


def test_it_refuses_what_it_does_not_describe():
    shared = gd.data_model("random-covariance", means=torch.eye(2, 8), labels=[-1, 1])
    network = committee(shared)
    state = network.order_parameters(shared)
    with pytest.raises(IncompatibleError, match="start the theory from the weights"):
        gd.theory("ode").derivative(shared, network, gd.OnlineSGD(0.1), state)


def test_bad_options_are_named():
    with pytest.raises(RangeError, match="`rk4` needs a `step`"):
        gd.theory("ode", method="rk4")
    with pytest.raises(RangeError, match="drop `step`"):
        gd.theory("ode", step=0.1)
    with pytest.raises(RangeError, match=r"`method`.*dopri5"):
        gd.theory("ode", method="dopri6")
    with pytest.raises(RangeError, match="`rtol`"):
        gd.theory("ode", rtol=-1)
    mixture = gd.data_model("xor", dim=20)
    network = committee(mixture)
    state = gd.OrderParameters(Q=torch.eye(3), R=torch.zeros(2, 3), v=torch.ones(3))
    with pytest.raises(ShapeError, match="`R` has shape"):
        gd.theory("ode").derivative(mixture, network, gd.OnlineSGD(0.1), state)
    with pytest.raises(RangeError, match="`times`"):
        gd.theory("ode").solve(mixture, network, gd.OnlineSGD(0.1), times=[1.0, 0.5])


def without_noise(dim=50, variance=0.0, hidden=3, mixture="xor"):
    data_model = gd.data_model(mixture, dim=dim, variance=variance)
    network = gd.network("committee", dim=dim, hidden=hidden, activation="relu", seed=2)
    return data_model, network, gd.OnlineSGD(0.3, 0.01)


def test_without_noise_the_right_hand_side_is_the_mean_over_the_centres():
    """By hand: every cluster is one input, and dR, dQ, dv the change of one update times D."""
    mixture, network, algorithm = without_noise()
    found = gd.theory("ode").derivative(mixture, network, algorithm)
    w, v = network.first_layer.detach().double(), network.readout.detach().double()
    eta, kappa, dim = 0.3, 0.01, mixture.dim
    wanted = {name: torch.zeros_like(getattr(found, name)) for name in ("Q", "R", "v")}
    for prior, mean, y in zip(mixture.priors, mixture.means.double(), mixture.labels, strict=True):
        x = mean / dim**0.5
        fields = w @ x / dim**0.5
        assert bool((fields.abs() > 1e-5).all())  # none near its kink
        delta = y - v @ fields.clamp_min(0)
        change = eta * delta / dim**0.5 * (v * (fields > 0))[:, None] * x
        change = change - eta * kappa / dim * w
        wanted["R"] += prior * mixture.means.double() @ change.T
        cross = w @ change.T
        square = (change + eta * kappa / dim * w) @ (change + eta * kappa / dim * w).T
        wanted["Q"] += prior * (cross + cross.T + square)
        wanted["v"] += prior * eta * (delta * fields.clamp_min(0) - kappa * v)
    for name, value in wanted.items():
        torch.testing.assert_close(getattr(found, name), value, rtol=0, atol=1e-6)


@pytest.mark.parametrize(("mixture", "hidden"), [("xor", 1), ("xor", 3)])
def test_no_noise_is_the_limit_of_little_noise(mixture, hidden):
    """Units that reach their kink stay on it; what is left falls as the noise does."""
    times, gaps = [0.0, 20.0, 60.0], []
    exact = gd.theory("ode").solve(*without_noise(50, 0.0, hidden, mixture), times=times)
    for variance in (1e-4, 1e-6):
        near = gd.theory("ode").solve(*without_noise(50, variance, hidden, mixture), times=times)
        gaps.append([np.abs(near[name] - exact[name]).max() for name in ("pmse", "Q", "R", "v")])
    assert max(gaps[1]) < 1e-2
    assert sum(gaps[1]) < 0.3 * sum(gaps[0])
    assert np.ptp(exact.pmse) > 1e-2  # it moves


def test_inputs_that_are_exactly_0_are_ties_at_all_times():
    """The middle cluster of the three, of prior ½, is at the origin and has no noise."""
    solved = gd.theory("ode").solve(*without_noise(mixture="three-clusters"), times=[0.0, 30.0])
    assert (solved.tie_rate >= 0.5).all()


def test_an_integrator_may_leave_out_ties():
    class Silent(Integrator):
        """What a third party wrote before there were tie rates."""

        smooth, relative_error = True, 1e-6

        def prepare(self, hidden):
            self.inner = gd.integrator("preintegrated")
            self.inner.prepare(hidden)

        def moments(self, fields):
            return self.inner.moments(fields)

        def errors(self, fields):
            return Errors(*self.inner.errors(fields)[:4])

    parts = without_noise(variance=0.2, hidden=1)
    options = {"times": [0.0, 1.0]}
    loud = gd.theory("ode").solve(*parts, **options)
    silent = gd.theory("ode", integrator=Silent()).solve(*parts, **options)
    assert "tie_rate" in loud.curves
    assert "tie_rate" not in silent.curves
    np.testing.assert_allclose(silent.classification_error, loud.classification_error, atol=1e-6)
