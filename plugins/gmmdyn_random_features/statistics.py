r"""Means and covariances of random features of a Gaussian mixture.

In cluster alpha the fields u_i = F_i·x/sqrt D are Gaussian with

    means m_i = F_i·mu_alpha/D,   covariance F_iᵀ Omega_alpha F_j/D = s_i s_j rho_ij,

and the features z_i = psi(u_i) - c_i have, to first order in rho_ij (i != j),

    Cov(z_i, z_j) = a_i a_j s_i s_j rho_ij + O(rho²),   Var z_i = residual_i + a_i² s_i²

with the mean slopes a_i = E[psi'(u_i)]. So each covariance is diagonal plus one of rank D.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from gmmdyn import checks
from gmmdyn.errors import ShapeError
from gmmdyn.gaussian import pair_covariance, projected_fields, unit_moments
from gmmdyn.interfaces import Activation, FeatureNetwork, GaussianMixture, IsotropicMixture

# Of single units: `unit_moments` or `unit_cumulants`.
UnitFunction = Callable[[Activation, Tensor, Tensor], tuple[Tensor, ...]]
ORDERS = ("first", "exact")
# Rows of a covariance at a time, so that only its lower half is computed.
_ROWS = 128


@dataclass(frozen=True)
class FeatureStatistics:
    r"""Statistics of the features in each cluster; arrays of NumPy, float64.

    Attributes:
        mixture: the mixture.
        network: the network, which is not changed.
        projection: $F$, shape `(D, P)`.
        field_means: $m_{\alpha i}$, shape `(C, P)`.
        field_deviations: $s_{\alpha i}$, shape `(C, P)`.
        means: $E[z_i]$ with the centre subtracted, shape `(C, P)`.
        slopes: $a_{\alpha i} = E[\psi'(u_i)]$, shape `(C, P)`.
        residuals: $\mathrm{Var} z_i - a_i^2 s_i^2$, shape `(C, P)`.
    """

    mixture: GaussianMixture
    network: FeatureNetwork
    projection: np.ndarray
    field_means: np.ndarray
    field_deviations: np.ndarray
    means: np.ndarray
    slopes: np.ndarray
    residuals: np.ndarray

    @property
    def dim(self) -> int:
        """The input dimension `D`."""
        return int(self.projection.shape[0])

    @property
    def size(self) -> int:
        """The number of features `P`."""
        return int(self.projection.shape[1])

    @property
    def labels(self) -> np.ndarray:
        """Labels of the clusters, shape `(C,)`."""
        return to_numpy(self.mixture.labels)

    @property
    def priors(self) -> np.ndarray:
        """Probabilities of the clusters, shape `(C,)`."""
        return to_numpy(self.mixture.priors)

    @property
    def variances(self) -> np.ndarray:
        r"""$\mathrm{Var} z_i$, shape `(C, P)`; the same at both orders."""
        return np.asarray(self.residuals + (self.slopes * self.field_deviations) ** 2)

    def input_products(self, vectors: np.ndarray) -> np.ndarray:
        r"""Apply the covariance of every cluster to every vector.

        Args:
            vectors: shape `(N, D)`.

        Returns:
            $\Omega_\alpha u_n$, shape `(C, N, D)`, or `(1, N, D)` if the clusters share it.
        """
        given = torch.from_numpy(np.ascontiguousarray(vectors)).to(self.mixture.means.device)
        return to_numpy(self.mixture.covariance_product(given))

    @functools.cached_property
    def input_roots(self) -> list[np.ndarray | float]:
        r"""L with $LL^T = \Omega_\alpha$, one alone if the clusters share it.

        A number for isotropic noise, else one column for each eigenvalue that is not 0.
        """
        if isinstance(self.mixture, IsotropicMixture):
            return [float(np.sqrt(self.mixture.variance))]
        return [_root(omega) for omega in self.input_products(np.eye(self.dim))]

    def quadratic(self, weights: np.ndarray) -> np.ndarray:
        r"""Return the variance of $u \cdot z$ in each cluster, to first order.

        Args:
            weights: $u$, shape `(P,)`, or `(P, N)` for many.

        Returns:
            Shape `(C,)`, or `(C, N)`.
        """
        columns = weights.reshape(self.size, -1)
        found = self.residuals @ columns**2  # (C, N)
        for cluster, slope in enumerate(self.slopes):
            inputs = (self.projection @ (slope[:, None] * columns)).T  # (N, D)
            products = self.input_products(inputs)
            product = products[cluster if len(products) > 1 else 0]
            found[cluster] += (inputs * product).sum(axis=1) / self.dim
        return np.asarray(found.reshape(-1, *weights.shape[1:]))

    def field_factor(self, cluster: int) -> np.ndarray:
        r"""Return the fields as functions of standard noise.

        Args:
            cluster: which.

        Returns:
            $B = \Omega^{1/2} F/\sqrt{D}$, shape `(rank, P)`; their covariance is $B^TB$.
        """
        scaled = self.projection / np.sqrt(self.dim)
        root = self.input_roots[cluster if len(self.input_roots) > 1 else 0]
        return np.asarray(root * scaled if isinstance(root, float) else root.T @ scaled)

    def covariance(self, cluster: int, order: str = "first") -> np.ndarray:
        """Return the covariance of the features in one cluster.

        Args:
            cluster: which.
            order: `"first"` in the correlation of two fields, or `"exact"` for every pair.

        Returns:
            Shape `(P, P)`, symmetric.

        Raises:
            RangeError: if `order` is unknown.
        """
        checks.choice("order", order, ORDERS)
        products = self.input_products(self.projection.T)
        fields = products[cluster if len(products) > 1 else 0] @ self.projection / self.dim
        if order == "first":
            slope = self.slopes[cluster]
            found = slope[:, None] * slope * fields
        else:
            found = self._exact(cluster, fields)
        np.fill_diagonal(found, self.variances[cluster])
        return np.asarray((found + found.T) / 2)

    def _exact(self, cluster: int, fields: np.ndarray) -> np.ndarray:
        mean, deviation = (
            torch.from_numpy(part[cluster]) for part in (self.field_means, self.field_deviations)
        )
        found = np.empty_like(fields)
        for start in range(0, self.size, _ROWS):
            rows = slice(start, start + _ROWS)
            block = pair_covariance(
                self.network.activation,
                (mean[rows], deviation[rows]),
                (mean[start:], deviation[start:]),
                torch.from_numpy(fields[rows, start:]),
            ).numpy()
            found[rows, start:] = block
            found[start:, rows] = block.T
        return found


def feature_statistics(mixture: GaussianMixture, network: FeatureNetwork) -> FeatureStatistics:
    r"""Compute the statistics of random features in each cluster, in float64.

    Args:
        mixture: any Gaussian mixture; its covariances enter by `covariance_product` alone.
        network: the network, whose projection, activation and centre count.

    Returns:
        The statistics.

    Raises:
        ShapeError: if mixture and network have different input dimensions.

    References:
        Refinetti et al., ICML 2021, arXiv:2102.11742, in the conventions of this package.
    """
    if mixture.dim != network.dim:
        raise ShapeError(
            f"the network has input dimension {network.dim} but the data model has "
            f"{mixture.dim}; give both the same `dim`."
        )
    fields = (to_numpy(part) for part in projected_fields(mixture, network.projection.double()))
    means, deviations = (np.ascontiguousarray(part) for part in fields)
    mean, slope, residual = of_arrays(unit_moments, network.activation, means, deviations)
    centre = 0.0 if network.centre is None else to_numpy(network.centre)
    return FeatureStatistics(
        mixture,
        network,
        to_numpy(network.projection),
        means,
        deviations,
        mean - centre,
        slope,
        residual,
    )


def of_arrays(
    function: UnitFunction,
    activation: Activation,
    mean: np.ndarray,
    deviation: np.ndarray,
) -> list[np.ndarray]:
    """Apply a function of single units to arrays of means and deviations of their fields."""
    fields = [torch.from_numpy(np.ascontiguousarray(part)) for part in (mean, deviation)]
    found = function(activation, *fields)
    return [part.numpy() for part in found]


def _root(covariance: np.ndarray) -> np.ndarray:
    values, vectors = np.linalg.eigh((covariance + covariance.T) / 2)
    kept = values > len(values) * np.finfo(float).eps * values[-1]
    return np.asarray(vectors[:, kept] * np.sqrt(values[kept]))


def to_numpy(tensor: Tensor) -> np.ndarray:
    """Return a tensor as a float64 array.

    Args:
        tensor: on any device, of any type.

    Returns:
        The array.
    """
    return np.asarray(tensor.detach().cpu().to(torch.float64).numpy())
