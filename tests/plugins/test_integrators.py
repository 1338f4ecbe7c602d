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
        pairs = [pair for pair in zip(found, wanted, strict=True) if pair != (None, None)]
        assert len(pairs) == 6  # no loss of its own
        for one, two in pairs:
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
        errors = integrator.errors(moved)
        return *integrator.moments(moved), errors.pmse, errors.classification_error, errors.tie_rate

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
            drive = v[k] * (y * up - v[k] * single[k] - v[i] * over_first(k, lambda x: 1.0))
            np.testing.assert_allclose(moments.drive[cluster, k], drive, atol=1e-9)
            readout = y * single[k] - v[k] * squares[k] - v[i] * both
            np.testing.assert_allclose(moments.readout[cluster, k], readout, atol=1e-9)
        output = v @ single
        square = v[0] ** 2 * squares[0] + v[1] ** 2 * squares[1] + 2 * v[0] * v[1] * both
        pmse = 0.5 * (1 - 2 * y * output + square)
        np.testing.assert_allclose(errors.pmse[cluster], pmse, atol=1e-9)
        together = multivariate_normal(m, q).cdf([0, 0])
        together += 1 - norm.cdf(-m[0] / q[0, 0] ** 0.5) - norm.cdf(-m[1] / q[1, 1] ** 0.5)
        stein = -v[0] * v[1] * together
        np.testing.assert_allclose(moments.stein[cluster, 0, 1], stein, atol=1e-6)


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
        noise = (rule.moments(fields).noise / (v[:, None] * v)).detach()
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
    np.testing.assert_allclose(moments.drive.item(), v * (p - v * first))
    np.testing.assert_allclose(moments.readout.item(), first - v * second)
    noise = v**2 * (p - 2 * v * first + v**2 * second)
    np.testing.assert_allclose(moments.noise.item(), noise)
    # g'' is a spike at 0, where the output is 0 and Delta is y = 1.
    np.testing.assert_allclose(moments.stein.item(), v * (density / s - v * p))
    np.testing.assert_allclose(errors.pmse.item(), 0.5 * (1 - 2 * v * first + v**2 * second))
    # The label is +1 and the output 0 or positive.
    np.testing.assert_allclose(errors.classification_error.item(), (1 - p) / 2)
    np.testing.assert_allclose(errors.tie_rate.item(), 1 - p)


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
    """K = 2 identical units with readouts v/2 each are one unit with readout v, in halves."""
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
        drive, total = 2 * double.drive[:, k], 2 * double.stein[:, k].sum(-1)
        torch.testing.assert_close(drive, single.drive[:, 0], atol=2e-2, rtol=0)
        torch.testing.assert_close(total, single.stein[:, 0, 0], atol=3e-2, rtol=0)
    dead = two._replace(covariance=torch.zeros(1, 2, 2, dtype=torch.float64))
    for part in integrator.moments(dead):
        assert bool(torch.isfinite(part).all())


@pytest.mark.parametrize(
    ("name", "activation"),
    [("closed-form", "erf"), ("preintegrated", "relu"), ("sobol", "relu"), ("sobol", "erf")],
)
def test_moments_keep_their_digits_however_small_a_readout(name, activation):
    """The learning signal of a unit is its readout times what the other units make of it."""
    integrator = gd.integrator(name)
    integrator.prepare(4)
    problem = fields(activation, 4)

    def by_readout(small):
        v = torch.tensor([0.8, -1.1, small, 0.0], dtype=torch.float64)
        found = integrator.moments(problem._replace(readout=v))
        for part in (found.drive[:, 3], found.stein[:, 3], found.noise[:, 3]):
            assert bool((part == 0).all())
        return (
            found.drive[:, 2] / small,
            found.stein[:, 2, 2] / small,
            found.noise[:, 2, :2] / small,
            found.noise[:, 2, 2] / small**2,
        )

    for one, other in zip(by_readout(1e-12), by_readout(1e-30), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=0)


@pytest.mark.parametrize("name", ["monte-carlo", "preintegrated", "sobol"])
def test_an_output_of_exactly_zero_is_half_an_error(name):
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
    assert integrator.errors(problem).classification_error.tolist() == [0.5, 0.5]
    assert integrator.errors(problem).tie_rate.tolist() == [1, 1]
    assert integrator.errors(problem).pmse.tolist() == [0.5, 0.5]


