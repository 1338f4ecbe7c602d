"""What the fields of a cluster do to the weights: averages of the learning signal over its labels.

The one place that knows of label noise and of mini-batches; each form of the equations says what
the averages act on.
"""

from __future__ import annotations

from typing import NamedTuple, final

import torch
from torch import Tensor

from gmmdyn.interfaces import Errors, Fields, Integrator


class Signal(NamedTuple):
    """Moments weighted by the priors p of the clusters; a leading `...` is any batch shape.

    Attributes:
        drive: p e, shape `(..., C, K)`.
        stein: p s, shape `(..., C, K, K)`.
        noise: p n over the size of a mini-batch, shape `(..., C, K, K)`.
        readout: p f summed over clusters, shape `(..., K)`.
    """

    drive: Tensor
    stein: Tensor
    noise: Tensor
    readout: Tensor


@final
class ErrorSignal:
    """The averages as a function of the local fields.

    A cluster whose labels are flipped with probability u is two clusters, with labels y and -y and
    priors p (1 - u) and p u.

    Args:
        priors: of the clusters, shape `(..., C)`.
        label_noise: u, shape `(...)`.
        batch_size: of the mini-batches, shape `(...)`.
        integrator: prepared for the number of hidden units.
    """

    def __init__(
        self, priors: Tensor, label_noise: Tensor, batch_size: Tensor, integrator: Integrator
    ) -> None:
        self._integrator = integrator
        self._batch_size = batch_size[..., None, None, None]
        self._flips = label_noise.requires_grad or bool((label_noise > 0).any())
        self._true_priors = self._priors = priors
        if self._flips:
            wrong = label_noise.unsqueeze(-1)
            self._priors = torch.cat([priors * (1 - wrong), priors * wrong], -1)

    def __call__(self, fields: Fields) -> Signal:
        """Return the averages over training labels.

        Args:
            fields: with the true labels.

        Returns:
            The averages.
        """
        if self._flips:
            covariance = fields.covariance
            if covariance.shape[-3] > 1:
                covariance = torch.cat([covariance, covariance], -3)
            fields = fields._replace(
                mean=torch.cat([fields.mean, fields.mean], -2),
                covariance=covariance,
                labels=torch.cat([fields.labels, -fields.labels]),
            )
        moments = self._integrator.moments(fields)
        square = self._priors[..., None, None]
        drive, stein, noise = (
            self._by_cluster(self._priors.unsqueeze(-1) * moments.drive, -2),
            self._by_cluster(square * moments.stein, -3),
            self._by_cluster(square * moments.noise, -3),
        )
        readout = (self._priors.unsqueeze(-2) @ moments.readout).squeeze(-2)
        return Signal(drive, stein, noise / self._batch_size, readout)

    def errors(self, fields: Fields) -> Errors:
        """Return the errors on the true labels, averaged over clusters.

        The integration errors of clusters are added, not combined in squares: clusters share their
        points.
        """
        by_cluster = self._integrator.errors(fields)
        return Errors(
            *(
                None if value is None else (value * self._true_priors).sum(-1)
                for value in by_cluster
            )  # type: ignore[arg-type]
        )

    def _by_cluster(self, values: Tensor, axis: int) -> Tensor:
        """Add what true and wrong labels do."""
        if not self._flips:
            return values
        right, wrong = values.chunk(2, axis)
        return right + wrong
