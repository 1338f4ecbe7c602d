r"""The geometry of the noise: modes, or blocks where covariances do not commute.

If all covariances commute they share an eigenbasis ψ; in it everything the dynamics needs are
overlaps in each direction. Directions with the same variances in all clusters behave alike and are
one *mode*; isotropic noise is a single mode, and its overlaps are the familiar Q and R.

Covariances that do not commute have no common eigenbasis, but they may have a basis in which all of
them are block diagonal: directions that never vary, or that all clusters share, come off as blocks
of one. Weights in different blocks do not meet in the equations, whose cost is the cube of a block.
Modes are what there is where every block is of size one.

A generic combination of the covariances is diagonalised; two of its eigenvectors belong to one
block if some covariance joins them. The blocks found are exact; where the same block occurs twice
they may not be the smallest ones.

Legend: M modes; share (M,) the fraction of the D directions in each; rho (C or 1, M) noise
variances; t (M, C, C), q (M, K, K), r (M, C, K) means over the directions of a mode of
(mu_a·ψ)(mu_b·ψ), (w_k·ψ)(w_l·ψ), (mu_b·ψ)(w_k·ψ). So Σ share q = Q, Σ share r = R, Σ share t = T.

References:
    Murota, Kanno, Kojima, Kojima, A numerical algorithm for block-diagonal decomposition of matrix
    *-algebras, Japan Journal of Industrial and Applied Mathematics 27, 125 (2010).
"""

from __future__ import annotations

from typing import NamedTuple
from weakref import WeakKeyDictionary

import numpy as np
import torch
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components
from torch import Tensor

from gmmdyn.errors import IncompatibleError
from gmmdyn.interfaces import GaussianMixture, IsotropicMixture

# Directions whose variances agree to this share of the largest are one mode.
_SAME = 1e-12
# Entries below this share of the largest join nothing: rounding of the eigenvectors, and that of
# the covariances themselves where a mixture says that they commute.
_ROUNDING, _ROUNDING_IF_COMMUTING = 1e-11, 1e-8
# Blocks are found by dense linear algebra on C matrices, whose cost grows as the cube of D.
_LARGEST = 5000


class Modes(NamedTuple):
    """The modes of a mixture whose covariances commute.

    Attributes:
        share: fraction of directions in each mode, shape `(M,)`, summing to one.
        variances: noise variances, shape `(C, M)`, or `(1, M)` if clusters share them.
        overlaps: t, shape `(M, C, C)`.
        basis: ψ as columns, shape `(D, D)`, or None where it is that of the inputs, or any.
        mode: the mode of each direction, shape `(D,)`.
    """

    share: Tensor
    variances: Tensor
    overlaps: Tensor
    basis: Tensor | None
    mode: Tensor

    def average(self, left: Tensor, right: Tensor) -> Tensor:
        """Return the overlaps of two sets of vectors along each mode.

        Args:
            left: shape `(A, D)`.
            right: shape `(B, D)`.

        Returns:
            Shape `(M, A, B)`, float64.
        """
        left, right = left.double(), right.double()
        if len(self.share) == 1:
            return (left @ right.T / left.shape[1]).unsqueeze(0)
        if self.basis is not None:
            left, right = left @ self.basis, right @ self.basis
        products = left.T.unsqueeze(2) * right.T.unsqueeze(1)  # (D, A, B)
        size = (len(self.share), *products.shape[1:])
        total = torch.zeros(size, dtype=torch.float64).index_add_(0, self.mode, products)
        return total / (self.share * len(self.mode))[:, None, None]


class Blocks(NamedTuple):
    """The blocks of one size.

    Attributes:
        basis: orthonormal directions of each block, shape `(N, D, d)`.
        means: components of the cluster means, shape `(C, N, d)`.
        covariances: of each cluster within each block, shape `(C, N, d, d)`, or `(1, N, d, d)` if
            clusters share them.
    """

    basis: Tensor
    means: Tensor
    covariances: Tensor

    @property
    def size(self) -> int:
        """Directions in a block, d."""
        return int(self.means.shape[-1])


Noise = Modes | tuple[Blocks, ...]

# Diagonalising takes seconds; a mixture keeps its geometry as long as it lives.
_known: WeakKeyDictionary[GaussianMixture, Noise] = WeakKeyDictionary()


