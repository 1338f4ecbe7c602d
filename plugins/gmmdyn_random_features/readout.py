r"""The best linear readout of random features, and its errors.

With y = u·z + b, weights u = w/sqrt P and ridge kappa, the minimum of E[(y - u·z - b)²] + kappa u²
is

    (Cov z + kappa) u = Cov(z, y),   b = E y - u·E z        with an intercept,
    (E zzᵀ + kappa) u = E[z y],      b = 0                  without,

where mean and covariance are those of the whole mixture. To first order both matrices are
d + U Uᵀ with a diagonal d and at most C D + C columns U, of which the last C, from the means, also
span the right-hand side U c. Then

    u = (d + U Uᵀ)⁻¹ U c = d⁻¹ U (1 + Uᵀ d⁻¹ U)⁻¹ c

costs P (C D)² and no P by P matrix, and nothing in it cancels.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.linalg import cho_factor, cho_solve

from gmmdyn import checks
from gmmdyn.errors import NotPositiveError, RangeError
from gmmdyn_random_features.classification import error_probability, mistakes
from gmmdyn_random_features.statistics import ORDERS, FeatureStatistics

METHODS = ("auto", "woodbury", "dense")
# The smallest diagonal, as a share of the trace: units that are never near a kink are linear or
# dead and have no variance of their own. Less would drown in rounding errors of the Gram matrix.
_FLOOR = 100 * float(np.finfo(float).eps)
# Slopes that differ between clusters by less than this are one: the covariance moves by its square.
_SAME = 1e-9


class Readout(NamedTuple):
    r"""A linear readout and its errors.

    Attributes:
        weights: $u = w/\sqrt{P}$, shape `(P,)`.
        intercept: $b$, 0 without one.
        pmse: ½E[(y − ŷ)²].
        classification_error: P(yŷ < 0) + ½P(ŷ = 0), beyond Gaussian outputs; see `mistakes`.
        classification_error_se: how far it may be off, as the last term taken into account.
        gaussian_error: the same for Gaussian outputs in each cluster, as published.
        output_means: mean of the output in each cluster, shape `(C,)`.
        output_variances: its variance, shape `(C,)`.
    """

    weights: np.ndarray
    intercept: float
    pmse: float
    classification_error: float
    classification_error_se: float
    gaussian_error: float
    output_means: np.ndarray
    output_variances: np.ndarray


def optimal_readout(
    statistics: FeatureStatistics,
    *,
    ridge: float = 0.0,
    bias: bool = True,
    order: str = "first",
    method: str = "auto",
) -> Readout:
    r"""Find the readout of least squares.

    Where a feature has no variance of its own (a linear one, or a rectifier far from its kink) the
    matrix may be singular; $2 \cdot 10^{-14}$ of its trace then stands in for that variance.

    Args:
        statistics: of the features.
        ridge: $\kappa$, added to the covariance, not negative.
        bias: whether there is an intercept, which is not penalised.
        order: covariances of pairs to `"first"` order in their correlation, or `"exact"`.
        method: `"woodbury"` (first order only), `"dense"`, a Cholesky factor of P by P, or
            `"auto"`, the smaller of the two.

    Returns:
        The readout.

    Raises:
        RangeError: if an argument is out of range, or Woodbury's form asked for at exact order.
        NotPositiveError: if the matrix is singular in spite of that, such as for two equal features
            with quadrature errors in their covariance.
    """
    ridge = checks.number("ridge", ridge, at_least=0)
    checks.choice("order", order, ORDERS)
    checks.choice("method", method, METHODS)
    if order == "exact" and method == "woodbury":
        raise RangeError("`method` is 'woodbury', which needs `order='first'`; give 'dense'.")
    priors, labels = statistics.priors, statistics.labels
    centre = priors @ statistics.means if bias else np.zeros(statistics.size)
    columns = (np.sqrt(priors)[:, None] * (statistics.means - centre)).T  # (P, C)
    target = np.sqrt(priors) * labels

    exact: list[np.ndarray] = []
    if order == "exact":
        exact = [statistics.covariance(alpha, "exact") for alpha in range(len(priors))]
    if method == "auto":
        small = order == "first" and noise_rank(statistics) + len(priors) < statistics.size
        method = "woodbury" if small else "dense"
    floor = _FLOOR * float((priors @ statistics.variances).sum() + (columns**2).sum())
    if method == "woodbury":
        weights = _woodbury(statistics, columns, target, ridge, floor)
    else:
        noise = sum(p * c for p, c in zip(priors, exact, strict=True)) if exact else None
        total = noise_covariance(statistics) if noise is None else np.asarray(noise)
        total += columns @ columns.T
        total[np.diag_indices_from(total)] += max(ridge, floor)
        try:
            factor = cho_factor(total, lower=True)
        except np.linalg.LinAlgError:
            raise NotPositiveError(
                "the covariance of the features is singular to rounding; give a `ridge`, which is "
                "the `weight_decay` of an experiment."
            ) from None
        weights = np.asarray(cho_solve(factor, columns @ target))
    variances = (
        np.array([weights @ c @ weights for c in exact]) if exact else statistics.quadratic(weights)
    )
    intercept = float(priors @ labels - weights @ centre) if bias else 0.0
    means = statistics.means @ weights + intercept
    pmse = 0.5 * float(priors @ ((labels - means) ** 2 + variances))
    wrong = mistakes(statistics, weights, intercept)
    return Readout(
        weights,
        intercept,
        pmse,
        float(priors @ wrong.probability),
        float(priors @ wrong.uncertainty),
        float(priors @ error_probability(labels * means, variances)),
        means,
        variances,
    )


def noise_covariance(statistics: FeatureStatistics) -> np.ndarray:
    """Return the covariance within clusters, averaged over them, to first order.

    Args:
        statistics: of the features.

    Returns:
        Shape `(P, P)`.
    """
    priors, size = statistics.priors, statistics.size
    if statistics.mixture.covariance_structure not in ("isotropic", "shared"):
        total = np.zeros((size, size))
        for alpha, prior in enumerate(priors):
            if prior > 0:
                total += prior * statistics.covariance(alpha)
        return total
    (product,) = statistics.input_products(statistics.projection.T)
    total = product @ statistics.projection / statistics.dim
    total *= (priors[:, None] * statistics.slopes).T @ statistics.slopes
    total = (total + total.T) / 2
    np.fill_diagonal(total, priors @ statistics.variances)
    return np.asarray(total)


def noise_rank(statistics: FeatureStatistics) -> int:
    """Return how many columns Woodbury's form has for the noise.

    Args:
        statistics: of the features.

    Returns:
        At most C D.
    """
    if statistics.mixture.covariance_structure in ("isotropic", "shared"):
        return len(_slope_modes(statistics)) * statistics.dim
    return int(np.count_nonzero(statistics.priors)) * statistics.dim


def _slope_modes(statistics: FeatureStatistics) -> np.ndarray:
    """Rows b with sum_k b_k b_kᵀ = sum_α p_α a_α a_αᵀ, as few as there are.

    Opposite clusters of rectifiers have a_α + a_α' = 1, so that the XOR has three and not four.
    """
    weighted = np.sqrt(statistics.priors)[:, None] * statistics.slopes
    _, sizes, modes = np.linalg.svd(weighted, full_matrices=False)
    kept = sizes > _SAME * sizes[0]
    return np.asarray(sizes[kept, None] * modes[kept])


def _woodbury(
    statistics: FeatureStatistics,
    columns: np.ndarray,
    target: np.ndarray,
    ridge: float,
    floor: float,
) -> np.ndarray:
    """Solve by the form in the head of this module."""
    diagonal = statistics.priors @ statistics.residuals + ridge
    scale = 1 / np.sqrt(np.maximum(diagonal, floor))
    factor = _factor(statistics, columns, scale)
    gram = factor.T @ factor
    gram[np.diag_indices_from(gram)] += 1
    right = np.zeros(len(gram))
    right[len(gram) - len(target) :] = target
    # The Gram matrix is the largest after the factor: it is overwritten.
    solved = cho_solve(cho_factor(gram, lower=True, overwrite_a=True), right)
    return np.asarray(scale * (factor @ solved))


def _factor(statistics: FeatureStatistics, columns: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """Return d^{-1/2} U, the noise first and the means last, shape `(P, rank)`."""
    dim, roots = statistics.dim, statistics.input_roots
    scaled = statistics.projection.T * (scale[:, None] / np.sqrt(dim))
    if len(roots) == 1:
        pairs = [(mode, roots[0]) for mode in _slope_modes(statistics)]
    else:
        weighted = np.sqrt(statistics.priors)[:, None] * statistics.slopes
        pairs = list(zip(weighted, roots, strict=True))
    widths = [dim if isinstance(root, float) else root.shape[1] for _, root in pairs]
    factor = np.empty((statistics.size, sum(widths) + columns.shape[1]))
    end = 0
    for (mode, root), width in zip(pairs, widths, strict=True):
        block = factor[:, end : end + width]
        np.multiply(scaled if isinstance(root, float) else scaled @ root, mode[:, None], out=block)
        if isinstance(root, float):
            block *= root
        end += width
    factor[:, end:] = columns * scale[:, None]
    return factor


class Gap(NamedTuple):
    """First order less exact.

    Attributes:
        largest: largest entry by absolute value of the difference of the covariances within
            clusters (averaged over them), as a share of the mean variance of a feature.
        relative: Frobenius norm of that difference over that of the exact covariance.
        pmse: difference of the pmse of the best readouts, each by its own covariances.
        classification_error: likewise.
    """

    largest: float
    relative: float
    pmse: float
    classification_error: float


def first_order_gap(statistics: FeatureStatistics, *, ridge: float = 0.0, bias: bool = True) -> Gap:
    r"""Say what the first-order covariances neglect.

    For features with correlated fields they neglect $\sum_{k\ge2} c_k(i)c_k(j)\rho_{ij}^k$, where
    $\rho_{ij}$ is of order $1/\sqrt{D}$ for random directions: entries of order $1/D$. It costs
    $P^2$ evaluations of the exact covariance for each cluster, and a Cholesky factor.

    Args:
        statistics: of the features.
        ridge: $\kappa$ of the readouts, not negative.
        bias: whether they have an intercept.

    Returns:
        The differences.

    Raises:
        RangeError: if the ridge is negative.
    """
    first = optimal_readout(statistics, ridge=ridge, bias=bias)
    exact = optimal_readout(statistics, ridge=ridge, bias=bias, order="exact")
    covariance = np.zeros((statistics.size, statistics.size))
    for alpha, prior in enumerate(statistics.priors):
        if prior > 0:
            covariance += prior * statistics.covariance(alpha, "exact")
    difference = noise_covariance(statistics) - covariance
    return Gap(
        float(np.abs(difference).max() / covariance.diagonal().mean()),
        float(np.linalg.norm(difference) / np.linalg.norm(covariance)),
        first.pmse - exact.pmse,
        first.classification_error - exact.classification_error,
    )
