"""Normal probabilities in their three forms."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.special import owens_t
from scipy.stats import multivariate_normal, norm

from gmmdyn.gaussian import cdf2, compiled, density, excess


def by_owens_t(a, b, rho):
    """Another formula (Owen 1956), right to rounding for |rho| < 1 and numbers that are not 0."""
    r = np.sqrt((1 - rho) * (1 + rho))
    total = 0.5 * (norm.cdf(a) + norm.cdf(b)) - 0.5 * (a * b < 0)
    return total - owens_t(a, (b - rho * a) / (a * r)) - owens_t(b, (a - rho * b) / (b * r))


def test_the_bivariate_cdf_is_that_of_owens_t():
    generator = np.random.default_rng(0)
    a, b = generator.normal(size=(2, 2000)) * 2
    b[::4] = a[::4] + 1e-3 * b[::4]
    rho = np.tanh(generator.normal(size=2000) * 3)
    wanted = by_owens_t(a, b, rho)
    tensors = [torch.from_numpy(part) for part in (a, b, rho)]
    np.testing.assert_allclose(cdf2(*tensors), wanted, atol=1e-14, rtol=0)
    one_by_one = [compiled.cdf2(*values) for values in zip(a, b, rho, strict=True)]
    np.testing.assert_allclose(one_by_one, wanted, atol=1e-14, rtol=0)
    product = norm.cdf(a) * norm.cdf(b)
    np.testing.assert_allclose(excess(a, b, rho), wanted - product, atol=1e-14, rtol=0)


@pytest.mark.parametrize(
    ("a", "b", "rho"), [(0.3, -0.4, 0.7), (-1.0, -2.0, -0.5), (0.0, 1.0, 0.2), (0.0, 0.0, -0.6)]
)
def test_the_excess_is_scipys(a, b, rho):
    joint = multivariate_normal([0, 0], [[1, rho], [rho, 1]]).cdf([a, b])
    assert excess(a, b, rho) == pytest.approx(joint - norm.cdf(a) * norm.cdf(b), abs=1e-7)


def test_the_excess_of_a_small_correlation_loses_no_digits():
    """Plackett: its derivative in rho is the bivariate density, so it begins rho φ(a) φ(b)."""
    found = excess(0.4, -1.3, 1e-12)
    assert found == pytest.approx(1e-12 * norm.pdf(0.4) * norm.pdf(1.3), rel=1e-11)
    assert excess(0.4, -1.3, 0.0) == 0


def test_the_excess_at_the_ends():
    a, b = 0.4, -1.3
    product = norm.cdf(a) * norm.cdf(b)
    assert excess(a, b, 1.0) == pytest.approx(norm.cdf(min(a, b)) - product, abs=1e-15)
    below = max(norm.cdf(a) - norm.cdf(-b), 0)
    assert excess(a, b, -1.0) == pytest.approx(below - product, abs=1e-15)


def test_arrays_broadcast():
    a, b = np.array([[0.1], [0.7]]), np.array([-0.5, 0.0, 2.0])
    found = excess(a, b, 0.3)
    assert found.shape == (2, 3)
    assert found[1, 2] == excess(0.7, 2.0, 0.3)


def test_the_density_is_the_derivative_of_the_cdf():
    x = torch.linspace(-3, 3, 7, dtype=torch.float64)
    np.testing.assert_allclose(density(x), norm.pdf(x), rtol=1e-14)


def test_the_cdf_has_two_derivatives():
    generator = torch.Generator().manual_seed(0)
    a, b = torch.randn(2, 6, generator=generator, dtype=torch.float64)
    rho = torch.tensor([-0.97, -0.6, 0.0, 0.3, 0.8, 0.95], dtype=torch.float64)
    inputs = [part.clone().requires_grad_() for part in (a, b, rho)]
    assert torch.autograd.gradcheck(cdf2, inputs)
    with torch.random.fork_rng():  # it draws directions
        torch.manual_seed(0)
        assert torch.autograd.gradgradcheck(cdf2, inputs)
