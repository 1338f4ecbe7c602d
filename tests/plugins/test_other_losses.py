"""Piecewise-linear units with another loss than the square one: lines and nodes along them."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import gmmdyn as gd
from gmmdyn.interfaces import Fields
from gmmdyn_integrators._any_loss import AnyLoss, Linear

LOGISTIC = gd.OnlineSGD(0.1, loss="logistic").loss_function


class Disguised(gd.Loss):
    """The square loss, which does not say so."""

    def value(self, output, label):
        return 0.5 * (label - output) ** 2

    def signal(self, output, label):
        return label - output

    def curvature(self, output, label):
        return torch.ones_like(label - output)

    def scalar_signal(self):
        return lambda output, label: label - output


def fields(activation, hidden, loss=LOGISTIC, seed=2, scale=0.6):
    generator = torch.Generator().manual_seed(seed)
    root = scale * torch.randn(2, hidden, hidden, generator=generator, dtype=torch.float64)
    return Fields(
        mean=0.6 * torch.randn(2, hidden, generator=generator, dtype=torch.float64),
        covariance=root @ root.mT / hidden,
        readout=torch.randn(hidden, generator=generator, dtype=torch.float64),
        labels=torch.tensor([-1.0, 1.0], dtype=torch.float64),
        activation=gd.activation(activation),
        loss=loss,
    )


def prepared(hidden, name="preintegrated", **options):
    integrator = gd.integrator(name, **options)
    integrator.prepare(hidden)
    return integrator


def joined(moments):
    return torch.cat([part.flatten() for part in moments])


def without_the_linear_part(monkeypatch):
    """Leave everything to the lines."""
    linearised = AnyLoss._linearised

    def nothing(self):
        return Linear(*(torch.zeros_like(part) for part in linearised(self)))

    monkeypatch.setattr(AnyLoss, "_linearised", nothing)


@pytest.mark.parametrize("hidden", [2, 3, 4])
@pytest.mark.parametrize("activation", ["relu", "leaky-relu", "hard-tanh"])
def test_lines_and_points_agree_within_their_standard_errors(activation, hidden):
    """Eight scramblings of each, 2^18 points in all: moments, and the loss as stated."""
    problem = fields(activation, hidden)

    def sampled(name, **options):
        rules = [prepared(hidden, name, seed=10 + seed, **options) for seed in range(8)]
        found = torch.stack([joined(rule.moments(problem)) for rule in rules])
        return found.mean(0), found.std(0) / 8**0.5

    lines, points = sampled("preintegrated", log2_lines=9), sampled("sobol", log2_samples=15)
    # Eight scramblings of points tell nothing of events that are rarer.
    z = (lines[0] - points[0]) / torch.hypot(lines[1], points[1]).clamp_min(3e-6)
    assert z.abs().max() < 6
    assert z.square().mean().sqrt() < 2
    found = prepared(hidden, seed=3).errors(problem)
    wanted = prepared(hidden, "sobol", log2_samples=18).errors(problem)
    assert bool(((found.loss - wanted.loss).abs() < 5 * (found.loss_se + wanted.loss_se)).all())
    assert bool((found.loss_se < 2e-3).all())
    assert bool(((found.pmse - wanted.pmse).abs() < 5 * wanted.pmse_se).all())
    assert found.pmse_se.tolist() == [0, 0]


@pytest.mark.parametrize("hidden", [2, 4])
def test_the_stated_error_of_the_loss_is_its_error(hidden):
    """Over 40 random states, against more lines in scramblings of their own."""
    rule, exact = prepared(hidden, log2_lines=8), prepared(hidden, log2_lines=12, seed=777)
    z = []
    for seed in range(40):
        problem = fields("relu", hidden, seed=seed)
        found, wanted = rule.errors(problem), exact.errors(problem)
        z.append((found.loss - wanted.loss) / torch.hypot(found.loss_se, wanted.loss_se))
    assert 0.5 < torch.stack(z).square().mean().sqrt() < 2


@pytest.mark.parametrize("activation", ["linear", "relu", "hard-tanh"])
@pytest.mark.parametrize("hidden", [1, 2, 3, 4])
def test_the_square_loss_in_disguise_is_the_square_loss(activation, hidden):
    """Nothing is left to the lines but the noise, and of it no more than of the square loss."""
    problem = fields(activation, hidden, Disguised(), scale=1.0)
    integrator = prepared(hidden)
    found = integrator.moments(problem)
    wanted = integrator.moments(problem._replace(loss=gd.OnlineSGD(0.1).loss_function))
    closed = hidden == 2 or activation == "linear"  # of the square loss, on no lines
    for name, one, two in zip(found._fields, found, wanted, strict=True):
        tolerance = integrator.relative_error if closed and name == "noise" else 1e-10
        assert (one - two).abs().max() < tolerance * two.abs().max(), name
    errors = integrator.errors(problem)
    torch.testing.assert_close(errors.loss, errors.pmse, rtol=0, atol=1e-9)


@pytest.mark.parametrize("activation", ["relu", "hard-tanh"])
@pytest.mark.parametrize("hidden", [1, 2, 3, 4])
def test_lines_alone_give_the_closed_forms_of_the_square_loss(activation, hidden, monkeypatch):
    """Drift, spikes at the kinks and loss; exact for one unit, to the error of lines for more."""
    problem = fields(activation, hidden, Disguised())
    integrator = prepared(hidden, log2_lines=14)
    wanted = integrator.moments(problem._replace(loss=gd.OnlineSGD(0.1).loss_function))
    without_the_linear_part(monkeypatch)
    found, errors = integrator.moments(problem), integrator.errors(problem)
    # The lines of one set are a quarter of all.
    tolerance = 1e-9 if hidden == 1 else 4 * integrator.relative_error
    for one, two in zip(found, wanted, strict=True):
        assert (one - two).abs().max() < tolerance
    gap = (errors.loss - errors.pmse).abs()
    assert bool((gap < 6 * errors.loss_se + 1e-9).all())


@pytest.mark.parametrize("steepness", [1, 5, 25])
def test_nodes_follow_a_steep_output(steepness):
    """One unit whose output moves by up to 25 in a standard deviation, against quadrature."""
    from scipy.integrate import quad

    m, s = 0.3, 0.8
    v = steepness / s
    problem = Fields(
        mean=torch.tensor([[m]], dtype=torch.float64),
        covariance=torch.tensor([[[s**2]]], dtype=torch.float64),
        readout=torch.tensor([v], dtype=torch.float64),
        labels=torch.tensor([-1.0], dtype=torch.float64),
        activation=gd.activation("relu"),
        loss=LOGISTIC,
    )

    def mean(function):
        def integrand(x):
            return function(x) * np.exp(-0.5 * ((x - m) / s) ** 2) / (s * np.sqrt(2 * np.pi))

        points = [1 / v, 4 / v, 16 / v]
        return quad(integrand, 0, m + 9 * s, points=points, epsabs=1e-13, limit=500)[0]

    found = prepared(1).moments(problem)
    wanted = mean(lambda x: -1 / (1 + np.exp(-v * x)))
    np.testing.assert_allclose(found.drive.item() / v, wanted, rtol=0, atol=1e-9)
    wanted = mean(lambda x: 1 / (1 + np.exp(-v * x)) ** 2)
    np.testing.assert_allclose(found.noise.item() / v**2, wanted, rtol=0, atol=1e-9)


@pytest.mark.parametrize("hidden", [2, 4])
def test_moments_are_smooth_in_the_state(hidden):
    """Differences of differences shrink with the step: what an implicit solver relies on."""
    problem = fields("relu", hidden, seed=3, scale=0.2)

    def roughness(name, step):
        integrator = prepared(hidden, name)

        def at(shift):
            return joined(integrator.moments(problem._replace(mean=problem.mean + shift)))

        return (at(step) - 2 * at(0.0) + at(-step)).abs().max() / step**2

    assert gd.integrator("preintegrated").smooth
    assert roughness("preintegrated", 1e-4) < 3 * roughness("preintegrated", 1e-2)
    assert roughness("sobol", 1e-4) > 10 * roughness("sobol", 1e-2)


@pytest.mark.parametrize("equal", [False, True], ids=["generic", "equal eigenvalues"])
@pytest.mark.parametrize("activation", ["relu", "hard-tanh"])
def test_moments_and_errors_can_be_differentiated(activation, equal):
    problem = fields(activation, 3)
    integrator = prepared(3, log2_lines=4)
    covariance = 0.7 * torch.eye(3, dtype=torch.float64).expand(2, 3, 3)
    covariance = (covariance if equal else problem.covariance).clone()

    def everything(mean, covariance, readout):
        moved = problem._replace(
            mean=mean, covariance=(covariance + covariance.mT) / 2, readout=readout
        )
        errors = integrator.errors(moved)
        return *integrator.moments(moved), errors.pmse, errors.loss

    inputs = [part.clone().requires_grad_() for part in (problem.mean, covariance, problem.readout)]
    assert torch.autograd.gradcheck(everything, inputs, atol=2e-5, rtol=1e-4, fast_mode=True)


def test_with_a_gradient_to_follow_the_moments_are_the_same():
    problem = fields("relu", 4)
    integrator = prepared(4, log2_lines=6)
    slow = problem._replace(readout=problem.readout.clone().requires_grad_())
    for one, two in zip(integrator.moments(problem), integrator.moments(slow), strict=True):
        torch.testing.assert_close(one, two.detach(), rtol=0, atol=1e-11)


def test_a_batch_of_states_is_each_state():
    one, two = (fields("relu", 3, seed=seed) for seed in (2, 3))
    parts = ("mean", "covariance", "readout")
    stacked = {name: torch.stack([getattr(one, name), getattr(two, name)]) for name in parts}
    integrator = prepared(3, log2_lines=6)
    both = integrator.moments(one._replace(**stacked))
    for index, state in enumerate((one, two)):
        for part, alone in zip(both, integrator.moments(state), strict=True):
            torch.testing.assert_close(part[index], alone, rtol=0, atol=1e-9)


def test_noise_is_positive_semi_definite_where_units_merge_or_die():
    for hidden in (2, 4, 6):
        integrator = prepared(hidden)
        for seed in range(6):
            problem = fields("relu", hidden, seed=seed)
            angle = 10.0 ** -(1 + seed)
            mixing = torch.eye(hidden, dtype=torch.float64)
            mixing[1] = angle * mixing[1] + mixing[0]
            if hidden > 2:
                mixing[2] *= 1e-6
            covariance = mixing @ problem.covariance @ mixing.T
            noise = integrator.moments(
                problem._replace(mean=problem.mean @ mixing.T, covariance=covariance)
            ).noise
            torch.testing.assert_close(noise, noise.mT, rtol=0, atol=1e-12)
            values = torch.linalg.eigvalsh(noise)
            assert float(values.min()) > -1e-13 * float(values.max())


def test_units_without_variance_stay_at_their_means():
    problem = fields("relu", 2)._replace(covariance=torch.zeros(1, 2, 2, dtype=torch.float64))
    found, errors = prepared(2).moments(problem), prepared(2).errors(problem)
    g = problem.activation(problem.mean)
    output = g @ problem.readout
    delta = LOGISTIC.signal(output, problem.labels).unsqueeze(-1)
    slope = problem.activation.derivative(problem.mean)
    drive = problem.readout * slope * delta
    torch.testing.assert_close(found.drive, drive, rtol=0, atol=1e-10)
    torch.testing.assert_close(found.readout, g * delta, rtol=0, atol=1e-10)
    value = LOGISTIC.value(output, problem.labels)
    torch.testing.assert_close(errors.loss, value, rtol=0, atol=1e-10)


@pytest.mark.parametrize("activation", ["relu", "hard-tanh"])
@pytest.mark.parametrize("hidden", [2, 4, 8])
def test_the_relative_error_is_that_of_the_moments(activation, hidden):
    """The largest error of a moment over 8 random networks with outputs of order one."""
    rule, exact = prepared(hidden), prepared(hidden, log2_lines=13, seed=77)
    gaps = []
    for seed in range(8):
        problem = fields(activation, hidden, seed=seed)
        found, wanted = rule.moments(problem), exact.moments(problem)
        pairs = zip(found, wanted, strict=True)
        gaps.append(max(float((a - b).abs().max()) for a, b in pairs))
    assert np.median(gaps) < rule.relative_error
    assert max(gaps) < 4 * rule.relative_error


def at_rest(variance, init, lines):
    mixture = gd.data_model("xor", dim=1000, variance=variance)
    options = {"init_scale": 1.0}
    if init == "informed":
        options = {"mixture": mixture, "init_scale": 0.1}
    network = gd.network("committee", dim=1000, hidden=4, init=init, seed=0, **options)
    algorithm = gd.OnlineSGD(0.1, 0.05, loss="logistic")
    theory = gd.theory(
        "state-evolution", integrator=gd.integrator("preintegrated", log2_lines=lines)
    )
    return gd.Experiment(mixture, network, algorithm).solve(theory)


@pytest.mark.parametrize("lines", [6, pytest.param(9, marks=pytest.mark.science)])
def test_a_fixed_point_at_little_noise_is_near_that_without(lines):
    """Ben Arous, Gheissari and Jagannath: Σ v² = -logit(4 kappa) for each mean of the XOR."""
    found = at_rest(1e-4, "informed", lines)
    assert found.metadata["solver"]["converged"]
    assert found.metadata["stability"] == "stable"
    np.testing.assert_allclose(found["v"][0] ** 2, np.log(0.8 / 0.2), rtol=2e-3)


@pytest.mark.science
@pytest.mark.parametrize("init", ["informed", "random"])
def test_fixed_points_of_the_logistic_loss_converge(init):
    found = at_rest(0.05, init, 9)
    assert found.metadata["solver"]["residual"] < 1e-12
    assert found.metadata["stability"] != "saddle"
