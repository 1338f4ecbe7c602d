"""Mixtures with the same noise in every direction and every cluster."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import final

import numpy as np
import torch
from torch import Tensor

from gmmdyn import checks
from gmmdyn.interfaces import Batch, IsotropicMixture
from gmmdyn_mixtures._clusters import draw_clusters, label_tensor, prior_tensor

ArrayLike = Sequence[Sequence[float]] | Sequence[float] | np.ndarray | Tensor


class MeansMixture(IsotropicMixture):
    """What the isotropic mixtures share: buffers and sampling. Built by their constructors."""

    def __init__(self, means: Tensor, labels: Tensor, priors: Tensor, variance: float) -> None:
        super().__init__()
        self._variance = checks.number("variance", variance, at_least=0)
        # Not in checkpoints: the configuration builds them again.
        self.register_buffer("_means", means, persistent=False)
        self.register_buffer("_labels", labels, persistent=False)
        self.register_buffer("_priors", priors, persistent=False)
        self.register_buffer("_cumulative", priors.cumsum(0), persistent=False)
        self.register_buffer("_centres", means / math.sqrt(means.shape[1]), persistent=False)
        # The coordinates in which any mean differs from 0: often few of very many.
        self.register_buffer("_support", means.abs().amax(0).nonzero()[:, 0], persistent=False)
        self._converted: dict[tuple[torch.dtype, torch.device], tuple[Tensor, Tensor]] = {}

    @property
    def means(self) -> Tensor:
        """Cluster means, shape `(C, D)`."""
        return self.get_buffer("_means")

    @property
    def labels(self) -> Tensor:
        """Labels, shape `(C,)` or `(C, O)`."""
        return self.get_buffer("_labels")

    @property
    def priors(self) -> Tensor:
        """Priors, shape `(C,)`."""
        return self.get_buffer("_priors")

    @property
    def variance(self) -> float:
        """Noise variance in each coordinate."""
        return self._variance

    def sample(self, n: int, generator: torch.Generator, dtype: torch.dtype) -> Batch:
        """Draw points; see `DataModel.sample`."""
        device, support = self.means.device, self.get_buffer("_support")
        few = len(support) * 8 < self.dim
        key = (dtype, device)
        if key not in self._converted:
            centres = self.get_buffer("_centres")
            centres = centres[:, support] if few else centres
            self._converted[key] = centres.to(dtype), self.labels.to(dtype)
        centres, labels = self._converted[key]
        clusters = draw_clusters(self.get_buffer("_cumulative"), n, generator)
        inputs = torch.empty(n, self.dim, dtype=dtype, device=device)
        inputs.normal_(0.0, math.sqrt(self._variance), generator=generator)
        shift = centres.index_select(0, clusters)
        if few:
            inputs[:, support] += shift
        else:
            inputs += shift
        return Batch(inputs, labels[clusters], clusters)


@final
class Isotropic(MeansMixture):
    r"""Any number of clusters anywhere, with noise $\sigma^2$ times the identity.

    Args:
        means: $\mu_\alpha$, shape `(C, D)`: inputs are $\mu_\alpha/\sqrt{D}$ plus noise.
        labels: shape `(C,)`, each -1 or +1, or `(C, O)`, any numbers, for `O` outputs; or
            `classes` in their place.
        priors: shape `(C,)`, summing to one; equal by default.
        variance: $\sigma^2$, the noise variance in each coordinate, at least 0.
        classes: the class of each cluster, from 0 to O - 1, shape `(C,)`; its label is one-hot.

    Raises:
        ArgumentError: if both `labels` and `classes` are given, or neither.
        ShapeError: if the shapes do not agree.
        RangeError: if a label, class, prior or the variance is out of range.
    """

    def __init__(
        self,
        means: ArrayLike,
        labels: ArrayLike | None = None,
        priors: ArrayLike | None = None,
        variance: float = 1.0,
        classes: ArrayLike | None = None,
    ) -> None:
        centres = checks.array("means", means, (None, None))
        clusters = centres.shape[0]
        super().__init__(
            centres,
            label_tensor(labels, clusters, classes),
            prior_tensor(priors, clusters),
            variance,
        )
