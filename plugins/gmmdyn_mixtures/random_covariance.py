"""The mixture whose noise has any covariance, given or drawn at random."""

from __future__ import annotations

from typing import Any, final

import torch
from torch import Tensor

from gmmdyn import checks
from gmmdyn.errors import ArgumentError, NotPositiveError, ShapeError
from gmmdyn_mixtures._clusters import label_tensor, prior_tensor
from gmmdyn_mixtures._dense import DenseMixture, square_root


@final
class RandomCovariance(DenseMixture):
    r"""Clusters with a covariance that all share, or one each.

    The covariance is given in exactly one of three ways; with none of them it is drawn as
    $\Omega = \sigma^2 F^T F$, $F$ of shape `(D, D)` with independent entries of variance $1/D$
    (a Wishart matrix: its mean is $\sigma^2$ times the identity, its eigenvalues lie between 0 and
    about $4\sigma^2$).

    Args:
        means: $\mu_\alpha$, shape `(C, D)`; inputs are $\mu_\alpha/\sqrt{D}$ + noise.
        labels: shape `(C,)`, each -1 or +1, or `(C, O)`, any numbers, for `O` outputs; or
            `classes` in their place.
        classes: the class of each cluster, from 0 to O - 1, shape `(C,)`; its label is one-hot.
        priors: shape `(C,)`, summing to one; None for equal ones.
        covariance: $\Omega$, shape `(D, D)`, or `(C, D, D)` for one each; positive semi-definite.
        factor: $F$ with $\Omega = F F^T$, shape `(D, r)` or `(C, D, r)`.
        spectrum: eigenvalues of $\Omega$, shape `(D,)` or `(C, D)`, non-negative; the eigenvectors
            are drawn uniformly over orthogonal matrices, for `(C, D)` anew for each cluster.
        variance: $\sigma^2$ of a covariance drawn at random, non-negative.
        per_cluster: whether each cluster has a random covariance, or random eigenvectors, of its
            own.
        seed: of the random covariance or eigenvectors.

    Raises:
        ArgumentError: if labels and classes are both given or neither, if the covariance is given
            in two ways, or `variance` or `per_cluster`
            beside a way that has no use for it.
        ShapeError: if a shape does not fit that of `means`.
        RangeError: if an entry is not finite, a label not ±1, a class not 0 to O - 1, or a number
            out of range.
        NotPositiveError: if `covariance` is not symmetric positive semi-definite, or `spectrum` has
            a negative entry.
    """

    def __init__(
        self,
        *,
        means: Any,
        labels: Any = None,
        classes: Any = None,
        priors: Any = None,
        covariance: Any = None,
        factor: Any = None,
        spectrum: Any = None,
        variance: float = 1.0,
        per_cluster: bool = False,
        seed: int = 0,
    ) -> None:
        centres = checks.array("means", means, (None, None))
        clusters, dim = centres.shape
        if not centres.numel():
            raise ShapeError(f"`means` has shape {(clusters, dim)}; give at least one entry.")
        variance = checks.number("variance", variance, at_least=0)
        seed = checks.whole("seed", seed, at_least=0)
        ways = {"covariance": covariance, "factor": factor, "spectrum": spectrum}
        given = [name for name, value in ways.items() if value is not None]
        _refuse_two_ways(given, variance, per_cluster)

        if covariance is not None:
            matrices = _per_cluster("covariance", covariance, clusters, (dim, dim))
            factors = square_root(checks.covariance("covariance", matrices))
        elif factor is not None:
            factors = _per_cluster("factor", factor, clusters, (dim, None))
        else:
            generator = torch.Generator().manual_seed(seed)
            if spectrum is not None:
                eigenvalues = _per_cluster("spectrum", spectrum, clusters, (dim,))
                factors = _rotated(eigenvalues, clusters if per_cluster else 1, generator)
            else:
                factors = _normals((clusters if per_cluster else 1, dim, dim), generator)
                factors = factors * (variance / dim) ** 0.5
        super().__init__(
            centres,
            label_tensor(labels, clusters, classes),
            prior_tensor(priors, clusters),
            factors,
        )


def _refuse_two_ways(given: list[str], variance: float, per_cluster: bool) -> None:
    if len(given) > 1:
        names = " and ".join(f"`{name}`" for name in given)
        raise ArgumentError(f"{names} each fix the covariance; give one of them, or none.")
    if given and variance != 1:
        raise ArgumentError(
            f"`variance` scales a covariance drawn at random, but `{given[0]}` is given; leave one "
            "of the two out."
        )
    if per_cluster and given and given != ["spectrum"]:
        raise ArgumentError(
            f"`per_cluster` is for what is drawn at random, but `{given[0]}` is given; give it the "
            "leading dimension C instead."
        )


def _per_cluster(name: str, value: Any, clusters: int, shape: tuple[int | None, ...]) -> Tensor:
    """Return `value` with one leading dimension, 1 if all clusters share it."""
    shared = checks.axes(value) <= len(shape)
    wanted = shape if shared else (clusters, *shape)
    result = checks.array(name, value, wanted)
    if not result.numel():
        raise ShapeError(f"`{name}` has shape {tuple(result.shape)}; give at least one column.")
    return result.unsqueeze(0) if shared else result


def _normals(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    return torch.randn(shape, generator=generator, dtype=torch.float64)


def _rotated(eigenvalues: Tensor, copies: int, generator: torch.Generator) -> Tensor:
    """Return factors `(C, D, D)` with these eigenvalues `(C, D)` and random eigenvectors."""
    lowest = float(eigenvalues.min())
    if lowest < 0:
        raise NotPositiveError(
            f"`spectrum` has the negative entry {lowest:.3g}; give eigenvalues of at least 0."
        )
    dim = eigenvalues.shape[-1]
    copies = max(copies, len(eigenvalues))
    # Uniform up to the signs of the columns, which cancel in the covariance.
    vectors, _ = torch.linalg.qr(_normals((copies, dim, dim), generator))
    factors: Tensor = vectors * eigenvalues.sqrt().unsqueeze(-2)
    return factors
