r"""How often a readout of random features is wrong, beyond Gaussian outputs.

In one cluster the output y = u·z + b is a function of the noise g ~ N(0, 1), and the linear part of
it is a·g with a = sum_i u_i a_i Omega^{1/2} F_i/sqrt D. Along the direction of a the output is
followed as it is: given s = a·g/|a| every field is Gaussian with a shifted mean, so that

    E[y|s] = sum_i u_i E[psi(u_i)|s] + b

is exact, saturation and curvature along s included. Across it the output is a sum of many weak
parts: nearly Gaussian, with a variance to second order in the correlations of fields and a third
cumulant that enters as in Edgeworth's series,

    P(y < 0) = E_s[ Phi(z) - phi(z) (z² - 1) k_3/(6 V^{3/2}) ],   z = -E[y|s]/sqrt V.

With psi(u_i) - E = sum_n c_n,i h_n(xi_i) in normalised Hermite polynomials of its own standard
field xi_i, w_n = u c_n and rho the correlations given s, all by matrices of D by D,

    V = sum_i u_i² (Var - c_1²) + w_1ᵀ rho w_1 + sum_{i != k} w_2i w_2k rho_ik².

The third cumulant k_3 is that of units with c_1 and c_2 alone,

    3 sqrt 2 w_1ᵀ rho W_2 rho w_1 + 2 sqrt 2 tr (W_2 rho)³,   W_2 = diag w_2,

and what third moments of single units and pairs have besides. It neglects c_3 of different units,
which for saturating units is the larger part: there, and where the term is not small, it is not
added. In every case its size is the stated uncertainty.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.interpolate import CubicSpline
from scipy.special import ndtr

from gmmdyn.gaussian import unit_cumulants, unit_moments
from gmmdyn_random_features.statistics import FeatureStatistics, UnitFunction, of_arrays

# Values of s at which the output is followed, and those between which it is interpolated.
# P(|s| > 8) is 1e-15.
_NODES = np.linspace(-8, 8, 33)
_FINE = np.linspace(-8, 8, 3201)
_WEIGHTS = np.exp(-0.5 * _FINE**2)
_WEIGHTS /= _WEIGHTS.sum()
# Where second order and third cumulant are computed, P D² operations each; they change slowly.
_FEW = np.array([-3.0, 0.0, 3.0])
# Deviation of the part of the noise along a that is not given with s, so that P(y < 0|s) is never
# a step; the rest is (1 - 0.05²)^{1/2} s.
_KEPT = 0.05
_ROOT = np.sqrt(2.0)


class Mistakes(NamedTuple):
    r"""How often outputs have the wrong sign.

    Attributes:
        probability: $P(y\hat y < 0) + \tfrac12 P(y\hat y = 0)$ in each cluster, shape `(C,)`.
        uncertainty: size of the last term that is known, shape `(C,)`; what is left out is
            smaller where the series converges.
    """

    probability: np.ndarray
    uncertainty: np.ndarray


def error_probability(margin: np.ndarray, variance: np.ndarray) -> np.ndarray:
    """Return P(m + s ξ < 0) for a standard normal ξ; an output of exactly 0 is half an error.

    Args:
        margin: m, any shape.
        variance: s², same shape, not negative.

    Returns:
        Same shape.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = margin / np.sqrt(variance)
    sure = np.where(margin == 0, 0.0, np.copysign(np.inf, margin))
    return np.asarray(ndtr(-np.where(variance > 0, ratio, sure)))


def mistakes(statistics: FeatureStatistics, weights: np.ndarray, intercept: float) -> Mistakes:
    """Compute how often a readout is wrong, with the third cumulant of its output.

    Costs 12 P D² operations for each cluster.

    Args:
        statistics: of the features.
        weights: $u$, shape `(P,)`.
        intercept: $b$.

    Returns:
        The probabilities.
    """
    found = []
    for cluster, label in enumerate(statistics.labels):
        given = _Conditional(statistics, cluster, weights)
        mean, variance = given.first_order(intercept)
        few, describes = given.second_order()
        extra, skewness = (_interpolate(_FEW, values) for values in few)
        value, term = _probability(label * mean, variance + extra, label * skewness)
        added = describes and abs(term) < 0.5 * min(value, 1 - value)
        found.append((value + term if added else value, abs(term)))
    return Mistakes(*np.array(found).T)


