"""How the error of the integrators falls, and singular covariances."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.integrate import quad
from scipy.stats import multivariate_normal, norm

import gmmdyn as gd
from gmmdyn.errors import NotPositiveError, RangeError
from gmmdyn.interfaces import Fields


def fields(activation="relu", hidden=3):
    generator = torch.Generator().manual_seed(0)
    root = torch.randn(2, hidden, hidden, generator=generator, dtype=torch.float64)
    return Fields(
        mean=torch.randn(2, hidden, generator=generator, dtype=torch.float64) * 0.5,
        covariance=root @ root.mT / hidden,
        readout=torch.linspace(-1, 1, hidden, dtype=torch.float64),
        labels=torch.tensor([-1.0, 1.0], dtype=torch.float64),
        activation=gd.activation(activation) if isinstance(activation, str) else activation,
    )


def all_moments(integrator, problem):
    integrator.prepare(problem.mean.shape[-1])
    return torch.cat([part.flatten() for part in integrator.moments(problem)])


@pytest.mark.parametrize(
    ("name", "option", "activation", "low", "high"),
    [
        ("monte-carlo", "samples", "relu", -0.6, -0.4),
        ("monte-carlo", "samples", "erf", -0.6, -0.4),
        ("sobol", "log2_samples", "erf", -1.15, -0.75),
        ("sobol", "log2_samples", "relu", -1.05, -0.65),
    ],
)
def test_the_error_falls_with_the_stated_order(name, option, activation, low, high):
    problem = fields(activation)
    exact = all_moments(gd.integrator("sobol", log2_samples=18, seed=99), problem)
    logs = [6, 8, 10, 12]
    errors = []
    for log in logs:
        value = 2**log if option == "samples" else log
        gaps = [
            all_moments(gd.integrator(name, **{option: value}, seed=seed), problem) - exact
            for seed in range(12)
        ]
        errors.append(torch.stack(gaps).square().mean().sqrt())
    slope = np.polyfit(np.log(2.0) * np.array(logs), np.log(errors), 1)[0]
    assert low < slope < high


def test_lines_agree_with_points_and_converge_faster():
    """Two ways that share nothing but the definition; the error falls as one over the lines."""
    problem = fields("relu", hidden=4)
    exact = all_moments(gd.integrator("preintegrated", log2_lines=16, seed=99), problem)
    points = all_moments(gd.integrator("sobol", log2_samples=16), problem)
    assert (exact - points).abs().max() < 2e-3
    logs, errors = [5, 7, 9, 11], []
    for log in logs:
        gaps = [
            all_moments(gd.integrator("preintegrated", log2_lines=log, seed=seed), problem) - exact
            for seed in range(8)
        ]
        errors.append(torch.stack(gaps).square().mean().sqrt())
    slope = np.polyfit(np.log(2.0) * np.array(logs), np.log(errors), 1)[0]
    assert -1.4 < slope < -0.8
    assert errors[2] < gd.integrator("preintegrated", log2_lines=9).relative_error


class Bent(gd.Activation):
    """Three slopes of both signs, kinks off the origin."""

    kinks = (-0.7, 0.4)
    slopes = (0.2, 1.0, -0.5)

    def forward(self, x):
        middle = x.clamp(-0.7, 0.4)
        return middle + 0.2 * (x + 0.7).clamp_max(0) - 0.5 * (x - 0.4).clamp_min(0)

    def derivative(self, x):
        left, right = (x < -0.7).to(x.dtype), (x > 0.4).to(x.dtype)
        return 1 - 0.8 * left - 1.5 * right


def with_gradient(problem):
    """The same problem, which takes the way of the gradients."""
    return problem._replace(mean=problem.mean.clone().requires_grad_())


def collinear(problem):
    """Make the second unit the opposite of the first."""
    sign = torch.ones(problem.mean.shape[-1], dtype=torch.float64)
    sign[1] = -1
    index = torch.arange(len(sign))
    index[1] = 0
    covariance = problem.covariance[..., index, :][..., :, index]
    return problem._replace(
        mean=problem.mean[..., index] * sign,
        covariance=covariance * sign * sign[:, None],
    )


@pytest.mark.parametrize("hidden", [1, 2, 3, 5])
@pytest.mark.parametrize("activation", ["relu", "linear", Bent()], ids=["relu", "linear", "bent"])
def test_the_compiled_way_and_the_differentiable_one_agree(activation, hidden):
    integrator = gd.integrator("preintegrated", log2_lines=5)
    integrator.prepare(hidden)
    problem = fields(activation, hidden)
    cases = [problem, collinear(problem)] if hidden > 1 else [problem]
    for case in cases:
        slow = with_gradient(case)
        for one, two in zip(integrator.moments(case), integrator.moments(slow), strict=True):
            torch.testing.assert_close(one, two.detach(), rtol=0, atol=1e-12)
        found, wanted = integrator.errors(case), integrator.errors(slow)
        for one, two in zip(found[:4], wanted[:4], strict=True):
            torch.testing.assert_close(one, two.detach(), rtol=0, atol=1e-12)


@pytest.mark.parametrize("activation", ["relu", Bent()], ids=["relu", "bent"])
@pytest.mark.parametrize("equal", [False, True], ids=["generic", "equal eigenvalues"])
def test_moments_and_errors_can_be_differentiated(activation, equal):
    """Against finite differences; equal eigenvalues are what symmetric states of the XOR have."""
    problem = fields(activation)
    integrator = gd.integrator("preintegrated", log2_lines=4)
    integrator.prepare(3)
    covariance = 0.7 * torch.eye(3, dtype=torch.float64).expand(2, 3, 3)
    covariance = covariance if equal else problem.covariance
    readout = torch.tensor([-1.0, 0.3, 0.8], dtype=torch.float64)  # a 0 would be a jump: φ = 0

    def everything(mean, covariance, readout):
        moved = problem._replace(
            mean=mean, covariance=(covariance + covariance.mT) / 2, readout=readout
        )
        return *integrator.moments(moved), *integrator.errors(moved)[:2]

    inputs = [part.clone().requires_grad_() for part in (problem.mean, covariance, readout)]
    assert torch.autograd.gradcheck(everything, inputs, atol=2e-5, rtol=1e-4, fast_mode=True)


@pytest.mark.parametrize("state", ["random", "informed"])
def test_the_right_hand_side_of_the_xor_is_good_to_1e_5(state):
    """XOR, four ReLU units, variance 0.05: by default, against 2^15 lines."""
    mixture = gd.data_model("xor", dim=1000, variance=0.05)
    scale = 1.0 if state == "random" else 0.3
    network = gd.network(
        "committee",
        hidden=4,
        init=state,
        init_scale=scale,
        mixture=mixture,
        seed=1,
        dtype="float64",
    )
    parts = mixture, network, gd.OnlineSGD(0.1, 0.01)
    exact = gd.integrator("preintegrated", log2_lines=15, seed=5)
    found = gd.theory("ode", integrator="preintegrated").derivative(*parts)
    wanted = gd.theory("ode", integrator=exact).derivative(*parts)
    for name in ("Q", "R", "v"):
        gap = getattr(found, name) - getattr(wanted, name)
        assert gap.abs().max() < 1e-5


def relu_mean(m, variance):
    """E[max(x, 0)] for x ~ N(m, variance)."""
    s = np.sqrt(variance)
    return m * norm.cdf(m / s) + s * norm.pdf(m / s)


def test_the_drift_of_two_units_is_exact():
    """Against one-dimensional quadrature: given one field, the other is a single Gaussian."""
    problem = fields("relu", hidden=2)
    integrator = gd.integrator("preintegrated")
    integrator.prepare(2)
    moments, errors = integrator.moments(problem), integrator.errors(problem)
    v = problem.readout.numpy()
    for cluster in range(2):
        m, q = problem.mean[cluster].numpy(), problem.covariance[cluster].numpy()
        y = float(problem.labels[cluster])
        single = [relu_mean(m[k], q[k, k]) for k in range(2)]

        def over_first(k, weight, m=m, q=q):
            """∫ over x_k > 0 of weight(x_k) E[max(x_i, 0) | x_k] times the density of x_k."""
            i, s = 1 - k, np.sqrt(q[k, k])
            left = q[i, i] - q[i, k] ** 2 / q[k, k]

            def integrand(x):
                given = relu_mean(m[i] + q[i, k] / q[k, k] * (x - m[k]), left)
                return weight(x) * given * norm.pdf((x - m[k]) / s) / s

            return quad(integrand, 0, m[k] + 12 * s, epsabs=1e-12, limit=200)[0]

        both = over_first(0, lambda x: x)
        squares = [
            (m[k] ** 2 + q[k, k]) * norm.cdf(m[k] / q[k, k] ** 0.5)
            + m[k] * q[k, k] ** 0.5 * norm.pdf(m[k] / q[k, k] ** 0.5)
            for k in range(2)
        ]
        for k in range(2):
            i = 1 - k
            up = norm.cdf(m[k] / np.sqrt(q[k, k]))
            drive = y * up - v[k] * single[k] - v[i] * over_first(k, lambda x: 1.0)
            np.testing.assert_allclose(moments.drive[cluster, k], drive, atol=1e-9)
            readout = y * single[k] - v[k] * squares[k] - v[i] * both
            np.testing.assert_allclose(moments.readout[cluster, k], readout, atol=1e-9)
        output = v @ single
        square = v[0] ** 2 * squares[0] + v[1] ** 2 * squares[1] + 2 * v[0] * v[1] * both
        pmse = 0.5 * (1 - 2 * y * output + square)
        np.testing.assert_allclose(errors.pmse[cluster], pmse, atol=1e-9)
        together = multivariate_normal(m, q).cdf([0, 0])
        together += 1 - norm.cdf(-m[0] / q[0, 0] ** 0.5) - norm.cdf(-m[1] / q[1, 1] ** 0.5)
        np.testing.assert_allclose(moments.stein[cluster, 0, 1], -v[1] * together, atol=1e-6)


@pytest.mark.parametrize("compiled", [True, False])
def test_what_parts_two_merging_units_is_positive_and_of_first_order(compiled):
    """E[(g'_k - g'_l)² Δ²] is of the order of the angle; corrections must not drown it."""
    others = torch.tensor([[0.1, 1, 0.3, 0], [-0.4, 0.2, 1, 0], [0, -1, 0.1, 0.5]])
    mean = torch.tensor([[0.3, 0.3, -0.2, 0.1, 0.4], [-0.5, -0.5, 0.1, 0.2, -0.3]]).double()
    rule = gd.integrator("preintegrated", log2_lines=8)
    rule.prepare(5)
    parts = []
    for angle in (1e-2, 1e-3, 1e-4):
        pair = torch.tensor([[1, 0, 0, 0.2], [1, angle, 0, 0.2]], dtype=torch.float64)
        weights = torch.cat([pair, others.double()])
        covariance = (0.1 * weights @ weights.T).expand(2, 5, 5)
        v = torch.tensor([0.6, 0.5, -0.7, 0.4, -0.5], dtype=torch.float64)
        if not compiled:
            v.requires_grad_()
        labels = torch.tensor([1.0, -1.0], dtype=torch.float64)
        fields = Fields(mean, covariance, v, labels, gd.activation("relu"))
        noise = rule.moments(fields).noise.detach()
        parts.append((noise[:, 0, 0] - 2 * noise[:, 0, 1] + noise[:, 1, 1]) / angle)
    scaled = torch.stack(parts)
    assert bool((scaled > 0).all())
    # The limit is finite; 256 lines see the narrow wedge between the units coarsely.
    assert bool((scaled.max(0).values < 2 * scaled.min(0).values).all())


def test_one_unit_is_exact():
    """ReLU moments of one Gaussian field, in closed form."""
    m, s, v = 0.4, 0.9, 0.7
    problem = Fields(
        mean=torch.tensor([[m]], dtype=torch.float64),
        covariance=torch.tensor([[[s**2]]], dtype=torch.float64),
        readout=torch.tensor([v], dtype=torch.float64),
        labels=torch.ones(1, dtype=torch.float64),
        activation=gd.activation("relu"),
    )
    found = gd.integrator("preintegrated")
    found.prepare(1)
    moments, errors = found.moments(problem), found.errors(problem)
    p, density = norm.cdf(m / s), norm.pdf(m / s)
    first, second = m * p + s * density, (m**2 + s**2) * p + m * s * density
    np.testing.assert_allclose(moments.drive.item(), p - v * first)
    np.testing.assert_allclose(moments.readout.item(), first - v * second)
    np.testing.assert_allclose(moments.noise.item(), p - 2 * v * first + v**2 * second)
    # g'' is a spike at 0, where the output is 0 and Delta is y = 1.
    np.testing.assert_allclose(moments.stein.item(), density / s - v * p)
    np.testing.assert_allclose(errors.pmse.item(), 0.5 * (1 - 2 * v * first + v**2 * second))
    np.testing.assert_allclose(errors.classification_error.item(), 1 - p)


def test_lines_are_smooth_in_the_state():
    """Differences of differences shrink with the step: what an adaptive solver relies on."""
    problem = fields("relu", hidden=4)

    def roughness(name, step):
        integrator = gd.integrator(name)

        def at(shift):
            moved = problem._replace(mean=problem.mean + shift)
            return all_moments(integrator, moved)

        return (at(step) - 2 * at(0.0) + at(-step)).abs().max() / step**2

    # A second derivative exists ...
    assert roughness("preintegrated", 1e-4) < 3 * roughness("preintegrated", 1e-2)
    # ... which points do not have.
    assert roughness("sobol", 1e-4) > 10 * roughness("sobol", 1e-2)


@pytest.mark.parametrize("name", ["monte-carlo", "preintegrated", "sobol"])
def test_identical_units_and_frozen_units_are_no_special_case(name):
    """K = 2 identical units with readouts v/2 each are one unit with readout v."""
    integrator = gd.integrator(name)
    one = Fields(
        mean=torch.tensor([[0.3]], dtype=torch.float64),
        covariance=torch.tensor([[[0.8]]], dtype=torch.float64),
        readout=torch.tensor([0.9], dtype=torch.float64),
        labels=torch.ones(1, dtype=torch.float64),
        activation=gd.activation("relu"),
    )
    two = one._replace(
        mean=one.mean.expand(1, 2),
        covariance=one.covariance.expand(1, 2, 2),
        readout=torch.tensor([0.45, 0.45], dtype=torch.float64),
    )
    integrator.prepare(1)
    single = integrator.moments(one)
    integrator.prepare(2)
    double = integrator.moments(two)
    for k in range(2):
        torch.testing.assert_close(double.drive[:, k], single.drive[:, 0], atol=2e-2, rtol=0)
        total = double.stein[:, k].sum(-1)
        torch.testing.assert_close(total, single.stein[:, 0, 0], atol=3e-2, rtol=0)
    dead = two._replace(covariance=torch.zeros(1, 2, 2, dtype=torch.float64))
    for part in integrator.moments(dead):
        assert bool(torch.isfinite(part).all())


@pytest.mark.parametrize("name", ["monte-carlo", "preintegrated", "sobol"])
def test_an_output_of_exactly_zero_is_an_error(name):
    """Two units far below their kink: the output is 0 whatever the label."""
    problem = Fields(
        mean=torch.full((2, 2), -70.0, dtype=torch.float64),
        covariance=torch.eye(2, dtype=torch.float64).expand(2, 2, 2),
        readout=torch.ones(2, dtype=torch.float64),
        labels=torch.tensor([-1.0, 1.0], dtype=torch.float64),
        activation=gd.activation("relu"),
    )
    integrator = gd.integrator(name)
    integrator.prepare(2)
    assert integrator.errors(problem).classification_error.tolist() == [1, 1]
    assert integrator.errors(problem).pmse.tolist() == [0.5, 0.5]


def test_a_batch_of_states_is_each_state():
    problem = fields()
    integrator = gd.integrator("sobol", log2_samples=8)
    integrator.prepare(3)
    one = integrator.moments(problem)
    stacked = problem._replace(
        mean=torch.stack([problem.mean, problem.mean * 0.5]),
        covariance=torch.stack([problem.covariance, problem.covariance * 2]),
        readout=torch.stack([problem.readout, problem.readout * 3]),
    )
    both = integrator.moments(stacked)
    for part, parts in zip(one, both, strict=True):
        torch.testing.assert_close(parts[0], part)


def test_negative_covariances_are_refused():
    problem = fields()
    bad = problem._replace(covariance=-problem.covariance)
    integrator = gd.integrator("sobol", log2_samples=4)
    integrator.prepare(3)
    with pytest.raises(NotPositiveError, match="negative eigenvalue"):
        integrator.moments(bad)


def test_bad_options_are_named():
    for name, options in (("monte-carlo", {"samples": 1}), ("sobol", {"log2_samples": 25})):
        with pytest.raises(RangeError, match=f"`{next(iter(options))}`"):
            gd.integrator(name, **options)
