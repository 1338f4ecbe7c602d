"""Gaussian expectations of one and two units against quadrature and known kernels."""

from __future__ import annotations

import itertools
from functools import partial

import numpy as np
import pytest
import torch
from scipy.special import erfcx

import gmmdyn as gd
from gmmdyn.gaussian import (
    PiecewiseLinear,
    compiled,
    hermite_coefficients,
    pair_covariance,
    piecewise_linear,
    piecewise_linear_pairs,
    projected_fields,
    unit_cumulants,
    unit_mean,
    unit_moments,
)


class Hat(gd.Activation):
    """Piecewise linear with kinks on both sides of 0."""

    kinks = (-0.7, 0.2, 1.1)
    slopes = (0.3, -0.5, 2.0, 0.1)

    def forward(self, x):
        value = -0.5 * x
        value = value + 0.8 * torch.minimum(x + 0.7, torch.zeros_like(x))
        value = value + 2.5 * torch.relu(x - 0.2)
        return value - 1.9 * torch.relu(x - 1.1)

    def derivative(self, x):
        edges = torch.tensor(self.kinks, dtype=x.dtype)
        return torch.tensor(self.slopes, dtype=x.dtype)[torch.bucketize(x, edges)]


class OwnErf(gd.Activation):
    """The error function of a user, who declares it."""

    closed_form = "erf"

    def forward(self, x):
        return torch.erf(x / 2**0.5)

    def derivative(self, x):
        return (2 / torch.pi) ** 0.5 * torch.exp(-(x**2) / 2)


class HiddenErf(OwnErf):
    """The same, not declared."""

    closed_form = None


ACTIVATIONS = {
    "relu": gd.activation("relu"),
    "erf": gd.activation("erf"),
    "linear": gd.activation("linear"),
    "hat": Hat(),
    "tanh": gd.activation("tanh"),
}
double = partial(torch.tensor, dtype=torch.float64)
# Where a field sits on a kink, near one, and far from one.
FIELDS = list(itertools.product([0.0, 0.3, -1.0, 1.1, 7.0], [0.0, 0.02, 0.4, 1.3, 6.0]))
MEANS, DEVIATIONS = torch.tensor(FIELDS, dtype=torch.float64).T


@pytest.fixture(params=list(ACTIVATIONS))
def activation(request):
    return ACTIVATIONS[request.param]


def rule(breaks, step=1.0):
    """Nodes and weights of a standard normal number for functions with given breaks."""
    inner = [float(x) for x in breaks if abs(x) < 13]
    edges = np.unique(np.concatenate([np.arange(-13, 13.1, step), inner]))
    nodes, weights = np.polynomial.legendre.leggauss(20)
    middle, half = (edges[1:] + edges[:-1]) / 2, (edges[1:] - edges[:-1]) / 2
    x = (middle[:, None] + half[:, None] * nodes).reshape(-1)
    w = (half[:, None] * weights).reshape(-1) * np.exp(-(x**2) / 2) / np.sqrt(2 * np.pi)
    return x, w


def breaks_of(activation, m, s):
    return [(kink - m) / s for kink in activation.kinks if s > 0]


def values(activation, x):
    return activation(torch.from_numpy(np.asarray(x))).numpy()


def test_one_unit_is_what_quadrature_says(activation):
    moments = unit_moments(activation, MEANS, DEVIATIONS)
    cumulants = unit_cumulants(activation, MEANS, DEVIATIONS)
    torch.testing.assert_close(
        unit_mean(activation, MEANS, DEVIATIONS), moments.mean, rtol=0, atol=1e-14
    )
    for i, (m, s) in enumerate(FIELDS):
        xi, weight = rule(breaks_of(activation, m, s), 0.25)
        g = values(activation, m + s * xi)
        mean, along = weight @ g, weight @ (g * xi)
        residual = weight @ (g - mean - along * xi) ** 2
        got = [moments.mean[i], moments.slope[i] * s, moments.residual[i]]
        np.testing.assert_allclose(
            got, [mean, along, residual], rtol=1e-13, atol=2e-14 * max(1, s**2)
        )
        c = g - mean
        h2, h3 = (xi**2 - 1) / np.sqrt(2), (xi**3 - 3 * xi) / np.sqrt(6)
        wanted = [weight @ part for part in (c * xi, c * h2, c * h3, c**2 * xi, c**2 * h2, c**3)]
        got = [part[i] for part in cumulants]
        np.testing.assert_allclose(got, wanted, rtol=1e-12, atol=1e-13 * max(1, s**3))