def mistakes_at_variance(
    statistics: FeatureStatistics, weights: np.ndarray, intercept: float, variances: np.ndarray
) -> Mistakes:
    """Compute how often a readout is wrong if the variances of its output are known.

    Without the third cumulant, and so at P D operations for each cluster; the variance across the
    direction of the linear part is scaled to give those of the output.

    Args:
        statistics: of the features.
        weights: $u$, shape `(P,)`; the mean if it fluctuates.
        intercept: $b$, likewise.
        variances: of the output in each cluster, fluctuations of the readout included, shape
            `(C,)`.

    Returns:
        The probabilities; the uncertainty is the difference from Gaussian outputs.
    """
    found = []
    means = statistics.means @ weights + intercept
    gaussian = error_probability(statistics.labels * means, variances)
    for cluster, label in enumerate(statistics.labels):
        mean, variance = _Conditional(statistics, cluster, weights).first_order(intercept)
        along = _WEIGHTS @ (mean - _WEIGHTS @ mean) ** 2
        across = _WEIGHTS @ variance
        if across > 0 and variances[cluster] > along:
            variance = variance * ((variances[cluster] - along) / across)
        value, _ = _probability(label * mean, variance, np.zeros_like(mean))
        found.append((value, abs(value - gaussian[cluster])))
    return Mistakes(*np.array(found).T)


class _Conditional:
    """The output in one cluster given s."""

    def __init__(self, statistics: FeatureStatistics, cluster: int, weights: np.ndarray) -> None:
        self._activation = statistics.network.activation
        self._weights = weights
        self._mean = statistics.field_means[cluster]
        deviation = statistics.field_deviations[cluster]
        mean, _, _ = of_arrays(unit_moments, self._activation, self._mean, deviation)
        self._centred = statistics.means[cluster] - mean
        self._fields = statistics.field_factor(cluster)  # (rank, P)
        linear = self._fields @ (statistics.slopes[cluster] * weights)
        size = np.linalg.norm(linear)
        direction = linear / size if size > 0 else linear
        along = direction @ self._fields
        self._shift = np.sqrt(1 - _KEPT**2) * along
        self._fields -= np.outer(direction, (1 - _KEPT) * along)
        self._deviation = np.sqrt((self._fields**2).sum(axis=0))

    def _at(self, function: UnitFunction, s: np.ndarray) -> list[np.ndarray]:
        """Apply a function to the units given each of some s, each result `(len(s), P)`."""
        means = self._mean + s[:, None] * self._shift
        deviations = np.broadcast_to(self._deviation, means.shape)
        return of_arrays(function, self._activation, means, deviations)

    def first_order(self, intercept: float) -> tuple[np.ndarray, np.ndarray]:
        """Return mean and variance of the output, at the fine nodes."""
        u = self._weights
        value, slope, residual = self._at(unit_moments, _NODES)
        linear = self._fields @ (u * slope).T
        mean = value @ u + (intercept + u @ self._centred)
        variance = residual @ u**2 + (linear**2).sum(axis=0)
        return _interpolate(_NODES, mean), _interpolate(_NODES, variance)

    def second_order(self) -> tuple[np.ndarray, bool]:
        """Return what second order adds to the variance, and the third cumulant, at few nodes.

        Shape `(2, 3)`; and whether c_3 of the units is small enough to be neglected there.
        """
        u, found, small = self._weights, [], True
        with np.errstate(divide="ignore", invalid="ignore"):
            units = np.nan_to_num(self._fields / self._deviation)
        for c1, c2, c3, square1, square2, cube in zip(*self._at(unit_cumulants, _FEW), strict=True):
            one, two = u * c1, u * c2
            linear = units @ one
            curvature = (units * two) @ units.T
            # What two or three equal indices have besides c_1 and c_2.
            single = u**3 * (cube - 3 * _ROOT * c1**2 * c2 - 2 * _ROOT * c2**3)
            along = u**2 * (square1 - 2 * _ROOT * c1 * c2)
            bent = u**2 * (square2 - _ROOT * c1**2 - 2 * _ROOT * c2**2)
            square = curvature @ curvature
            skewness = 3 * _ROOT * linear @ curvature @ linear
            skewness += 2 * _ROOT * (square * curvature).sum() + single.sum()
            skewness += 3 * ((units @ along) @ linear - along @ one)
            skewness += 3 * ((((units * bent) @ units.T) * curvature).sum() - bent @ two)
            found.append((np.trace(square) - two @ two, skewness))
            small = small and bool((u * c3) @ (u * c3) <= two @ two)
        return np.array(found).T, small


def _interpolate(nodes: np.ndarray, values: np.ndarray) -> np.ndarray:
    return np.asarray(CubicSpline(nodes, values)(np.clip(_FINE, nodes[0], nodes[-1])))


def _probability(
    margin: np.ndarray, variance: np.ndarray, skewness: np.ndarray
) -> tuple[float, float]:
    """Return P(y < 0) for conditional Gaussians, and the term of their third cumulants."""
    variance = np.maximum(variance, 0)
    value = float(_WEIGHTS @ error_probability(margin, variance))
    with np.errstate(divide="ignore", invalid="ignore"):
        z = margin / np.sqrt(variance)
        density = np.exp(-0.5 * z * z) / np.sqrt(2 * np.pi)
        term = -density * (z * z - 1) * skewness / (6 * variance**1.5)
    return value, float(_WEIGHTS @ np.nan_to_num(term, posinf=0, neginf=0))
