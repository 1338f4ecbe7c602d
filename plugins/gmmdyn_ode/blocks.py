r"""The smallest subspaces that every covariance of a mixture maps into themselves.

Covariances that do not commute have no common eigenbasis, but they may have a basis in which all of
them are block diagonal: directions that never vary, or that all clusters share, come off as blocks
of one. Weights in different blocks do not meet in the equations, whose cost is the cube of a block.

A generic combination of the covariances is diagonalised; two of its eigenvectors belong to one
block if some covariance joins them. The blocks found are exact; where the same block occurs twice
they may not be the smallest ones.

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
from gmmdyn.interfaces import GaussianMixture

# Entries below this share of the largest join nothing: rounding of the eigenvectors.
_NOTHING = 1e-11
# Blocks are found by dense linear algebra on C matrices, whose cost grows as the cube of D.
_LARGEST = 5000


class Blocks(NamedTuple):
    """The blocks of one size.

    Attributes:
        basis: orthonormal directions of each block, shape `(N, D, d)`.
        means: components of the cluster means, shape `(C, N, d)`.
        covariances: of each cluster within each block, shape `(C, N, d, d)`.
    """

    basis: Tensor
    means: Tensor
    covariances: Tensor

    @property
    def size(self) -> int:
        """Directions in a block, d."""
        return int(self.means.shape[-1])


# Diagonalising takes seconds; a mixture keeps its blocks as long as it lives.
_known: WeakKeyDictionary[GaussianMixture, tuple[Blocks, ...]] = WeakKeyDictionary()


def blocks_of(mixture: GaussianMixture) -> tuple[Blocks, ...]:
    """Find the blocks of a mixture, once.

    Args:
        mixture: with any covariances.

    Returns:
        The blocks by size, the smallest first, on the CPU, float64; if all covariances commute
        there is one entry, of size 1.

    Raises:
        IncompatibleError: if D is too large for dense algebra.
    """
    if mixture not in _known:
        _known[mixture] = _find(mixture)
    return _known[mixture]


def commutes(mixture: GaussianMixture) -> bool:
    """Say whether the covariances of a mixture have a common eigenbasis.

    Args:
        mixture: with any covariances; one that only says `general` of them is looked into.

    Returns:
        Whether they have.

    Raises:
        IncompatibleError: if D is too large for dense algebra.
    """
    return mixture.covariance_structure != "general" or blocks_of(mixture)[-1].size == 1


def _find(mixture: GaussianMixture) -> tuple[Blocks, ...]:
    if mixture.dim > _LARGEST:
        raise IncompatibleError(
            f"the theory `ode` diagonalises the covariances, which it does up to D = {_LARGEST}, "
            f"and here D is {mixture.dim}; take a smaller `dim`."
        )
    means = mixture.means.double().cpu()
    unit = torch.eye(mixture.dim, dtype=mixture.means.dtype, device=mixture.means.device)
    covariances = mixture.covariance_product(unit).double().cpu().numpy()  # (C or 1, D, D)
    covariances = (covariances + covariances.transpose(0, 2, 1)) / 2
    scale = np.abs(covariances).max() or 1.0
    # A generic combination has no degeneracy that its parts do not share.
    mix = np.linspace(1.0, 2.0, len(covariances))
    _, basis = np.linalg.eigh(np.tensordot(mix, covariances / scale, axes=1))
    rotated = basis.T @ covariances @ basis
    joined = csr_array(np.abs(rotated).max(axis=0) > _NOTHING * scale)
    _, block = connected_components(joined, directed=False)
    sizes = np.bincount(block)
    found = []
    for size in np.unique(sizes):
        chosen = np.flatnonzero(sizes == size)
        # Directions of each block; stable sorting keeps a block's directions together.
        order = np.argsort(block, kind="stable")
        index = order[np.isin(block[order], chosen)].reshape(-1, size)  # (N, d)
        inside = rotated[:, index[:, :, None], index[:, None, :]]
        directions = torch.from_numpy(basis[:, index].transpose(1, 0, 2).copy())
        found.append(
            Blocks(
                basis=directions,
                means=torch.einsum("cD,nDd->cnd", means, directions),
                covariances=torch.from_numpy(inside).expand(len(means), *inside.shape[1:]),
            )
        )
    return tuple(found)