def test_a_unit_without_noise_has_the_slope_of_its_place(activation):
    mean, still = double([-1.0, 0.5, 3.0]), double([0.0, 0.0, 0.0])
    found = unit_moments(activation, mean, still)
    torch.testing.assert_close(found.mean, activation(mean))
    torch.testing.assert_close(found.slope, activation.derivative(mean))
    assert (found.residual < 1e-30).all()


@pytest.mark.parametrize("rho", [-0.97, -0.6, 0.0, 1e-9, 0.8])
def test_the_covariance_of_two_units_is_what_quadrature_says(activation, rho):
    first, second = [(0.0, 1.0), (0.4, 0.9), (-3.0, 0.5)], [(-0.9, 0.5), (0.2, 1.2)]
    series = 2 * abs(rho) ** 65 if isinstance(activation, type(ACTIVATIONS["tanh"])) else 0.0
    covariance = double([[rho * s * t for _, t in second] for _, s in first])
    fields = [tuple(double(part).T) for part in (first, second)]
    found = pair_covariance(activation, *fields, covariance)
    across = np.sqrt(1 - rho**2)
    for (i, (m, s)), (j, (n, t)) in itertools.product(enumerate(first), enumerate(second)):
        outer, weights = rule(breaks_of(activation, m, s))
        one = values(activation, m + s * outer)
        given = []
        for x in outer:
            inner, shares = rule(breaks_of(activation, n + t * rho * x, t * across))
            given.append(shares @ values(activation, n + t * (rho * x + across * inner)))
        wanted = weights @ ((one - weights @ one) * given)
        assert float(found[i, j]) == pytest.approx(wanted, abs=1e-13 + series)


def test_zero_means_are_the_arc_cosine_and_arcsine_kernels():
    field = torch.zeros(1).double(), torch.ones(1).double()
    for rho in (-0.95, -0.2, 0.5, 0.99):
        covariance = double([[rho]])
        angle = np.arccos(rho)
        kernel = (np.sin(angle) + (np.pi - angle) * rho) / (2 * np.pi)  # Cho and Saul, degree 1
        relu = pair_covariance(ACTIVATIONS["relu"], field, field, covariance)
        assert float(relu) == pytest.approx(kernel - 1 / (2 * np.pi), abs=1e-14)
        erf = pair_covariance(ACTIVATIONS["erf"], field, field, covariance)
        assert float(erf) == pytest.approx(2 / np.pi * np.arcsin(rho / 2), abs=1e-14)


def test_far_kinks_lose_no_digits():
    """A rectifier 20 deviations inside its linear part has no variance of its own."""
    mean, one = double([20.0, -20.0]), torch.ones(2).double()
    found = unit_moments(ACTIVATIONS["relu"], mean, one)
    assert found.slope.tolist() == pytest.approx([1.0, 0.0], abs=1e-80)
    assert (found.residual < 1e-80).all()


def test_the_mean_of_a_rectifier_that_is_almost_always_off_is_right_in_its_leading_digits():
    """E[(u)_+] = φ(β) (1 - β r(β)), r Mills' ratio √(π/2) erfcx(β/√2), for u ~ N(-β, 1)."""
    beta = np.array([5.0, 10.0, 20.0])
    mills = np.sqrt(np.pi / 2) * erfcx(beta / np.sqrt(2))
    wanted = np.exp(-(beta**2) / 2) / np.sqrt(2 * np.pi) * (1 - beta * mills)
    field = torch.from_numpy(-beta), torch.ones(3).double()
    np.testing.assert_allclose(unit_mean(ACTIVATIONS["relu"], *field), wanted, rtol=1e-10)
    np.testing.assert_allclose(unit_moments(ACTIVATIONS["relu"], *field).mean, wanted, rtol=1e-10)


