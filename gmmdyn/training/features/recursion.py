r"""The exact blocked form of online SGD on a linear readout of fixed features.

Legend: B consecutive samples with features z_c in U updates of m samples each (B = U m, m the
batch size); u(c) the update of sample c; r_u = eta_u/P; a_u = 1 - kappa r_u; G_bc = z_b . z_c; one
row for each of N replicas. With the weights w and the intercept beta before the block, the output
that sample b sees is

    phi_b = (prod_{j < u(b)} a_j) w.z_b/sqrt(P) + beta
            + sum_{u(c) < u(b)} (r_u(c)/m) (G_bc prod_{u(c) < j < u(b)} a_j + 1) Delta_c,

the 1 being that of the intercept. For the square loss Delta = y - phi makes this a triangular
system. After the block,

    w <- (prod_j a_j) w + sqrt(P) sum_c (r_u(c)/m) (prod_{j > u(c)} a_j) Delta_c z_c.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from gmmdyn.algorithm.losses import Loss


class Propagators(NamedTuple):
    """How far what a sample did, or the weights before the block, have decayed.

    Attributes:
        start: of the weights, at the update of each sample, shape `(B,)`.
        between: r/m times the decay between two samples, 0 unless the column's update is before the
            row's, shape `(B, B)`.
        step: r/m where `between` is not 0: that of the intercept, shape `(B, B)`.
        end: r/m times the decay to the end of the block, shape `(B,)`.
        last: of each sample on the intercept, r/m, shape `(B,)`.
        shrink: of the weights over the block.
    """

    start: Tensor
    between: Tensor
    step: Tensor
    end: Tensor
    last: Tensor
    shrink: float


def propagators(rates: Tensor, weight_decay: float, batch_size: int) -> Propagators:
    """Compute the decay factors of a block.

    Args:
        rates: r of each update, shape `(U,)`, float64.
        weight_decay: kappa.
        batch_size: m.

    Returns:
        The factors, float64.
    """
    count = len(rates)
    decay = 1 - weight_decay * rates
    ones = torch.ones_like(decay)
    start = torch.cat([ones[:1], decay.cumprod(0)[:-1]])
    # Products, not quotients of the products above: a decay may be 0.
    factors = torch.where(
        torch.ones(count, count, device=rates.device).tril(-2) > 0,
        torch.cat([ones[:1], decay[:-1]]).unsqueeze(1),
        1.0,
    )
    earlier = torch.ones_like(factors).tril(-1)
    rates = rates / batch_size
    between = factors.cumprod(0) * earlier * rates
    end = torch.cat([decay[1:].flip(0).cumprod(0).flip(0), ones[:1]]) * rates

    def rows(values: Tensor) -> Tensor:
        return values.repeat_interleave(batch_size, 0)

    return Propagators(
        start=rows(start),
        between=rows(rows(between).T).T,
        step=rows(rows(earlier * rates).T).T,
        end=rows(end),
        last=rows(rates),
        shrink=float(decay.prod()),
    )


def error_signals(
    outputs: Tensor,
    gram: Tensor,
    labels: Tensor,
    bias: Tensor | None,
    factors: Propagators,
    loss: Loss,
) -> Tensor:
    """Solve the recursion.

    For a loss that is not the square one, all signals are guessed and the guess is put in again:
    since a sample depends on earlier ones only, sweep n leaves the first n exact; in practice
    rounding is reached after about ten.

    Args:
        outputs: w.z/sqrt(P) under the weights before the block, shape `(N, B)`, float64.
        gram: G, shape `(N, B, B)`.
        labels: shape `(N, B)`.
        bias: the intercept before the block, shape `(N,)`, or None.
        factors: of the block.
        loss: whose error signal.

    Returns:
        Delta, shape `(N, B)`, float64.
    """
    mixing = factors.between * gram.double()
    start = factors.start * outputs
    if bias is not None:
        mixing += factors.step
        start = start + bias.unsqueeze(1)
    labels = labels.double()
    if loss.quadratic:
        mixing.diagonal(dim1=1, dim2=2).fill_(1)
        right = (labels - start).unsqueeze(-1)
        solved: Tensor = torch.linalg.solve_triangular(
            mixing, right, upper=False, unitriangular=True
        )
        return solved[..., 0]
    tolerance = 2 * torch.finfo(torch.float64).eps
    signals = loss.signal(start, labels)
    for _ in range(start.shape[1]):
        new = loss.signal(start + (mixing @ signals.unsqueeze(-1)).squeeze(-1), labels)
        moved = bool(((new - signals).abs() > tolerance * (1 + new.abs())).any())
        signals = new
        if not moved:
            break
    return signals
