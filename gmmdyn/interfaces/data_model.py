"""Labelled distributions of inputs; Gaussian mixtures, which the theories describe."""

from __future__ import annotations

import abc
import math
from typing import Literal, NamedTuple, final
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from gmmdyn.errors import IncompatibleError, ShapeError
from gmmdyn.gaussian import bayes
from gmmdyn.interfaces.component import Component
from gmmdyn.trajectory.estimate import Estimate
from gmmdyn.trajectory.order_parameters import OrderParameters

CovarianceStructure = Literal["isotropic", "shared", "commuting", "general"]


class Batch(NamedTuple):
    """Labelled points drawn from a data model.

    Attributes:
        inputs: the points $x$, shape `(B, D)`.
        labels: the targets $y$, shape `(B,)` or `(B, O)`, in the dtype of `inputs`.
        clusters: the cluster each point came from, shape `(B,)`, dtype int64.
    """

    inputs: Tensor
    labels: Tensor
    clusters: Tensor


class DataModel(Component, abc.ABC):
    """A labelled distribution of inputs, sampled without end."""

    @property
    @abc.abstractmethod
    def dim(self) -> int:
        """The input dimension `D`."""

    @abc.abstractmethod
    def sample(self, n: int, generator: torch.Generator, dtype: torch.dtype) -> Batch:
        """Draw independent labelled points; no Python loop over points.

        Args:
            n: how many points, at least 1.
            generator: the source of randomness, on the device of the buffers.
            dtype: floating-point type of inputs and labels.

        Returns:
            `n` points, on the device of the buffers.
        """


class PrincipalAxes(NamedTuple):
    r"""Axes in which the noise of every cluster is independent in each coordinate.

    Points of cluster $\alpha$ are $x = O (c_\alpha + s \odot \xi)$ with $\xi$ standard normal.

    Attributes:
        rotation: $O$, orthogonal, shape `(D, D)`, or None for the identity.
        scale: $s$, the standard deviations, shape `(D,)`, not negative.
        centres: $c_\alpha = O^T \mu_\alpha/\sqrt{D}$, shape `(C, D)`.
    """

    rotation: Tensor | None
    scale: Tensor
    centres: Tensor


def classes_of(labels: Tensor) -> Tensor | None:
    """Return the classes that labels name; see `GaussianMixture.cluster_classes`.

    Args:
        labels: shape `(n,)`, each -1 or +1, or `(n, O)`.

    Returns:
        Shape `(n,)`, dtype int64, or None.
    """
    if labels.ndim == 1:
        return (labels > 0).long()
    high, low = labels.max(), labels.min()
    ones = labels == high
    if bool(((ones | (labels == low)).all()) & (ones.sum(1) == 1).all()) and bool(high > low):
        return ones.long().argmax(1)
    return None


# What was computed, and is no part of what a mixture is.
_bayes_errors: WeakKeyDictionary[GaussianMixture, dict[tuple[int, int], Estimate]] = (
    WeakKeyDictionary()
)


