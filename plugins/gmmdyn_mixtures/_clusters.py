"""Labels and priors of clusters, and drawing clusters: what all mixtures share."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from gmmdyn import checks
from gmmdyn.errors import RangeError


def label_tensor(labels: Any, clusters: int) -> Tensor:
    """Return the labels of the clusters.

    Args:
        labels: array of shape `(C,)`, each -1 or +1; all may be the same.
        clusters: how many clusters there are.

    Returns:
        The labels, shape `(C,)`, float64.

    Raises:
        ShapeError: if there is not one label for each cluster.
        RangeError: if a label is neither -1 nor +1.
    """
    result = checks.array("labels", labels, (clusters,))
    wrong = result[result.abs() != 1]
    if len(wrong):
        raise RangeError(f"`labels` has the entry {wrong[0].item():g}; give -1 or +1.")
    return result


def prior_tensor(priors: Any, clusters: int) -> Tensor:
    """Return the probabilities of the clusters.

    Args:
        priors: array of shape `(C,)`, non-negative with sum one, or None for equal ones.
        clusters: how many clusters there are.

    Returns:
        The probabilities, shape `(C,)`, float64.

    Raises:
        ShapeError: if there is not one probability for each cluster.
        RangeError: if one is negative or they do not sum to one.
    """
    if priors is None:
        return torch.full((clusters,), 1 / clusters, dtype=torch.float64)
    return checks.probabilities("priors", priors, clusters)


def draw_clusters(priors_cumulative: Tensor, n: int, generator: torch.Generator) -> Tensor:
    """Draw the clusters of independent points.

    Args:
        priors_cumulative: cumulative sum of the priors, shape `(C,)`.
        n: how many points.
        generator: the source of randomness, on the device of `priors_cumulative`.

    Returns:
        Cluster indices, shape `(n,)`, dtype int64; never of a cluster with zero prior.
    """
    uniform = torch.rand(
        n, generator=generator, dtype=priors_cumulative.dtype, device=priors_cumulative.device
    )
    # From the right: a cluster with zero prior has an empty interval, its edge is the next one's.
    drawn = torch.searchsorted(priors_cumulative, uniform, right=True)
    # Rounding may leave the last edge below one: what lies beyond is the last likely cluster's.
    last = torch.searchsorted(priors_cumulative, priors_cumulative[-1:])
    return torch.minimum(drawn, last)
