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
        readout: p f summed over clusters, of the shape of the readout.
    """

    drive: Tensor
    stein: Tensor
    noise: Tensor
    readout: Tensor


@final
class ErrorSignal:
    """The averages as a function of the local fields.

    A cluster whose labels are wrong with probability u is two clusters, with labels y and -y and
    priors p (1 - u) and p u; with O outputs it is O clusters, one for each class, with priors
    p (1 - u) and p u/(O - 1).

    Args:
        labels: the true ones, shape `(C,)` or `(C, O)`.
        priors: of the clusters, shape `(..., C)`.
        label_noise: u, shape `(...)`.
        batch_size: of the mini-batches, shape `(...)`.
        integrator: prepared for the number of hidden units.
    """

    def __init__(
        self,
        labels: Tensor,
        priors: Tensor,
        label_noise: Tensor,
        batch_size: Tensor,
        integrator: Integrator,
    ) -> None:
        self._integrator = integrator
        self._batch_size = batch_size[..., None, None, None]
        self._true_priors = priors
        wrong: list[Tensor] = []
        if label_noise.requires_grad or bool((label_noise > 0).any()):
            # The other classes of a label are its shifts, since its other entries are all alike.
            shifts = range(1, labels.shape[-1])
            wrong = [-labels] if labels.ndim == 1 else [labels.roll(by, -1) for by in shifts]
            noise = label_noise.unsqueeze(-1)
            each = priors * noise / len(wrong)
            priors = torch.cat([priors * (1 - noise), *(each for _ in wrong)], -1)
        self._labels, self._priors = torch.cat([labels, *wrong]), priors
        self._count = 1 + len(wrong)

    def __call__(self, fields: Fields) -> Signal:
        """Return the averages over training labels.

        Args:
            fields: with the true labels.

        Returns:
            The averages.
        """
        if self._count > 1:
            covariance = fields.covariance
            if covariance.shape[-3] > 1:
                covariance = torch.cat([covariance] * self._count, -3)
            fields = fields._replace(
                mean=torch.cat([fields.mean] * self._count, -2),
                covariance=covariance,
                labels=self._labels,
            )
        moments = self._integrator.moments(fields)
        square = self._priors[..., None, None]
        drive, stein, noise = (
            self._by_cluster(self._priors.unsqueeze(-1) * moments.drive, -2),
            self._by_cluster(square * moments.stein, -3),
            self._by_cluster(square * moments.noise, -3),
        )
        if fields.labels.ndim == 1:
            readout = (self._priors.unsqueeze(-2) @ moments.readout).squeeze(-2)
        else:
            readout = (square * moments.readout).sum(-3)
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
        if self._count == 1:
            return values
        first, *more = values.chunk(self._count, axis)
        return sum(more, start=first)
