r"""Moments of a nonlinearity of one Gaussian field, and covariances for two.

A field u ~ N(m, s²) goes through psi. The first Hermite coefficient is s a with the mean slope
a = E[psi'(u)] = Cov(psi(u), u)/s² (Stein), and what is left of the variance is

    residual = Var psi(u) - a² s²,

the share of all higher Hermite coefficients. It is computed as it stands, never as a difference of
the two large numbers, since it is what a regression on features divides by.
"""

from __future__ import annotations

import math

import numpy as np

from gmmdyn.interfaces import Activation
from gmmdyn_random_features import _error_function, _hermite, _hinges
from gmmdyn_random_features._fields import Fields, UnitCumulants, UnitMoments, density


def unit_moments(activation: Activation, mean: np.ndarray, deviation: np.ndarray) -> UnitMoments:
    """Compute the moments of one unit.

    Closed form for piecewise-linear activations and the error function, Gauss-Hermite quadrature
    with 128 nodes for any other (spectrally accurate if it is smooth on the scale s, and
    only to about 1e-2 s at an undeclared kink).

    Args:
        activation: psi.
        mean: m, any shape.
        deviation: s, same shape, not negative.

    Returns:
        The moments.
    """
    if activation.slopes:
        return _hinges.moments(activation, mean, deviation)
    if _error_function.describes(activation):
        return _error_function.moments(mean, deviation)
    return _hermite.moments(activation, mean, deviation)


def unit_cumulants(
    activation: Activation, mean: np.ndarray, deviation: np.ndarray
) -> UnitCumulants:
    """Compute third moments of one unit, and its first three Hermite coefficients.

    Closed form for piecewise-linear activations, Gauss-Hermite quadrature with 128 nodes for any
    other.

    Args:
        activation: psi.
        mean: m, shape `(N,)`.
        deviation: s, shape `(N,)`, not negative.

    Returns:
        The moments.
    """
    if activation.slopes:
        return _hinges.cumulants(activation, mean, deviation)
    return _hermite.cumulants(activation, mean, deviation)


def pair_covariance(
    activation: Activation,
    first: Fields,
    second: Fields,
    covariance: np.ndarray,
) -> np.ndarray:
    """Compute Cov(psi(u), psi(v)) for pairs of jointly Gaussian fields.

    Closed form for piecewise-linear activations (bivariate truncated moments,
    Rosenbaum 1961; the arc-cosine kernel of degree 1 if the means are 0) and for the error function
    (the arcsine kernel if the means are 0); for any other, 64 terms of Mehler's series, whose
    error is of the order of rho^65.

    Args:
        activation: psi.
        first: means and deviations of u, each shape `(M,)`.
        second: means and deviations of v, each shape `(N,)`.
        covariance: Cov(u, v), shape `(M, N)`.

    Returns:
        Shape `(M, N)`.
    """
    if activation.slopes:
        return _hinges.covariances(activation, first, second, covariance)
    if _error_function.describes(activation):
        return _error_function.covariances(first, second, covariance)
    return _hermite.covariances(activation, first, second, covariance)


def hermite_coefficients(activation: Activation, deviation: float) -> tuple[float, float, float]:
    """Return a1 = E[psi s], a2 = E[psi (s² - 1)]/sqrt 2 and Var psi - a1² for psi(deviation s).

    An a1 or a2 below 1e-12 of the size of psi is 0, as it is for even and odd activations.

    Args:
        activation: psi.
        deviation: of the field, positive.

    Returns:
        The three numbers.
    """
    zero, spread = np.zeros(1), np.array([deviation])
    moments = unit_moments(activation, zero, spread)
    first = float(moments.slope[0]) * deviation
    if activation.slopes:
        # Only the curvature J delta(u - c) of the kinks counts: a2 = s² E[psi''(u)]/sqrt 2.
        kinks = np.array(activation.kinks) / deviation
        second = deviation * float(np.diff(activation.slopes) @ density(kinks)) / math.sqrt(2)
    else:
        second = float(_hermite.coefficients(activation, zero, spread)[2, 0])
    size = float(np.sqrt(first**2 + moments.residual[0] + moments.mean[0] ** 2))
    first, second = (0.0 if abs(a) < 1e-12 * size else a for a in (first, second))
    return first, second, float(moments.residual[0])