@pytest.mark.parametrize("name", ["monte-carlo", "preintegrated", "sobol"])
@pytest.mark.parametrize("compiled", [True, False])
def test_ties_are_the_orthant_where_all_rectifiers_are_off(name, compiled):
    """Against the trivariate normal cdf; with readouts of one sign nothing else is an error."""
    problem = fields("relu", 3)._replace(readout=torch.tensor([0.3, 1.0, 2.0]).double())
    exact = [
        multivariate_normal(m, c).cdf(np.zeros(3))
        for m, c in zip(problem.mean.numpy(), problem.covariance.numpy(), strict=True)
    ]
    integrator = gd.integrator(name)
    integrator.prepare(3)
    if not compiled:
        problem = with_gradient(problem)
    errors = integrator.errors(problem)
    exact = torch.tensor(exact, dtype=torch.float64)
    assert bool((exact > 0.01).all())
    assert bool(((errors.tie_rate - exact).abs() < 4 * errors.tie_rate_se + 1e-4).all())
    # Of label -1 every positive output is wrong, of label +1 none.
    wanted = torch.stack([1 - exact[0] / 2, exact[1] / 2])
    gap = (errors.classification_error - wanted).abs()
    assert bool((gap < 4 * errors.classification_error_se + 1e-4).all())


@pytest.mark.parametrize("name", ["closed-form", "gauss-hermite", "sobol", "monte-carlo"])
def test_smooth_units_never_tie_unless_their_readouts_are_zero(name):
    integrator = gd.integrator(name, **({"points": 8} if name == "gauss-hermite" else {}))
    integrator.prepare(3)
    problem = fields("erf", 3)
    assert integrator.errors(problem).tie_rate.tolist() == [0, 0]
    errors = integrator.errors(problem._replace(readout=torch.zeros(3, dtype=torch.float64)))
    assert errors.tie_rate.tolist() == [1, 1]
    assert errors.classification_error.tolist() == [0.5, 0.5]


@pytest.mark.parametrize("name", ["closed-form", "monte-carlo", "preintegrated", "sobol"])
@pytest.mark.parametrize("activation", ["relu", "linear"])
def test_fields_without_variance_stay_at_their_means(name, activation):
    """Errors by hand of one input: right, wrong, and a unit exactly on its kink."""
    integrator = gd.integrator(name)
    activation = gd.activation(activation)
    problem = Fields(
        mean=torch.tensor([[0.4, -0.3], [0.4, -0.3], [0.0, 0.0]], dtype=torch.float64),
        covariance=torch.zeros(1, 2, 2, dtype=torch.float64),
        readout=torch.tensor([0.5, -0.2], dtype=torch.float64),
        labels=torch.tensor([1.0, -1.0, 1.0], dtype=torch.float64),
        activation=activation,
    )
    if integrator.obstacle(activation, problem.loss, 2) is not None:
        pytest.skip("refused, as the conformance tests check")
    integrator.prepare(2)
    errors = integrator.errors(problem)
    output = (activation(problem.mean) @ problem.readout).tolist()
    assert errors.classification_error.tolist() == [0, 1, 0.5]
    assert errors.tie_rate.tolist() == [0, 0, 1]
    assert errors.classification_error_se.tolist() == [0, 0, 0]
    assert errors.tie_rate_se.tolist() == [0, 0, 0]
    squares = [0.5 * (y - o) ** 2 for y, o in zip([1, -1, 1], output, strict=True)]
    np.testing.assert_allclose(errors.pmse, squares)


def random_state(seed, activation, hidden, tail):
    """A random network; with a tail its outputs are mostly right."""
    generator = torch.Generator().manual_seed(seed)
    shape = (2, hidden, hidden)
    root = torch.randn(shape, generator=generator, dtype=torch.float64) * (0.3 if tail else 1.0)
    problem = Fields(
        mean=0.8 * torch.randn(2, hidden, generator=generator, dtype=torch.float64),
        covariance=root @ root.mT / hidden,
        readout=torch.randn(hidden, generator=generator, dtype=torch.float64),
        labels=torch.tensor([-1.0, 1.0], dtype=torch.float64),
        activation=gd.activation(activation),
    )
    output = problem.activation(problem.mean) @ problem.readout
    right = torch.where(output < 0, -1.0, 1.0).double()
    return problem._replace(labels=right) if tail else problem


