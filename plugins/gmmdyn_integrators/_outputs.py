"""Networks of any number of outputs, in one shape.

Labels `(C,)` mean one output and `(C, O)` several; the integrals see an axis of outputs always.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from gmmdyn.interfaces import Fields, Moments


class Head(NamedTuple):
    """What is above the units, with an axis of outputs.

    Attributes:
        readout: v, shape `(..., 1, K, O)`, an axis of clusters before the means.
        labels: y, shape `(C, O)`.
    """

    readout: Tensor
    labels: Tensor

    @classmethod
    def of(cls, fields: Fields) -> Head:
        """Return that of fields."""
        labels, v = fields.labels.to(fields.mean), fields.readout
        if labels.ndim == 1:
            labels, v = labels.unsqueeze(-1), v.unsqueeze(-1)
        return cls(v.unsqueeze(-3), labels)

    @property
    def pull(self) -> Tensor:
        """(v y)_k, shape `(..., C, K)`."""
        return (self.readout @ self.labels.unsqueeze(-1)).squeeze(-1)

    @property
    def gram(self) -> Tensor:
        """(v vᵀ)_ki, shape `(..., 1, K, K)`."""
        return self.readout @ self.readout.mT


class PairMeans(NamedTuple):
    """Expectations of units and of pairs of units, all that a linear error signal leaves.

    Attributes:
        slope: E[g'_k], shape `(..., C, K)`.
        value: E[g_k], shape `(..., C, K)`.
        slope_value: E[g'_k g_i], shape `(..., C, K, K)`.
        slopes: E[g'_k g'_i], shape `(..., C, K, K)`.
        values: E[g_k g_i], shape `(..., C, K, K)`.
        curvature: E[g''_k d_k], shape `(..., C, K)`.
    """

    slope: Tensor
    value: Tensor
    slope_value: Tensor
    slopes: Tensor
    values: Tensor
    curvature: Tensor


class Exact(NamedTuple):
    """What pairs of units determine for the square loss.

    Attributes:
        moments: of the learning signal.
        pmse: shape `(..., C)`.
        slope: E[g'], shape `(..., C, K)`.
    """

    moments: Moments
    pmse: Tensor
    slope: Tensor


def of_square_loss(fields: Fields, head: Head, means: PairMeans, noise: Tensor) -> Exact:
    r"""Return the moments of the square loss, where d_k = (v y)_k - Σ_i (v vᵀ)_ki g_i.

    Args:
        fields: the distribution of the local fields and the network.
        head: theirs.
        means: expectations of units and pairs.
        noise: E[gamma_k gamma_l], shape `(..., C, K, K)`.

    Returns:
        The moments, the pmse and the mean slopes.
    """
    pull, gram, y = head.pull, head.gram, head.labels
    found = Moments(
        drive=pull * means.slope - (gram * means.slope_value).sum(-1),
        noise=noise,
        stein=torch.diag_embed(means.curvature) - gram * means.slopes,
        readout=means.value.unsqueeze(-1) * y.unsqueeze(-2) - means.values @ head.readout,
    )
    outputs = (pull * means.value).sum(-1)
    pmse = 0.5 * y.square().sum(-1) - outputs + 0.5 * (gram * means.values).sum((-2, -1))
    return Exact(shaped(fields, found), pmse, means.slope)


def square_of(head: Head, value: Tensor, values: Tensor) -> Tensor:
    """Return E[d_k d_l], from E[g_i] `(..., C, K)` and E[g_i g_j] `(..., C, K, K)` of one law."""
    pull, gram = head.pull, head.gram
    mean = (gram @ value.unsqueeze(-1)).squeeze(-1)
    cross = pull.unsqueeze(-1) * mean.unsqueeze(-2)
    return pull.unsqueeze(-1) * pull.unsqueeze(-2) - cross - cross.mT + gram @ values @ gram


def shaped(fields: Fields, moments: Moments) -> Moments:
    """Return moments without the axis of outputs if labels have none."""
    if fields.labels.ndim > 1:
        return moments
    return moments._replace(readout=moments.readout.squeeze(-1))


def leads(outputs: Tensor, labels: Tensor) -> Tensor:
    """Return by how much the output of the class is ahead of each other one; of one output y phi.

    Linear in the outputs; an error is made where one of them is negative.

    Args:
        outputs: shape `(..., O)`.
        labels: y, of a shape that broadcasts with it.

    Returns:
        Shape `(..., O - 1)`, or `(..., 1)` for one output.
    """
    if labels.shape[-1] == 1:
        return labels * outputs
    ordered = outputs.gather(-1, _class_first(labels).expand(outputs.shape))
    return ordered[..., :1] - ordered[..., 1:]


def lead_sizes(sizes: Tensor, labels: Tensor) -> Tensor:
    """Return the sizes of what `leads` is a difference of, from those of the outputs."""
    if labels.shape[-1] == 1:
        return sizes
    ordered = sizes.gather(-1, _class_first(labels).expand(sizes.shape))
    return ordered[..., :1] + ordered[..., 1:]


def _class_first(labels: Tensor) -> Tensor:
    """Return the outputs in an order in which that of the class is the first."""
    return labels.argsort(dim=-1, descending=True, stable=True)
