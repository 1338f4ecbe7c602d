"""Means and weights in a basis that does not grow with D."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

# Means count as dependent if the rest is smaller than this share of the largest.
_DEPENDENT = 1e-12


class Coordinates(NamedTuple):
    """Means and weights over √D, in an orthonormal basis that begins with the span of the means.

    Attributes:
        centres: means, shape `(C, r)`; they have no other component.
        span: first layer within the span of the means, shape `(r, K)`.
        rest: first layer outside of it, shape `(s, K)` with s = min(K, D - r); row j is zero before
            column j unless D = r + s.
    """

    centres: Tensor
    span: Tensor
    rest: Tensor


def axes_of(means: Tensor) -> tuple[Tensor, Tensor]:
    """Return means in an orthonormal basis of their span.

    Args:
        means: shape `(C, D)`.

    Returns:
        The means over √D in the basis, shape `(C, r)`, and the basis, shape `(r, D)`.
    """
    scaled = means / math.sqrt(means.shape[1])
    left, sizes, basis = torch.linalg.svd(scaled, full_matrices=False)
    rank = int((sizes > _DEPENDENT * sizes[0]).sum())
    return left[:, :rank] * sizes[:rank], basis[:rank]


def coordinates_of(means: Tensor, first_layer: Tensor) -> Coordinates:
    """Return the coordinates of means and weights.

    Args:
        means: shape `(C, D)`.
        first_layer: shape `(K, D)`.

    Returns:
        The coordinates, float64: `centres @ span` is R and the sum of `span.T @ span` and
        `rest.T @ rest` is Q.
    """
    hidden, dim = first_layer.shape
    weights = first_layer.detach().double() / math.sqrt(dim)
    centres, basis = axes_of(means)
    span, rank = basis @ weights.T, len(basis)
    if dim <= rank + hidden:  # the basis is all of space
        complement = torch.linalg.qr(basis.T, mode="complete").Q[:, rank:]
        return Coordinates(centres, span, complement.T @ weights.T)
    outside = weights.T - basis.T @ span
    return Coordinates(centres, span, torch.linalg.qr(outside, mode="r").R)