class GaussianMixture(DataModel):
    r"""A mixture of `C` Gaussian clusters, each with its label: one number, or `O` of them.

    Inputs are $x = \mu_\alpha/\sqrt{D} + \text{noise}$ with noise covariance $\Omega_\alpha$.
    """

    @property
    @abc.abstractmethod
    def means(self) -> Tensor:
        r"""Means $\mu_\alpha$, shape `(C, D)`: inputs are centred on $\mu_\alpha/\sqrt{D}$."""

    @property
    @abc.abstractmethod
    def labels(self) -> Tensor:
        """Labels of the clusters: shape `(C,)`, each -1 or +1, or `(C, O)`, any numbers."""

    @property
    @abc.abstractmethod
    def priors(self) -> Tensor:
        """Probabilities of the clusters, shape `(C,)`, summing to one."""

    @property
    @abc.abstractmethod
    def covariance_structure(self) -> CovarianceStructure:
        """What theories and engines dispatch on."""

    @abc.abstractmethod
    def covariance_product(self, vectors: Tensor) -> Tensor:
        r"""Apply the covariance of every cluster to every vector.

        A product and not a matrix, so that an isotropic or low-rank cluster never builds a
        `D` by `D` array.

        Args:
            vectors: shape `(N, D)`.

        Returns:
            $\Omega_\alpha u_n$, shape `(C, N, D)`, or `(1, N, D)` if all clusters share one
            covariance.
        """

    def principal_axes(self) -> PrincipalAxes | None:
        """Return axes in which a point costs `D` normals and as many multiplications.

        The simulation takes them where there are some: weights are rotated once, instead of every
        sample. By default there are none, and `sample` is asked; a mixture whose clusters share one
        covariance may override it.

        Returns:
            The axes, in the dtype of the means, or None.
        """
        return None

    @property
    @final
    def dim(self) -> int:
        """The input dimension `D`."""
        return int(self.means.shape[-1])

    @property
    @final
    def outputs(self) -> int:
        """How many numbers a label has, `O`; 1 for labels of shape `(C,)`."""
        return int(self.labels.shape[1]) if self.labels.ndim == 2 else 1

    @property
    @final
    def cluster_classes(self) -> Tensor | None:
        """The class of each cluster, from 0, shape `(C,)`, dtype int64, or None.

        Of labels -1 and +1 they are 0 and 1. Labels of shape `(C, O)` name classes if each row has
        one entry that is larger than all others, and these are the same two numbers in all rows:
        one-hot labels are such. None if the labels are other numbers.
        """
        return classes_of(self.labels)

    @property
    @final
    def mean_overlaps(self) -> Tensor:
        r"""$T_{\alpha\beta} = \mu_\alpha \cdot \mu_\beta / D$, shape `(C, C)`."""
        return self.means @ self.means.T / self.dim

    @final
    def order_parameters(
        self, first_layer: Tensor, readout: Tensor, bias: Tensor | None = None
    ) -> OrderParameters:
        """Measure the order parameters of given weights, in the dtype of the means.

        Args:
            first_layer: shape `(..., K, D)`.
            readout: shape `(..., K)`.
            bias: shape `(..., K)`, or None.

        Returns:
            The order parameters, with `covariance`, detached from any graph.

        Raises:
            ShapeError: if the weights have another input dimension.
        """
        if first_layer.shape[-1] != self.dim:
            raise ShapeError(
                f"the network has input dimension {first_layer.shape[-1]} but the mixture has "
                f"{self.dim}; give both the same `dim`."
            )
        weights = first_layer.detach().to(self.means)
        flat = weights.reshape(-1, self.dim)
        product = self.covariance_product(flat)
        product = product.reshape(-1, *weights.shape)  # (C, ..., K, D)
        covariance = (product @ weights.mT / self.dim).movedim(0, -3)
        return OrderParameters(
            Q=weights @ weights.mT / self.dim,
            R=self.means @ weights.mT / self.dim,
            v=readout.detach().to(self.means),
            b=None if bias is None else bias.detach().to(self.means),
            covariance=(covariance + covariance.mT) / 2,
        )

    @final
    def bayes_error(self, samples: int = 200_000, seed: int = 0) -> Estimate:
        """Return the lowest classification error that any classifier can reach.

        Exact for two clusters or collinear means with one covariance and for the symmetric XOR;
        otherwise the mean over samples of one minus the largest posterior probability of a class.

        Args:
            samples: how many points to draw where there is no closed form.
            seed: of those points.

        Returns:
            The error and its standard error (0 where it is exact).

        Raises:
            IncompatibleError: if the labels are no classes (`cluster_classes`).
        """
        classes = self.cluster_classes
        if classes is None:
            raise IncompatibleError(
                "the labels of this mixture are numbers that name no classes, so that there is no "
                "classification error; give one-hot labels, or `classes`."
            )
        known = _bayes_errors.setdefault(self, {})
        if (samples, seed) not in known:
            known[samples, seed] = bayes.bayes_error(self, classes, samples, seed)
        return known[samples, seed]


class IsotropicMixture(GaussianMixture):
    r"""A mixture whose noise is $\sigma^2$ times the identity in every cluster."""

    @property
    @abc.abstractmethod
    def variance(self) -> float:
        r"""$\sigma^2$, the variance of the noise in each input coordinate."""

    @property
    @final
    def covariance_structure(self) -> CovarianceStructure:
        """Always `"isotropic"`."""
        return "isotropic"

    @final
    def covariance_product(self, vectors: Tensor) -> Tensor:
        r"""Return $\sigma^2 u_n$, shape `(1, N, D)`."""
        return (self.variance * vectors).unsqueeze(0)

    @final
    def principal_axes(self) -> PrincipalAxes:
        """Return the axes of the inputs themselves; see `GaussianMixture.principal_axes`."""
        scale = torch.full_like(self.means[0], math.sqrt(self.variance))
        return PrincipalAxes(None, scale, self.means / math.sqrt(self.dim))