@pytest.mark.parametrize("tail", [False, True], ids=["bulk", "tail"])
@pytest.mark.parametrize(
    ("name", "activation", "hidden"),
    [
        ("preintegrated", "relu", 3),
        ("preintegrated", "relu", 8),
        ("closed-form", "erf", 4),
        ("sobol", "tanh", 4),
        ("sobol", "relu", 3),
    ],
)
def test_the_stated_error_of_the_classification_error_is_its_error(
    name, activation, hidden, tail, monkeypatch
):
    """Over 50 random states, against 16,384 lines in scramblings of their own."""
    rule, exact = gd.integrator(name), gd.integrator(name, seed=777)
    rule.prepare(hidden)
    exact.prepare(hidden)
    states = [random_state(seed, activation, hidden, tail) for seed in range(50)]
    found = [rule.errors(state) for state in states]
    # Never close enough, so that all lines are taken.
    monkeypatch.setattr(exact, "_tolerance", -1)
    for constant, value in (("ABSOLUTE", -1), ("_MOST_ASKED", 2**11)):
        monkeypatch.setattr(f"gmmdyn_integrators._error_rate.{constant}", value)
    wanted = [exact.errors(state) for state in states]
    z = [
        (a.classification_error - b.classification_error)
        / torch.hypot(a.classification_error_se, b.classification_error_se)
        for a, b in zip(found, wanted, strict=True)
    ]
    assert 0.5 < torch.stack(z).square().mean().sqrt() < 2
    # The share of the rate that is asked for, or 1e-6, where so many lines reach it.
    share = torch.stack([a.classification_error_se / a.classification_error for a in found])
    assert share.median() < 2e-3


@pytest.mark.parametrize(("activation", "hidden"), [("relu", 3), ("tanh", 4), ("erf", 2)])
def test_the_stated_error_of_the_pmse_of_sobol_is_its_error(activation, hidden):
    """Over 50 random states, against closed forms or many more points."""
    rule = gd.integrator("sobol", log2_samples=11)
    best = {"relu": ("preintegrated", {}), "erf": ("closed-form", {})}
    name, options = best.get(activation, ("sobol", {"log2_samples": 17, "seed": 5}))
    exact = gd.integrator(name, **options)
    rule.prepare(hidden)
    exact.prepare(hidden)
    z = []
    for seed in range(50):
        state = random_state(seed, activation, hidden, False)
        a, b = rule.errors(state), exact.errors(state)
        z.append((a.pmse - b.pmse) / a.pmse_se)
    assert 0.5 < torch.stack(z).square().mean().sqrt() < 2


@pytest.mark.parametrize(("name", "activation"), [("preintegrated", "relu"), ("sobol", "tanh")])
def test_the_tolerance_bounds_the_stated_error(name, activation):
    state = random_state(1, activation, 4, False)
    for tolerance in (1e-2, 1e-3, 2e-4):
        integrator = gd.integrator(name, tolerance=tolerance)
        integrator.prepare(4)
        errors = integrator.errors(state)
        room = tolerance * errors.classification_error
        assert errors.classification_error[0] > 0.02
        # Ties and other errors have each their share.
        assert errors.classification_error_se[0] < 2**0.5 * room[0]
    with pytest.raises(RangeError, match="`tolerance`"):
        gd.integrator(name, tolerance=0.0)


@pytest.mark.parametrize("hidden", [2, 3, 6])
def test_the_relative_error_of_sobol_is_that_of_moments_with_kinks(hidden):
    """Root mean square over 20 random networks, of moments of order one."""
    rule = gd.integrator("sobol", log2_samples=12)
    exact = gd.integrator("preintegrated", log2_lines=13)
    gaps = []
    for seed in range(20):
        state = random_state(seed, "relu", hidden, False)
        wanted = all_moments(exact, state)
        gaps.append((all_moments(rule, state) - wanted) / wanted.abs().clamp_min(1))
    error = torch.cat(gaps).square().mean().sqrt()
    assert 0.3 * rule.relative_error < error < 3 * rule.relative_error


def test_the_error_of_an_oracle_is_not_below_the_bayes_error():
    """Four large ReLU units on the means of the XOR; the exact Bayes error has a closed form."""
    variance = 0.05
    means = torch.tensor([[1.0, 0], [-1, 0], [0, 1], [0, -1]], dtype=torch.float64)
    weights = 2 * means
    covariance = variance * (weights @ weights.T + 1e-5 * torch.eye(4, dtype=torch.float64))
    problem = Fields(
        mean=means @ weights.T,
        covariance=covariance.unsqueeze(0),
        readout=torch.tensor([-2.0, -2, 2, 2], dtype=torch.float64),
        labels=torch.tensor([-1.0, -1, 1, 1], dtype=torch.float64),
        activation=gd.activation("relu"),
    )
    q = norm.cdf(-1 / np.sqrt(2 * variance))
    bayes = 2 * q * (1 - q)
    for seed in range(20):
        integrator = gd.integrator("preintegrated", seed=seed)
        integrator.prepare(4)
        errors = integrator.errors(problem)
        rate, doubt = errors.classification_error, errors.classification_error_se
        assert bool((rate > bayes - 4 * doubt).all())
        assert bool((doubt < 3e-3 * bayes).all())
        # Not above it by more than the little that is neither.
        assert bool((rate < 1.002 * bayes + 4 * doubt).all())


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
