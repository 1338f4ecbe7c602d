r"""Moments of networks of erf units over Gaussian fields, in closed form; in torch.

A factor g'_k leaves the fields Gaussian (`gmmdyn.gaussian.error_function`, where the formulas are).
Two of them make the noise an expectation of d_k d_l over another Gaussian, of pairs of units again;
and g'' = -x g', whose expectation with Delta Stein's lemma gives. Identical units are no special
case: |rho| < 1 always.
"""

from __future__ import annotations

from torch import Tensor

from gmmdyn.gaussian.error_function import mean_value, products, tilted
from gmmdyn.interfaces import Fields
from gmmdyn_integrators._outputs import Exact, Head, PairMeans, of_square_loss


def moments(fields: Fields) -> Exact:
    """Compute the moments and the pmse of a network of erf units.

    Args:
        fields: the distribution of the local fields and the network.

    Returns:
        The moments, the pmse and the mean slopes.
    """
    shape, head = fields.mean.shape, Head.of(fields)
    m, q = fields.mean, fields.covariance.expand(*shape, shape[-1])
    pull, gram = head.pull, head.gram  # (..., C, K), (..., 1, K, K)
    value, both = mean_value(m, q.diagonal(dim1=-2, dim2=-1)), products(m, q)
    slope, m1, q1 = tilted(m, q)  # by unit k: (..., C, K), (..., C, K, K), (..., C, K, K, K)
    value1 = mean_value(m1, q1.diagonal(dim1=-2, dim2=-1))
    slope1, m2, q2 = tilted(m1, q1)  # by units k and l
    own = m1.diagonal(dim1=-2, dim2=-1)  # the mean of field k itself
    # sum_i (v vᵀ)_ki Q'_ki E'[g'_i]
    stir = (q1.diagonal(dim1=-3, dim2=-2).mT * slope1 * gram).sum(-1)
    bend = own * (pull - (gram * value1).sum(-1)) - stir
    slopes = slope.unsqueeze(-1) * slope1
    means = PairMeans(
        slope=slope,
        value=value,
        slope_value=slope.unsqueeze(-1) * value1,
        slopes=slopes,
        values=both,
        curvature=-slope * bend,
    )
    return of_square_loss(fields, head, means, slopes * _square(m2, q2, pull, gram))


def _square(m: Tensor, q: Tensor, pull: Tensor, gram: Tensor) -> Tensor:
    """Return E[d_k d_l] over the Gaussian [k, l] of m `(..., K, K, K)` and q, `(..., C, K, K)`."""
    value, both = mean_value(m, q.diagonal(dim1=-2, dim2=-1)), products(m, q)
    one, two = gram.unsqueeze(-2), gram.unsqueeze(-3)  # [k, ., i] and [., l, i]
    first, second = (one * value).sum(-1), (two * value).sum(-1)
    product = (one.unsqueeze(-2) @ both @ two.unsqueeze(-1)).squeeze((-2, -1))
    pull_k, pull_l = pull.unsqueeze(-1), pull.unsqueeze(-2)
    return pull_k * pull_l - pull_k * second - pull_l * first + product
