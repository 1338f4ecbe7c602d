r"""The directions in which the noise of a mixture is independent, and overlaps along them.

If all covariances commute they share an eigenbasis ψ; in it everything the dynamics needs are
overlaps in each direction. Directions with the same variances in all clusters behave alike and are
one *mode*; isotropic noise is a single mode, and its overlaps are the familiar Q and R.

Legend: M modes; share (M,) the fraction of the D directions in each; rho (C or 1, M) noise
variances; t (M, C, C), q (M, K, K), r (M, C, K) means over the directions of a mode of
(mu_a·ψ)(mu_b·ψ), (w_k·ψ)(w_l·ψ), (mu_b·ψ)(w_k·ψ). So Σ share q = Q, Σ share r = R, Σ share t = T.
"""

from __future__ import annotations

from typing import NamedTuple
from weakref import WeakKeyDictionary

import numpy as np
import torch
from torch import Tensor

from gmmdyn.errors import IncompatibleError
from gmmdyn.interfaces import GaussianMixture, IsotropicMixture

# Directions whose variances agree to this share of the largest are one mode.
_SAME = 1e-12
# Directions are found by dense linear algebra, whose cost grows as the cube of D.
_LARGEST = 5000


class Modes(NamedTuple):
    """The modes of a mixture.

    Attributes:
        share: fraction of directions in each mode, shape `(M,)`, summing to one.
        variances: noise variances, shape `(C, M)`, or `(1, M)` if clusters share them.
        overlaps: t, shape `(M, C, C)`.
        basis: ψ as columns, shape `(D, D)`, or None for isotropic noise, where any will do.
        mode: the mode of each column of the basis, shape `(D,)`, or None.
    """

    share: Tensor
    variances: Tensor
    overlaps: Tensor
    basis: Tensor | None
    mode: Tensor | None

    def average(self, left: Tensor, right: Tensor) -> Tensor:
        """Return the overlaps of two sets of vectors along each mode.

        Args:
            left: shape `(A, D)`.
            right: shape `(B, D)`.

        Returns:
            Shape `(M, A, B)`, float64.
        """
        left, right = left.double(), right.double()
        if self.basis is None or self.mode is None:
            return (left @ right.T / left.shape[1]).unsqueeze(0)
        one, two = (left @ self.basis).T, (right @ self.basis).T  # (D, A), (D, B)
        products = one.unsqueeze(2) * two.unsqueeze(1)
        size = (len(self.share), *products.shape[1:])
        total = torch.zeros(size, dtype=torch.float64).index_add_(0, self.mode, products)
        return total / (self.share * len(self.mode))[:, None, None]


# Diagonalising takes seconds; a mixture keeps its modes as long as it lives.
_known: WeakKeyDictionary[GaussianMixture, Modes] = WeakKeyDictionary()


def modes_of(mixture: GaussianMixture) -> Modes:
    """Find the modes of a mixture, once.

    Args:
        mixture: isotropic, or with covariances that commute.

    Returns:
        Its modes, on the CPU, float64.

    Raises:
        IncompatibleError: if the covariances do not commute, or D is too large for dense algebra.
    """
    if mixture not in _known:
        _known[mixture] = _find(mixture)
    return _known[mixture]


def _find(mixture: GaussianMixture) -> Modes:
    means = mixture.means.double().cpu()
    if isinstance(mixture, IsotropicMixture):
        variance = torch.full((1, 1), mixture.variance, dtype=torch.float64)
        overlaps = (means @ means.T / mixture.dim).unsqueeze(0)
        return Modes(torch.ones(1, dtype=torch.float64), variance, overlaps, None, None)
    if mixture.dim > _LARGEST:
        raise IncompatibleError(
            f"the theory `ode` diagonalises the covariance, which it does up to D = {_LARGEST}, "
            f"and here D is {mixture.dim}; take a smaller `dim`."
        )
    unit = torch.eye(mixture.dim, dtype=mixture.means.dtype, device=mixture.means.device)
    covariances = mixture.covariance_product(unit).double().cpu().numpy()  # (C or 1, D, D)
    basis, variances = _common_basis(covariances)
    scale = np.abs(variances).max() or 1.0
    _, first, mode, counts = np.unique(
        np.round(variances / (scale * _SAME)),
        axis=1,
        return_index=True,
        return_inverse=True,
        return_counts=True,
    )
    found = Modes(
        share=torch.from_numpy(counts / mixture.dim),
        variances=torch.from_numpy(np.ascontiguousarray(variances[:, first])),
        overlaps=torch.empty(0),
        basis=torch.from_numpy(basis),
        mode=torch.from_numpy(mode.reshape(-1)),
    )
    return found._replace(overlaps=found.average(means, means))


def _common_basis(covariances: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Diagonalise commuting covariances together: basis (D, D), variances (C or 1, D)."""
    # A generic combination has no degeneracy that its parts do not share.
    mix = np.linspace(1.0, 2.0, len(covariances))
    _, basis = np.linalg.eigh(np.tensordot(mix, covariances, axes=1))
    rotated = basis.T @ covariances @ basis
    variances = np.array(rotated.diagonal(axis1=1, axis2=2))
    scale = np.abs(variances).max()
    rest = rotated - variances[:, :, None] * np.eye(len(basis))
    if np.abs(rest).max() > 1e-8 * scale:
        raise IncompatibleError(
            "the covariances of this mixture are said to commute, and these do not; call its "
            "covariance structure `general`."
        )
    # Rounding leaves the null directions of a singular covariance slightly negative.
    return basis, np.where(np.abs(variances) < _SAME * scale, 0.0, variances)
