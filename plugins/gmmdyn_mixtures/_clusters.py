"""Labels and priors of clusters, and drawing clusters: what all mixtures share."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from gmmdyn import checks
from gmmdyn.errors import ArgumentError, RangeError, ShapeError


def label_tensor(labels: Any, clusters: int, classes: Any = None) -> Tensor:
    """Return the labels of the clusters.

    Args:
        labels: array of shape `(C,)`, each -1 or +1 (all may be the same), or of shape `(C, O)`,
            any numbers; None with `classes`.
        clusters: how many clusters there are.
        classes: in their place the class of each cluster, whole numbers 0 to O - 1 of which each
            occurs, shape `(C,)`; its label is one-hot.

    Returns:
        The labels, shape `(C,)` or `(C, O)`, float64.

    Raises:
        ArgumentError: if both or neither are given.
        ShapeError: if there is not one label for each cluster, or one of shape `(C, O)` has one
            number.
        RangeError: if a label is neither -1 nor +1, or the classes are not 0 to O - 1.
    """
    if (labels is None) == (classes is None):
        raise ArgumentError("give either `labels` or `classes` of the clusters, and not both.")
    if classes is not None:
        return one_hot(checks.array("classes", classes, (clusters,)))
    if checks.axes(labels) == 2:
        result = checks.array("labels", labels, (clusters, None))
        if result.shape[1] < 2:
            raise ShapeError(
                f"`labels` has shape {tuple(result.shape)}; give {(clusters,)} for one output."
            )
        return result
    result = checks.array("labels", labels, (clusters,))
    wrong = result[result.abs() != 1]
    if len(wrong):
        raise RangeError(f"`labels` has the entry {wrong[0].item():g}; give -1 or +1.")
    return result


def one_hot(classes: Tensor) -> Tensor:
    """Return labels with one entry 1 and all others 0.

    Args:
        classes: shape `(C,)`.

    Returns:
        Shape `(C, O)`, float64.

    Raises:
        RangeError: if the classes are not 0 to O - 1, each of them there, with O at least 2.
    """
    found = sorted(set(classes.tolist()))
    count = len(found)
    if count < 2 or found != list(range(count)):
        listed = ", ".join(f"{value:g}" for value in found)
        raise RangeError(
            f"`classes` has the values {listed}; give whole numbers from 0 to O - 1, each of them "
            "at least once, of at least two classes."
        )
    return torch.eye(count, dtype=torch.float64)[classes.long()]


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
