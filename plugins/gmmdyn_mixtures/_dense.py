"""Mixtures whose noise is any Gaussian, held as factors of the covariances."""

from __future__ import annotations

import abc
import math
from typing import final

import numpy as np
import torch
from torch import Tensor

from gmmdyn.interfaces import Batch, CovarianceStructure, GaussianMixture, PrincipalAxes
from gmmdyn_mixtures._clusters import draw_clusters


def square_root(covariance: Tensor) -> Tensor:
    r"""Factor covariances, singular ones too.

    By eigenvectors, not Cholesky: real data have pixels that never vary, and a covariance may have
    any rank. Eigenvalues that are rounding errors of zero are dropped, with the sign they have.

    Args:
        covariance: positive semi-definite up to rounding, on the CPU, shape `(..., D, D)`.

    Returns:
        $F$ with $F F^T = \Omega$, shape `(..., D, r)`, `r` the largest rank (at least 1).
    """
    spectrum, vectors = eigenvectors(covariance)
    rank = max(1, int((spectrum > 0).sum(-1).max()))
    factor: Tensor = (vectors * spectrum.sqrt().unsqueeze(-2))[..., -rank:].contiguous()
    return factor


def eigenvectors(covariance: Tensor) -> tuple[Tensor, Tensor]:
    """Return eigenvalues, those that are rounding errors of zero set to 0, and eigenvectors.

    Args:
        covariance: positive semi-definite up to rounding, on the CPU, shape `(..., D, D)`.

    Returns:
        Increasing eigenvalues, shape `(..., D)`, and eigenvectors as columns, `(..., D, D)`.
    """
    # By NumPy: when other processes hold the cores, torch's took 55 s for 10 matrices of 784 by 784
    # where this took 2 s.
    spectrum, vectors = map(torch.from_numpy, np.linalg.eigh(covariance.numpy()))
    rounding = covariance.shape[-1] * torch.finfo(covariance.dtype).eps
    return torch.where(spectrum > rounding * spectrum[..., -1:], spectrum, 0.0), vectors


class DenseMixture(GaussianMixture):
    r"""A mixture with noise $F_\alpha \xi$, $\xi$ standard normal in `r` dimensions.

    Sampling costs one product with an `(r, D)` matrix, `r D` multiplications a point; in principal
    axes, which there are if all clusters share one covariance, it costs `D`.
    """

    _means: Tensor
    _labels: Tensor
    _priors: Tensor
    _cumulative: Tensor
    _factors: Tensor

    # Abstract with a body: each kind of mixture has its own way to the factors.
    @abc.abstractmethod
    def __init__(self, means: Tensor, labels: Tensor, priors: Tensor, factors: Tensor) -> None:
        r"""Hold the checked tensors.

        Args:
            means: $\mu_\alpha$, shape `(C, D)`.
            labels: shape `(C,)`.
            priors: shape `(C,)`.
            factors: $F_\alpha$, shape `(C, D, r)`, or `(1, D, r)` shared by all clusters.
        """
        super().__init__()
        self.register_buffer("_means", means, persistent=False)
        self.register_buffer("_labels", labels, persistent=False)
        self.register_buffer("_priors", priors, persistent=False)
        self.register_buffer("_cumulative", priors.cumsum(0), persistent=False)
        self.register_buffer("_factors", factors, persistent=False)
        self._converted: dict[torch.dtype, tuple[Tensor, Tensor]] = {}
        self._converted_from: Tensor | None = None

    @property
    @final
    def means(self) -> Tensor:
        r"""Cluster means $\mu_\alpha$, shape `(C, D)`."""
        return self._means

    @property
    @final
    def labels(self) -> Tensor:
        """Labels of the clusters, shape `(C,)`."""
        return self._labels

    @property
    @final
    def priors(self) -> Tensor:
        """Probabilities of the clusters, shape `(C,)`."""
        return self._priors

    @property
    @final
    def covariance_structure(self) -> CovarianceStructure:
        """`"shared"` if one covariance serves all clusters, else `"general"`."""
        return "shared" if len(self._factors) == 1 else "general"

    @final
    def covariance_product(self, vectors: Tensor) -> Tensor:
        r"""Return $F_\alpha F_\alpha^T u_n$ in the dtype of the vectors."""
        _, factors = self._in(vectors.dtype)
        return vectors @ factors @ factors.mT

    @final
    def principal_axes(self) -> PrincipalAxes | None:
        """Return the eigenvectors of a shared covariance; see `GaussianMixture.principal_axes`."""
        if len(self._factors) > 1:
            return None
        factor = self._factors[0].cpu()
        spectrum, rotation = eigenvectors(factor @ factor.T)
        rotation = rotation.to(self._means)
        centres = self._means @ rotation / math.sqrt(self.dim)
        return PrincipalAxes(rotation, spectrum.sqrt().to(self._means), centres)

    @final
    def sample(self, n: int, generator: torch.Generator, dtype: torch.dtype) -> Batch:
        """Draw independent labelled points; one matrix product for each covariance."""
        centres, factors = self._in(dtype)
        clusters = draw_clusters(self._cumulative, n, generator)
        normals = torch.randn(
            n, factors.shape[-1], generator=generator, dtype=dtype, device=centres.device
        )
        inputs = centres[clusters]
        if len(factors) == 1:
            inputs.addmm_(normals, factors[0].T)
        else:
            # The normals are alike, so each cluster takes the next rows instead of its own.
            counts = torch.bincount(clusters, minlength=len(factors)).tolist()
            rows = torch.split_with_sizes(clusters.argsort(stable=True), counts)
            parts = torch.split_with_sizes(normals, counts)
            for factor, row, part in zip(factors, rows, parts, strict=True):
                inputs.index_add_(0, row, part @ factor.T)
        return Batch(inputs, self._labels.to(dtype)[clusters], clusters)

    def _in(self, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """Centres and factors in a dtype: converting on every block would cost like drawing it."""
        if self._converted_from is not self._factors:  # moved since, by `.to`
            self._converted.clear()
            self._converted_from = self._factors
        if dtype not in self._converted:
            centres = self._means / math.sqrt(self.dim)
            self._converted[dtype] = (centres.to(dtype), self._factors.to(dtype))
        return self._converted[dtype]