def test_the_covariance_of_weakly_correlated_erf_units_loses_no_digits():
    """Price: it begins Cov(u, v) E[g'] E[g']."""
    field = double([0.3]), double([0.8])
    slope = float(unit_moments(ACTIVATIONS["erf"], *field).slope)
    tiny = double([[1e-12]])
    found = float(pair_covariance(ACTIVATIONS["erf"], field, field, tiny))
    assert found == pytest.approx(1e-12 * slope**2, rel=1e-11)


def test_who_declares_the_error_function_has_its_closed_forms():
    field = double(np.linspace(-1, 1, 5)), double(np.linspace(0.1, 2, 5))
    named = unit_moments(gd.activation("erf"), *field)
    for one, other in zip(unit_moments(OwnErf(), *field), named, strict=True):
        assert torch.equal(one, other)
    for one, other in zip(unit_moments(HiddenErf(), *field), named, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-14)
        assert not torch.equal(one, other)


def test_hermite_coefficients_of_a_rectifier_and_of_an_odd_unit():
    """ReLU of variance s²: a1 = s/2, a2 = s/(2√π), Var = s² (1/2 - 1/2π)."""
    s = 0.7
    wanted = s / 2, s / (2 * np.sqrt(np.pi)), s**2 * (0.25 - 1 / (2 * np.pi))
    assert hermite_coefficients(ACTIVATIONS["relu"], s) == pytest.approx(wanted, rel=1e-14)
    assert hermite_coefficients(ACTIVATIONS["tanh"], s)[1] == 0
    assert hermite_coefficients(gd.activation("abs"), s)[0] == 0


def test_the_mean_has_a_gradient_also_on_a_kink():
    """d E[g(m + s xi)]/dm = E[g'], d/ds = E[xi g] = s E[g'']."""
    unit = PiecewiseLinear.of(Hat())
    mean = double([0.2, -0.7, 0.5, 3.0]).requires_grad_()
    deviation = double([0.5, 0.1, 1.0, 0.4]).requires_grad_()
    assert torch.autograd.gradcheck(
        lambda m, s: piecewise_linear.mean_value(unit, m, s), (mean, deviation)
    )
    total = piecewise_linear.mean_value(unit, mean, deviation).sum()
    (slope,) = torch.autograd.grad(total, mean)
    wanted = unit_moments(Hat(), mean.detach(), deviation.detach()).slope
    torch.testing.assert_close(slope, wanted, rtol=0, atol=1e-14)


def test_compiled_twins_are_the_torch_forms():
    unit = PiecewiseLinear.of(Hat())
    generator = np.random.default_rng(0)
    for _ in range(50):
        m0, m1, a, b = generator.normal(size=4) * 2
        t0, t1 = generator.uniform(0.1, 2, 2)
        rho = np.tanh(2 * generator.normal())
        found = np.zeros((3, 3))
        compiled.truncated(m0, m1, t0, t1, a, b, rho, found)
        m0, m1, t0, t1, a, b, rho = (torch.tensor(x) for x in (m0, m1, t0, t1, a, b, rho))
        powers = piecewise_linear_pairs.truncated((m0, m1), (t0, t1), (a, b), rho)
        for (i, j), value in powers.items():
            assert found[i, j] == pytest.approx(float(value), abs=1e-13)
        mean = compiled.kinked_mean(float(m0), float(t0), *unit[:3])
        wanted = piecewise_linear.mean_value(unit, m0, t0)
        assert mean == pytest.approx(float(wanted), abs=1e-14)
    assert compiled.kinked_mean(0.5, 0.0, *unit[:3]) == pytest.approx(
        float(Hat()(torch.tensor(0.5)))
    )


def test_fields_of_a_projection_are_gaussians_of_the_mixture():
    generator = torch.Generator().manual_seed(0)
    means, projection = (torch.randn(4, 5, generator=generator).double() for _ in range(2))
    factor = torch.randn(4, 5, 5, generator=generator).double()
    covariances = factor @ factor.mT
    mixture = gd.data_model(
        "random-covariance", means=means, labels=[-1, 1, 1, -1], covariance=covariances
    )
    mean, deviation = projected_fields(mixture, projection.T)
    torch.testing.assert_close(mean, means @ projection.T / 5)
    wanted = torch.stack([(projection @ c @ projection.T).diagonal() for c in covariances]) / 5
    torch.testing.assert_close(deviation**2, wanted)
