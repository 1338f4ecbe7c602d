"""Linear algebra of covariances that symmetry makes singular."""

from __future__ import annotations

import torch
from torch import Tensor

from gmmdyn.errors import NotPositiveError


def covariance_factor(covariance: Tensor, slack: float = 1e-6) -> Tensor:
    """Return the symmetric square root of a covariance that may be singular.

    No Cholesky: opposite means and equal units make covariances singular by symmetry.

    Args:
        covariance: shape `(..., n, n)`, symmetric.
        slack: how far below 0 an eigenvalue may lie, as a share of the largest.

    Returns:
        The square root, same shape.

    Raises:
        NotPositiveError: if an eigenvalue is negative beyond the slack.
    """
    values, vectors = torch.linalg.eigh(covariance)
    tiny = torch.finfo(values.dtype).tiny
    if bool((values[..., 0] < -slack * values[..., -1].abs().clamp_min(tiny)).any()):
        raise NotPositiveError(
            f"a covariance has the negative eigenvalue {float(values.min()):.3g}; it must be "
            "positive semi-definite."
        )
    root: Tensor = (vectors * values.clamp_min(0).sqrt().unsqueeze(-2)) @ vectors.mT
    return root
