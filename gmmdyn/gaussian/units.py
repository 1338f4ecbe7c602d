r"""Moments of a nonlinearity of one Gaussian field, and covariances for two.

A field u ~ N(m, s²) goes through psi. The first Hermite coefficient is s a with the mean slope
a = E[psi'(u)] = Cov(psi(u), u)/s² (Stein), and what is left of the variance is

    residual = Var psi(u) - a² s²,

the share of all higher Hermite coefficients. It is computed as it stands, never as a difference of
the two large numbers, since it is what a regression on features divides by.

Which formula holds is decided here: a closed form for an activation that declares its `slopes`, or
by `closed_form` that it is the error function, and quadrature for any other. That is spectrally
accurate for a nonlinearity that is smooth on a scale of 1, or of s where that is less, and right
to about 1e-3 s at a kink that is not declared.
"""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

from gmmdyn.gaussian import error_function, hermite, piecewise_linear, piecewise_linear_pairs
from gmmdyn.gaussian.hermite import Nonlinearity, UnitCumulants, UnitMoments
from gmmdyn.gaussian.piecewise_linear import PiecewiseLinear

# Numbers held at once.
_NUMBERS = 2**23


class Clusters(Protocol):
    """What the fields depend on of a `GaussianMixture`, whose package imports this one."""

    @property
    def means(self) -> Tensor:
        """Means, shape `(C, D)`."""

    def covariance_product(self, vectors: Tensor) -> Tensor:
        """Apply the covariance of every cluster to vectors `(N, D)`."""


def unit_mean(activation: Nonlinearity, mean: Tensor, deviation: Tensor) -> Tensor:
    """Return E[psi(u)].

    Args:
        activation: psi.
        mean: m, any shape, float64.
        deviation: s, same shape, not negative.

    Returns:
        The mean, same shape.
    """
    if activation.slopes:
        return piecewise_linear.mean_value(PiecewiseLinear.of(activation), mean, deviation)
    if activation.closed_form == "erf":
        return error_function.mean_value(mean, deviation**2)
    return hermite.mean_value(activation, mean, deviation)


def unit_moments(activation: Nonlinearity, mean: Tensor, deviation: Tensor) -> UnitMoments:
    """Compute mean, mean slope and residual variance of one unit.

    Args:
        activation: psi.
        mean: m, any shape, float64, on the CPU.
        deviation: s, same shape, not negative.

    Returns:
        The moments.
    """
    if activation.slopes:
        return piecewise_linear.moments(PiecewiseLinear.of(activation), mean, deviation)
    if activation.closed_form == "erf":
        return error_function.moments(mean, deviation)
    return hermite.moments(activation, mean, deviation)


def unit_cumulants(activation: Nonlinearity, mean: Tensor, deviation: Tensor) -> UnitCumulants:
    """Compute third moments of one unit, and its first three Hermite coefficients.

    Closed form for piecewise-linear activations, quadrature for any other.

    Args:
        activation: psi.
        mean: m, any shape, float64.
        deviation: s, same shape, not negative.

    Returns:
        The moments.
    """
    if activation.slopes:
        return piecewise_linear.cumulants(PiecewiseLinear.of(activation), mean, deviation)
    return hermite.cumulants(activation, mean, deviation)


def pair_covariance(
    activation: Nonlinearity,
    first: tuple[Tensor, Tensor],
    second: tuple[Tensor, Tensor],
    covariance: Tensor,
) -> Tensor:
    """Compute Cov(psi(u), psi(v)) for pairs of jointly Gaussian fields.

    Closed form for piecewise-linear activations (bivariate truncated moments,
    Rosenbaum 1961; the arc-cosine kernel of degree 1 if the means are 0) and for the error function
    (the arcsine kernel if the means are 0); for any other, 64 terms of Mehler's series, whose
    error is of the order of rho^65.

    Args:
        activation: psi.
        first: means and deviations of u, each shape `(M,)`, float64, on the CPU.
        second: means and deviations of v, each shape `(N,)`.
        covariance: Cov(u, v), shape `(M, N)`.

    Returns:
        Shape `(M, N)`.
    """
    if activation.slopes:
        unit = PiecewiseLinear.of(activation)
        return piecewise_linear_pairs.covariances(unit, first, second, covariance)
    if activation.closed_form == "erf":
        return error_function.covariances(first, second, covariance)
    return hermite.covariances(activation, first, second, covariance)


def hermite_coefficients(activation: Nonlinearity, deviation: float) -> tuple[float, float, float]:
    """Return a1 = E[psi s], a2 = E[psi (s² - 1)]/√2 and Var psi - a1² for psi(deviation s).

    An a1 or a2 below 1e-12 of the size of psi is 0, as it is for even and odd activations.

    Args:
        activation: psi.
        deviation: of the field, positive.

    Returns:
        The three numbers.
    """
    field = torch.zeros(1, dtype=torch.float64), torch.tensor([deviation], dtype=torch.float64)
    mean, slope, residual = (float(part) for part in unit_moments(activation, *field))
    first, second = slope * deviation, float(unit_cumulants(activation, *field).second)
    size = (first**2 + residual + mean**2) ** 0.5
    first, second = (0.0 if abs(a) < 1e-12 * size else a for a in (first, second))
    return first, second, residual


def projected_fields(mixture: Clusters, projection: Tensor) -> tuple[Tensor, Tensor]:
    r"""Return mean and deviation of the fields $F^\top x/\sqrt{D}$ in each cluster.

    They are Gaussian, with means $F_i \cdot \mu_\alpha/D$ and variances
    $F_i^\top \Omega_\alpha F_i/D$.

    Args:
        mixture: a `GaussianMixture` of input dimension `D`.
        projection: $F$, shape `(D, P)`.

    Returns:
        Means and deviations, each shape `(C, P)`, on the device and in the dtype of the mixture.
    """
    clusters, dim = mixture.means.shape
    means, variances = [], []
    # The product has one (p, D) array for each covariance.
    for part in torch.split(projection.T, max(1, _NUMBERS // (clusters * dim))):
        vectors = part.to(mixture.means)  # (p, D)
        means.append(mixture.means @ vectors.T / dim)
        variances.append((mixture.covariance_product(vectors) * vectors).sum(-1) / dim)
    mean = torch.cat(means, dim=1)
    return mean, torch.cat(variances, dim=1).clamp_min(0).sqrt().expand_as(mean)
