"""The mean geometries of the field: XOR, ring, three clusters, random directions."""

from __future__ import annotations

import math
from typing import Literal, final

import torch
from torch import Tensor

from gmmdyn import checks
from gmmdyn_mixtures._clusters import label_tensor
from gmmdyn_mixtures.isotropic import ArrayLike, MeansMixture

SNR = Literal["low", "high", "mixed"]
_SNRS = ("low", "high", "mixed")


def _labels_and_priors(
    negative: int,
    positive: int,
    rho: float,
    labels: ArrayLike | None,
    classes: ArrayLike | None,
) -> tuple[Tensor, Tensor]:
    """Label -1 clusters first; `rho` is the prior of label +1, split evenly.

    Labels or classes that are given take the place of -1 and +1, and leave the priors.
    """
    checks.number("rho", rho, at_least=0, at_most=1)
    if labels is None and classes is None:
        labels = [-1.0] * negative + [1.0] * positive
    told = label_tensor(labels, negative + positive, classes)
    shares = [(1 - rho) / negative] * negative + [rho / positive] * positive
    return told, torch.tensor(shares, dtype=torch.float64)


def _in_plane(coordinates: list[tuple[float, float]], dim: int) -> Tensor:
    means = torch.zeros(len(coordinates), dim, dtype=torch.float64)
    means[:, :2] = torch.tensor(coordinates, dtype=torch.float64)
    return means


@final
class XOR(MeansMixture):
    r"""The XOR-like mixture: four clusters, opposite ones with the same label.

    With $e_1, e_2$ the first two axes the means are, label -1 first,

    * low SNR: $\pm\sqrt{D} e_1$ and $\pm\sqrt{D} e_2$, so that inputs are at distance 1 from 0;
    * high SNR: the same times $\sqrt{D}$;
    * mixed SNR: $D e_1 + \sqrt{D} e_2$ and its opposite, $D e_1 - \sqrt{D} e_2$ and its opposite.

    Args:
        dim: input dimension D, at least 2.
        variance: $\sigma^2$, the noise variance in each coordinate, at least 0.
        rho: prior of label +1, from 0 to 1.
        snr: `"low"`, `"high"` or `"mixed"`.
        labels: of the clusters in the order above, in place of -1 and +1, shape `(C,)` or `(C, O)`.
        classes: or their classes, from 0 to O - 1, shape `(C,)`; see `isotropic`.

    Raises:
        RangeError: if an argument is out of range.

    References:
        Refinetti, Goldt, Krzakala, Zdeborová, ICML 2021, arXiv:2102.11742.
    """

    def __init__(
        self,
        dim: int = 1000,
        variance: float = 0.05,
        rho: float = 0.5,
        snr: SNR = "low",
        labels: ArrayLike | None = None,
        classes: ArrayLike | None = None,
    ) -> None:
        dim = checks.whole("dim", dim, at_least=2)
        checks.choice("snr", snr, _SNRS)
        root = math.sqrt(dim)
        if snr == "mixed":
            means = _in_plane([(dim, root), (-dim, -root), (dim, -root), (-dim, root)], dim)
        else:
            length = root if snr == "low" else float(dim)
            means = _in_plane([(length, 0), (-length, 0), (0, length), (0, -length)], dim)
        super().__init__(means, *_labels_and_priors(2, 2, rho, labels, classes), variance)