def noise_of(mixture: GaussianMixture) -> Noise:
    """Find the geometry of the noise of a mixture, once.

    Args:
        mixture: with any covariances; one that only says `general` of them is looked into.

    Returns:
        The modes if all covariances commute, or else the blocks by size, the smallest first; on
        the CPU, float64.

    Raises:
        IncompatibleError: if covariances that are said to commute do not, or D is too large for
            dense algebra.
    """
    if mixture not in _known:
        _known[mixture] = _find(mixture)
    return _known[mixture]


def _find(mixture: GaussianMixture) -> Noise:
    means, dim = mixture.means.double().cpu(), mixture.dim
    if isinstance(mixture, IsotropicMixture):
        one = torch.ones(1, dtype=torch.float64)
        every = torch.zeros(dim, dtype=torch.int64)
        found = Modes(one, mixture.variance * one.unsqueeze(0), torch.empty(0), None, every)
        return found._replace(overlaps=found.average(means, means))
    if dim > _LARGEST:
        raise IncompatibleError(
            f"the theory `ode` diagonalises the covariances, which it does up to D = {_LARGEST}, "
            f"and here D is {dim}; take a smaller `dim`."
        )
    axes = mixture.principal_axes()
    # A rotation in single precision would be orthogonal to 1e-7 only.
    if axes is not None and axes.scale.dtype == torch.float64:
        basis = None if axes.rotation is None else axes.rotation.cpu()
        return _modes(means, axes.scale.cpu().unsqueeze(0) ** 2, basis)
    blocks = blocks_of(mixture)
    if blocks[-1].size == 1:
        (lines,) = blocks
        return _modes(means, lines.covariances[:, :, 0, 0], lines.basis.squeeze(2).T)
    if mixture.covariance_structure != "general":
        raise IncompatibleError(
            "the covariances of this mixture are said to commute, and these do not; call its "
            "covariance structure `general`."
        )
    return blocks


def _modes(means: Tensor, variances: Tensor, basis: Tensor | None) -> Modes:
    """Join directions of the same variances; these are (C or 1, D), and the means (C, D)."""
    scale = float(variances.abs().max()) or 1.0
    # Rounding leaves the null directions of a singular covariance slightly negative.
    variances = torch.where(variances.abs() < _SAME * scale, 0.0, variances)
    _, first, mode, counts = np.unique(
        np.round(variances.numpy() / (scale * _SAME)),
        axis=1,
        return_index=True,
        return_inverse=True,
        return_counts=True,
    )
    found = Modes(
        share=torch.from_numpy(counts / variances.shape[1]),
        variances=variances[:, torch.from_numpy(first)],
        overlaps=torch.empty(0),
        basis=basis,
        mode=torch.from_numpy(mode.reshape(-1)),
    )
    return found._replace(overlaps=found.average(means, means))


def blocks_of(mixture: GaussianMixture) -> tuple[Blocks, ...]:
    """Find the smallest subspaces that every covariance maps into themselves.

    Args:
        mixture: with any covariances.

    Returns:
        The blocks by size, the smallest first; if all covariances commute there is one entry, of
        size 1.
    """
    means = mixture.means.double().cpu()
    unit = torch.eye(mixture.dim, dtype=mixture.means.dtype, device=mixture.means.device)
    covariances = mixture.covariance_product(unit).double().cpu().numpy()  # (C or 1, D, D)
    covariances = (covariances + covariances.transpose(0, 2, 1)) / 2
    scale = np.abs(covariances).max() or 1.0
    # A generic combination has no degeneracy that its parts do not share.
    mix = np.linspace(1.0, 2.0, len(covariances))
    _, basis = np.linalg.eigh(np.tensordot(mix, covariances / scale, axes=1))
    rotated = basis.T @ covariances @ basis
    commuting = mixture.covariance_structure != "general"
    least = (_ROUNDING_IF_COMMUTING if commuting else _ROUNDING) * scale
    joined = csr_array(np.abs(rotated).max(axis=0) > least)
    _, block = connected_components(joined, directed=False)
    sizes = np.bincount(block)
    # Directions in the order of their blocks.
    order = np.argsort(block, kind="stable")
    found = []
    for size in np.unique(sizes):
        index = order[sizes[block[order]] == size].reshape(-1, size)  # (N, d)
        inside = rotated[:, index[:, :, None], index[:, None, :]]
        directions = torch.from_numpy(basis[:, index].transpose(1, 0, 2).copy())
        found.append(
            Blocks(
                basis=directions,
                means=torch.einsum("cD,nDd->cnd", means, directions),
                covariances=torch.from_numpy(inside),
            )
        )
    return tuple(found)
