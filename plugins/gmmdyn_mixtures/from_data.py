"""The Gaussian mixture with the means and covariances of labelled images."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple, final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from gmmdyn import checks
from gmmdyn.errors import DataError
from gmmdyn_mixtures._clusters import label_tensor, prior_tensor
from gmmdyn_mixtures._dense import DenseMixture, square_root
from gmmdyn_mixtures.sources import Images, check_arrays, class_labels, load_source

Array = npt.NDArray[np.float64]


@final
class FromData(DenseMixture):
    r"""A mixture with the first two moments of each class of a data set.

    The images that are kept are centred (minus their mean image) and divided by one number, the
    standard deviation of all their pixels. Then $\mu_\alpha/\sqrt{D}$ is the mean of the images of
    cluster $\alpha$, and $\Omega_\alpha$ their covariance (divisor `n`, not `n - 1`), singular if
    a pixel never varies. Clusters of label -1 come first.

    Args:
        source: `"digits"`, `"mnist"` or `"fashion-mnist"`; see `sources.load_source`. Not read if
            `images` are given.
        folder: with the IDX files of the source; None looks in $GMMDYN_DATA/<source>, then where
            the system's packages put them.
        images: the data instead of a source, shape `(n, D)` or `(n, h, w)`.
        targets: their classes, whole numbers, shape `(n,)`.
        classes: which classes have which label: `"odd-even"` (even -1, odd +1), `"halves"` (the
            first half of the sorted classes -1, the rest +1), `"each"` (each is a class of its own,
            with a one-hot label), or a mapping from classes to ±1, or to numbers from 0 to O - 1
            for one-hot labels, in which case a class that is not in it is left out.
        covariance: `"shared"`, the mean over clusters, weighted by their priors, of the covariance
            within each; or `"per-class"`, one for each cluster.
        clusters: `"per-class"`, or `"pooled"`, one cluster for each label.
        priors: `"balanced"`, the same for each cluster, or `"empirical"`, in proportion to the
            number of images.

    Raises:
        RangeError: if a word is unknown, an entry not finite, or `classes` does not fit the data.
        ShapeError: if `images` and `targets` do not fit together.
        ArgumentError: if only one of the two is given, or `folder` with a source without files.
        DataError: if files are missing or corrupt, or all images are the same.
    """

    def __init__(
        self,
        *,
        source: str = "digits",
        folder: str | None = None,
        images: Any = None,
        targets: Any = None,
        classes: str | Mapping[int | str, int] = "odd-even",
        covariance: str = "shared",
        clusters: str = "per-class",
        priors: str = "balanced",
    ) -> None:
        checks.choice("covariance", covariance, ("shared", "per-class"))
        checks.choice("clusters", clusters, ("per-class", "pooled"))
        checks.choice("priors", priors, ("balanced", "empirical"))
        if images is None and targets is None:
            images, targets = load_source(source, folder)
        else:
            images, targets = check_arrays(images, targets)

        label_of = class_labels(classes, [int(name) for name in np.unique(targets)])
        if clusters == "per-class":
            members: list[tuple[int, ...]] = [(name,) for name in label_of]
        else:
            told = dict.fromkeys(label_of.values())
            members = [tuple(n for n, label in label_of.items() if label == y) for y in told]
        rows = [np.flatnonzero(np.isin(targets, names)) for names in members]
        counts = np.array([len(row) for row in rows], dtype=np.float64)
        shares = counts / counts.sum() if priors == "empirical" else None
        probabilities = prior_tensor(shares, len(rows))

        fit = _fit(images, rows, probabilities.numpy(), shared=covariance == "shared")
        super().__init__(
            torch.from_numpy(fit.means * math.sqrt(images.shape[1])),
            _labels([label_of[names[0]] for names in members]),
            probabilities,
            square_root(torch.from_numpy(fit.covariances)),
        )
        self._classes = tuple(members)

    @property
    def classes(self) -> tuple[tuple[int, ...], ...]:
        """The classes of the data that make up each cluster, one tuple for each."""
        return self._classes


def _labels(told: list[int]) -> Tensor:
    """Return ±1 as they are, and numbers of classes one-hot."""
    if 0 in told:
        return label_tensor(None, len(told), told)
    return label_tensor(told, len(told))


class _Fit(NamedTuple):
    """Moments of the normalised images.

    Attributes:
        means: shape `(C, D)`.
        covariances: shape `(C, D, D)`, or `(1, D, D)` if shared.
    """

    means: Array
    covariances: Array


def _fit(images: Images, rows: list[npt.NDArray[np.intp]], priors: Array, shared: bool) -> _Fit:
    """Normalise and take moments; one cluster at a time in float64, to spare memory."""
    dim = images.shape[1]
    means = np.empty((len(rows), dim))
    pixel_variance = np.empty((len(rows), dim))
    covariances = np.zeros((1 if shared else len(rows), dim, dim))
    with np.errstate(over="ignore", invalid="ignore"):
        for i, row in enumerate(rows):
            block = images[row].astype(np.float64)
            means[i] = block.mean(axis=0)
            block -= means[i]
            matrix = block.T @ block / len(block)
            pixel_variance[i] = matrix.diagonal()
            covariances[0 if shared else i] += (priors[i] if shared else 1.0) * matrix
        counts = np.array([len(row) for row in rows])
        means -= np.average(means, axis=0, weights=counts)
        variance = float(np.average(pixel_variance + means**2, axis=0, weights=counts).mean())
    if not 0 < variance < math.inf:
        raise DataError(
            f"the pixels of the images have variance {variance:g}; give images that differ, with "
            "numbers of ordinary size."
        )
    return _Fit(means / math.sqrt(variance), covariances / variance)