@final
class ThreeClusters(MeansMixture):
    r"""Three clusters on a line, the middle one with label +1 and the outer ones with -1.

    The means are, label -1 first and the middle cluster written twice as in the 2021 code,

    * low SNR: $\pm\sqrt{D} e_1$, 0, 0;
    * high SNR: $\pm D e_1$, 0, 0;
    * mixed SNR: $D e_1$, $-\sqrt{D} e_1$, 0, 0.

    Args:
        dim: input dimension D, at least 2.
        variance: $\sigma^2$, the noise variance in each coordinate, at least 0.
        rho: prior of label +1, from 0 to 1.
        snr: `"low"`, `"high"` or `"mixed"`.
        labels: of the clusters in the order above, in place of -1 and +1, shape `(C,)` or `(C, O)`.
        classes: or their classes, from 0 to O - 1, shape `(C,)`; see `isotropic`.

    Raises:
        RangeError: if an argument is out of range.
    """

    def __init__(
        self,
        dim: int = 1000,
        variance: float = 0.05,
        rho: float = 0.5,
        snr: SNR = "low",
        labels: ArrayLike | None = None,
        classes: ArrayLike | None = None,
    ) -> None:
        dim = checks.whole("dim", dim, at_least=2)
        checks.choice("snr", snr, _SNRS)
        root = math.sqrt(dim)
        right = root if snr == "low" else float(dim)
        left = float(dim) if snr == "high" else root
        means = _in_plane([(right, 0), (-left, 0), (0, 0), (0, 0)], dim)
        super().__init__(means, *_labels_and_priors(2, 2, rho, labels, classes), variance)


@final
class Ring(MeansMixture):
    r"""Clusters on a circle of radius $\sqrt{D}$, labels alternating.

    With $n$ clusters for each label, cluster $j$ of label -1 lies at the angle $2\pi j/n$ and of
    label +1 at $\pi/n + 2\pi j/n$ in the plane of the first two axes; $n = 1$ is an opposite pair,
    $n = 2$ the XOR.

    Args:
        dim: input dimension D, at least 2.
        clusters_per_label: $n$, at least 1.
        variance: $\sigma^2$, the noise variance in each coordinate, at least 0.
        rho: prior of label +1, from 0 to 1.
        labels: of the clusters in the order above, in place of -1 and +1, shape `(C,)` or `(C, O)`.
        classes: or their classes, from 0 to O - 1, shape `(C,)`; see `isotropic`.

    Raises:
        RangeError: if an argument is out of range.
    """

    def __init__(
        self,
        dim: int = 1000,
        clusters_per_label: int = 2,
        variance: float = 0.05,
        rho: float = 0.5,
        labels: ArrayLike | None = None,
        classes: ArrayLike | None = None,
    ) -> None:
        dim = checks.whole("dim", dim, at_least=2)
        count = checks.whole("clusters_per_label", clusters_per_label)
        angles = [2 * math.pi * j / count for j in range(count)]
        angles += [math.pi / count + angle for angle in angles]
        root = math.sqrt(dim)
        means = _in_plane([(root * math.cos(a), root * math.sin(a)) for a in angles], dim)
        super().__init__(means, *_labels_and_priors(count, count, rho, labels, classes), variance)


@final
class RandomMeans(MeansMixture):
    r"""Clusters in random directions at distance `radius` from the origin of input space.

    Args:
        dim: input dimension D, at least 1.
        clusters_per_label: how many clusters each label has, at least 1.
        radius: length of $\mu_\alpha/\sqrt{D}$, positive.
        variance: $\sigma^2$, the noise variance in each coordinate, at least 0.
        rho: prior of label +1, from 0 to 1.
        seed: of the directions.
        labels: of the clusters in the order above, in place of -1 and +1, shape `(C,)` or `(C, O)`.
        classes: or their classes, from 0 to O - 1, shape `(C,)`; see `isotropic`.

    Raises:
        RangeError: if an argument is out of range.
    """

    def __init__(
        self,
        dim: int = 1000,
        clusters_per_label: int = 2,
        radius: float = 1.0,
        variance: float = 0.05,
        rho: float = 0.5,
        seed: int = 0,
        labels: ArrayLike | None = None,
        classes: ArrayLike | None = None,
    ) -> None:
        dim = checks.whole("dim", dim)
        count = checks.whole("clusters_per_label", clusters_per_label)
        checks.number("radius", radius, above=0)
        generator = torch.Generator().manual_seed(checks.whole("seed", seed, at_least=0))
        directions = torch.randn(2 * count, dim, generator=generator, dtype=torch.float64)
        means = directions / directions.norm(dim=1, keepdim=True) * radius * math.sqrt(dim)
        super().__init__(means, *_labels_and_priors(count, count, rho, labels, classes), variance)
