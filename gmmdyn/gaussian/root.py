"""Linear algebra of covariances that symmetry makes singular."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from gmmdyn.errors import NotPositiveError

# A difference quotient over less than this share of the largest deviation is rounding.
_NULL = 1e-6
# A covariance smaller than this is judged as if it were as large: a solver knows a state to an
# absolute tolerance, and where all weights shrink to nothing every eigenvalue is within it.
_SMALL = 1e-3
# The dynamics keeps the covariance of fields possible, but a solver knows it to its tolerance only:
# where it is singular, trials and recorded states lie a little outside. They are taken as possible
# ones near by, at which the noise, positive semi-definite, leads back.
SLACK = 1e-3


def covariance_factor(covariance: Tensor, slack: float = 1e-6) -> Tensor:
    """Return the symmetric square root of a covariance that may be singular.

    No Cholesky: opposite means and equal units make covariances singular by symmetry. The gradient
    is that of the square root as a whole, so that equal eigenvalues are no special case; within the
    directions without any variance, where the root has no derivative, it is 0.

    Args:
        covariance: shape `(..., n, n)`, symmetric.
        slack: how far below 0 an eigenvalue may lie, as a share of the largest, or of 1e-3 where
            that is less. It is taken as 0 there: the root is that of the nearest possible matrix.

    Returns:
        The square root, same shape.

    Raises:
        NotPositiveError: if an eigenvalue is negative beyond the slack.
    """
    if covariance.requires_grad:
        return _SquareRoot.apply(covariance, slack)  # type: ignore[no-any-return, no-untyped-call]
    return _root(covariance, slack)[0]


def field_factor(covariance: Tensor) -> Tensor:
    """Return a square root of the covariance of local fields, as good for small units as for large.

    The covariance is divided by the deviations before its root is taken and the rows of the root
    multiplied by them: a unit a thousand times smaller than another keeps all digits of its
    direction, and the root does not depend on the units in which a field is measured.

    Args:
        covariance: shape `(..., n, n)`, symmetric.
            It may lie outside of the possible by the slack `SLACK` of `covariance_factor`; the root
            is then that of a possible matrix near it.

    Returns:
        F with F Fᵀ the covariance, shape `(..., n, n)`; rows of fields without variance are 0.

    Raises:
        NotPositiveError: if an eigenvalue is negative beyond the slack.
    """
    variance = covariance.diagonal(dim1=-2, dim2=-1)
    moves = variance > 0
    deviation = torch.where(moves, variance, torch.ones_like(variance)).sqrt()
    together = moves.unsqueeze(-1) & moves.unsqueeze(-2)
    correlation = covariance / (deviation.unsqueeze(-1) * deviation.unsqueeze(-2))
    correlation = torch.where(together, correlation, torch.zeros_like(correlation)).clamp(-1, 1)
    least = torch.linalg.eigvalsh(correlation.detach())[..., 0]
    if bool((least < -SLACK).any()) or bool((variance < 0).any()):
        # Units that are nothing to within a tolerance have any correlations.
        covariance_factor(covariance.detach(), SLACK)
    root = covariance_factor(correlation, torch.inf)
    return torch.where(moves, deviation, torch.zeros_like(deviation)).unsqueeze(-1) * root


def _root(covariance: Tensor, slack: float) -> tuple[Tensor, Tensor, Tensor]:
    """Return the square root, its eigenvalues and its eigenvectors."""
    values, vectors = torch.linalg.eigh(covariance)
    if bool((values[..., 0] < -slack * values[..., -1].abs().clamp_min(_SMALL)).any()):
        raise NotPositiveError(
            f"a covariance has the negative eigenvalue {float(values.min()):.3g}; it must be "
            "positive semi-definite."
        )
    deviations = values.clamp_min(0).sqrt()
    return (vectors * deviations.unsqueeze(-2)) @ vectors.mT, deviations, vectors


class _SquareRoot(torch.autograd.Function):
    """S with S S = C. From dC = S dS + dS S, in the eigenbasis dS_ij = dC_ij/(s_i + s_j)."""

    @staticmethod
    def forward(ctx: Any, covariance: Tensor, slack: float) -> Tensor:
        root, deviations, vectors = _root(covariance, slack)
        ctx.save_for_backward(deviations, vectors)
        return root

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        deviations, vectors = ctx.saved_tensors
        sums = deviations.unsqueeze(-1) + deviations.unsqueeze(-2)
        null = sums <= _NULL * deviations[..., -1, None, None]
        turned = vectors.mT @ ((gradient + gradient.mT) / 2) @ vectors
        safe = torch.where(null, torch.ones_like(sums), sums)
        turned = torch.where(null, torch.zeros_like(turned), turned / safe)
        return vectors @ turned @ vectors.mT, None
