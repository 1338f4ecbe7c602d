"""The Bayes error of a Gaussian mixture: no classifier of the inputs has a lower one."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt
import torch
from scipy.special import ndtr
from torch import Tensor

from gmmdyn import checks
from gmmdyn.gaussian.bayes_on_a_line import error_on_a_line
from gmmdyn.trajectory.estimate import Estimate

Array = npt.NDArray[np.float64]

# Eigenvalues below this fraction of the largest are rounding errors of zero.
_NULL = 1e-12
# Whitened centres this close count as one; that moves the error by less than the distance.
_COINCIDENT = 1e-9
# Bounds on the numbers drawn, and on the multiplications, with one covariance per cluster.
_MAX_DRAWN, _MAX_PRODUCTS = 2e7, 5e10


class Mixture(Protocol):
    """What a Bayes error depends on; every `GaussianMixture` has it."""

    @property
    def dim(self) -> int:
        """The input dimension `D`."""
        ...

    @property
    def means(self) -> Tensor:
        r"""$\mu_\alpha$, shape `(C, D)`; inputs are centred on $\mu_\alpha/\sqrt{D}$."""
        ...

    @property
    def labels(self) -> Tensor:
        """Shape `(C,)`, or `(C, O)`."""
        ...

    @property
    def priors(self) -> Tensor:
        """Shape `(C,)`."""
        ...

    @property
    def covariance_structure(self) -> str:
        """`"isotropic"` if the noise is the same in all directions and clusters."""
        ...

    def covariance_product(self, vectors: Tensor) -> Tensor:
        """Multiply vectors `(n, D)` by each covariance: shape `(C or 1, n, D)`."""
        ...


class _Sites(NamedTuple):
    """Distinct centres in coordinates where the noise is standard normal.

    Attributes:
        positions: shape `(S, r)`.
        weights: probability of each class at each centre, shape `(S, O)`.
    """

    positions: Array
    weights: Array


def bayes_error(mixture: Mixture, classes: Tensor, samples: int, seed: int) -> Estimate:
    r"""Return the lowest classification error that any classifier can reach.

    With one covariance for all clusters only the span of the whitened mean differences matters,
    at most `C - 1` dimensions: exact if they are collinear (any priors) and for the symmetric XOR,
    where it is $2q(1-q)$ with $q = \Phi(-|u|/\sqrt{2})$ for whitened means $\pm u$ and $\pm w$.
    Otherwise it is $E[1 - \max_y P(y|x)]$ over points drawn from each cluster in proportion to its
    prior. Where one shared covariance is singular, clusters that differ along its null space are
    told apart with certainty.

    With one covariance per cluster, eigenvalues below 1e-12 of the largest of all clusters
    are raised to that floor, in the points drawn as in the densities, and fewer points are drawn
    in high dimension (at most 2e7/D and 5e10/(C D²)), so that it takes seconds at `D` = 1000.

    Args:
        mixture: the mixture.
        classes: of its clusters, whole numbers from 0, shape `(C,)`.
        samples: how many points to draw where there is no closed form, at least 1.
        seed: of those points, at least 0.

    Returns:
        The error and its standard error (0 where it is exact).

    Raises:
        RangeError: if `samples` or `seed` is out of range.
    """
    samples = checks.whole("samples", samples, at_least=1)
    rng = np.random.default_rng(checks.whole("seed", seed, at_least=0))
    priors = _numpy(mixture.priors)
    alive = priors > 0
    numbers = classes.cpu().numpy()
    weights = priors[:, None] * np.eye(max(2, int(numbers.max()) + 1))[numbers]
    weights = weights[alive]
    # A class that never comes makes no difference, but there are always two.
    rarest_first = np.argsort(weights.any(axis=0), kind="stable")
    weights = weights[:, np.sort(rarest_first[-max(2, int(weights.any(axis=0).sum())) :])]
    centres = _numpy(mixture.means)[alive] / math.sqrt(mixture.dim)
    # Any origin will do; one among the clusters keeps the digits of small differences.
    centres = centres - centres[0]

    precision = float(torch.finfo(mixture.means.dtype).eps)
    tolerance = max(_COINCIDENT, 100 * precision)
    spread = float(np.linalg.norm(centres, axis=1).max())
    if mixture.covariance_structure == "isotropic":
        unit = torch.eye(1, mixture.dim, dtype=torch.float64, device=mixture.means.device)
        variance = float(mixture.covariance_product(unit)[0, 0, 0])
        none = np.zeros((len(centres), 0))
        certain, whitened = (
            (none, centres / math.sqrt(variance)) if variance > 0 else (centres, none)
        )
    else:
        eye = torch.eye(mixture.dim, dtype=mixture.means.dtype, device=mixture.means.device)
        covariances = _numpy(mixture.covariance_product(eye))
        if len(covariances) > 1:
            covariances = covariances[alive]
        if len(covariances) > 1 and covariances.any():
            return _separate_covariances(centres, covariances, weights, samples, rng)
        spectrum, vectors = np.linalg.eigh((covariances[0] + covariances[0].T) / 2)
        null = spectrum <= max(_NULL, len(spectrum) * precision * 1e-2) * max(spectrum[-1], 0.0)
        certain = centres @ vectors[:, null]
        whitened = centres @ vectors[:, ~null] / np.sqrt(spectrum[~null])

    group = _coincident(certain, tolerance * spread)
    parts = []
    for name in np.unique(group):
        inside = group == name
        share = max(1, round(samples * float(weights[inside].sum())))
        parts.append(_shared_covariance(whitened[inside], weights[inside], share, rng))
    return Estimate(
        sum(part.value for part in parts), math.hypot(*(part.standard_error for part in parts))
    )


def _numpy(tensor: torch.Tensor) -> Array:
    result: Array = tensor.detach().cpu().to(torch.float64).numpy()
    return result


def _coincident(points: Array, tolerance: float) -> npt.NDArray[np.int64]:
    """Give points within the tolerance of each other the index of the first of them."""
    group = np.full(len(points), -1, dtype=np.int64)
    for i in range(len(points)):
        if group[i] < 0:
            near = np.linalg.norm(points - points[i], axis=1) <= tolerance
            group[near & (group < 0)] = i
    return group


def _shared_covariance(
    whitened: Array, weights: Array, samples: int, rng: np.random.Generator
) -> Estimate:
    """Error of clusters with unit noise; `weights` `(C, O)` need not sum to one."""
    centred = whitened - whitened.mean(axis=0)
    tolerance = _COINCIDENT + 1e-13 * float(np.abs(centred).max(initial=0.0))
    left, size, _ = np.linalg.svd(centred, full_matrices=False)
    positions = (left * size)[:, size > tolerance]  # (C, r)

    group = _coincident(positions, tolerance)
    first, site = np.unique(group, return_inverse=True)
    merged = np.zeros((len(first), weights.shape[1]))
    np.add.at(merged, site, weights)
    sites = _Sites(positions[first], merged)

    if len(first) == 1:
        return Estimate(float(_all_but_largest(merged)[0]))
    if positions.shape[1] == 1:
        return Estimate(error_on_a_line(sites.positions[:, 0], merged))
    if (radius := _symmetric_xor(sites, tolerance)) is not None:
        q = float(ndtr(-radius / math.sqrt(2)))
        return Estimate(float(merged.sum()) * 2 * q * (1 - q))
    return _sampled_sites(sites, samples, rng)


def _symmetric_xor(sites: _Sites, tolerance: float) -> float | None:
    """Return |u| for centres ±u of one label and ±w of the other, u ⟂ w, |u| = |w|, equal weights.

    None for any other geometry.
    """
    weight = float(sites.weights.max())
    positive = sites.weights[:, 1] > 0
    shapes = (4, 2), (4, 2)  # of positions, weights
    if (sites.positions.shape, sites.weights.shape) != shapes or positive.sum() != 2:
        return None
    if np.abs(sites.weights.sum(axis=1) - weight).max() > 1e-12 * weight or (
        np.count_nonzero(sites.weights) != 4
    ):
        return None
    centred = sites.positions - sites.positions.mean(axis=0)
    (u, u_), (w, w_) = centred[positive], centred[~positive]
    radius = float(np.linalg.norm(u))
    off = (*(u + u_), *(w + w_), np.linalg.norm(w) - radius, u @ w / radius)
    return radius if np.abs(off).max() <= max(tolerance, 1e-9 * radius) else None


def _all_but_largest(joint: Array) -> Array:
    """Add all entries but the largest of each row: no digits are lost where it is nearly all."""
    if joint.shape[1] == 2:
        smaller: Array = joint.min(axis=1)
        return smaller
    total: Array = np.sort(joint, axis=1)[:, :-1].sum(axis=1)
    return total


def _smaller_posterior(log_density: Array, weights: Array) -> Array:
    """Return 1 - max over y of P(y|x), shape `(n,)`, from log densities `(n, S)`."""
    density = np.exp(log_density - log_density.max(axis=1, keepdims=True))
    joint = density @ weights  # (n, O)
    result: Array = _all_but_largest(joint) / joint.sum(axis=1)
    return result


def _stratified(
    weights: Array, samples: int, per_chunk: int, draw: Callable[[int, int], Array]
) -> Estimate:
    """Average `draw(cluster, n)` over clusters, points in proportion to the weights."""
    shares = weights.sum(axis=1)
    value = variance = 0.0
    for i, share in enumerate(shares):
        left = max(2, round(samples * float(share / shares.sum())))
        parts = []
        while left > 0:
            parts.append(draw(i, min(left, per_chunk)))
            left -= per_chunk
        drawn = np.concatenate(parts)
        value += float(share * drawn.mean())
        variance += float(share**2 * drawn.var(ddof=1) / len(drawn))
    return Estimate(value, math.sqrt(variance))


def _sampled_sites(sites: _Sites, samples: int, rng: np.random.Generator) -> Estimate:
    def draw(i: int, n: int) -> Array:
        apart = sites.positions[i] - sites.positions  # (S, r)
        noise = rng.standard_normal((n, apart.shape[1]))
        log_density = -noise @ apart.T - (apart**2).sum(axis=1) / 2
        return _smaller_posterior(log_density, sites.weights)

    width = 2 * sum(sites.positions.shape)
    return _stratified(sites.weights, samples, max(1, 4_000_000 // width), draw)


def _separate_covariances(
    centres: Array, covariances: Array, weights: Array, samples: int, rng: np.random.Generator
) -> Estimate:
    """Error of clusters with a covariance of their own, `(C, D, D)`."""
    clusters, dim = centres.shape
    spectra, vectors = np.linalg.eigh((covariances + covariances.transpose(0, 2, 1)) / 2)
    # One floor for all: a direction in which no cluster has noise must cancel in the ratio.
    deviations = np.sqrt(np.maximum(spectra, _NULL * spectra.max()))  # (C, D)
    log_volume = np.log(deviations).sum(axis=1)

    def draw(i: int, n: int) -> Array:
        points = rng.standard_normal((n, dim)) * deviations[i] @ vectors[i].T
        log_density = np.empty((n, clusters))
        for j in range(clusters):
            scaled = (points + (centres[i] - centres[j])) @ vectors[j] / deviations[j]
            log_density[:, j] = -(scaled**2).sum(axis=1) / 2 - log_volume[j]
        return _smaller_posterior(log_density, weights)

    samples = int(min(samples, _MAX_DRAWN / dim, _MAX_PRODUCTS / (clusters * dim**2)))
    return _stratified(weights, samples, max(1, 6_000_000 // dim), draw)
