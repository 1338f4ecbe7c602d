r"""The exact blocked form of online SGD, for any activation, loss and device.

Legend (theory page, "Exact blocked form"), for U updates by b samples each, S = U b: eta_u the
rates; a_u = 1 - eta_u kappa/D; A[u, c] = a_c ... a_(u-1) what is left at update u of what was there
at update c; L (N, S, K) the local fields of the samples under the weights before them; G (N, S, S)
the Gram matrix of their inputs; delta_s = v g'(lambda_s) Delta_s; u(s) the update of a sample.
Then, for replica by replica,

    lambda_s = A[u(s), 0] L_s + sum_(u(r) < u(s)) M[u(s), u(r)] (G_sr + bias) delta_r
    M[u, c] = A[u, c + 1] eta_c / (D b)

where `bias` is 1 if the network has one (a constant input of 1) and 0 otherwise; and W becomes
A[U, 0] W + sqrt(D) sum_s M[U, u(s)] delta_s x_s. All that is left to solve is K-dimensional.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from gmmdyn.algorithm.losses import Loss
from gmmdyn.interfaces import Activation


class Chunk(NamedTuple):
    """What the recursion needs of the samples of consecutive updates.

    Attributes:
        fields: L, shape `(N, S, K)`, bias not included.
        gram: G, shape `(N, S, S)`, or None for a single update, which needs none.
        labels: shape `(N, S)`.
        readout: v before them, shape `(N, K)`, float64.
        bias: of the hidden units before them, shape `(N, K)`, float64, or None.
        rates: eta_u/D, shape `(U,)`, float64.
        weight_decay: kappa.
        train_readout: whether v learns.
    """

    fields: Tensor
    gram: Tensor | None
    labels: Tensor
    readout: Tensor
    bias: Tensor | None
    rates: Tensor
    weight_decay: float
    train_readout: bool


class Moved(NamedTuple):
    """Where the samples of a chunk lead.

    Attributes:
        shrink: A[U, 0], shape `()`: what is left of the weights before them.
        steps: M[U, u(s)] delta_s, shape `(N, S, K)`, float64.
        readout: v after them, shape `(N, K)`, float64.
        bias: after them, shape `(N, K)`, float64, or None.
    """

    shrink: Tensor
    steps: Tensor
    readout: Tensor
    bias: Tensor | None


def solve(chunk: Chunk, activation: Activation, loss: Loss) -> Moved:
    """Solve the recursion by sweeps over all samples at once.

    All local fields are guessed and the guess is put into the right-hand side again. Since an
    update depends on earlier ones only, sweep n leaves the first n + 1 updates exact, whatever the
    activation; in practice rounding is reached after about ten sweeps.

    Args:
        chunk: the samples.
        activation: of the hidden units.
        loss: what the error signal is the slope of.

    Returns:
        What the weights become.
    """
    fields = chunk.fields.double()
    if chunk.bias is not None:
        fields = fields + chunk.bias.unsqueeze(1)
    updates, batch = len(chunk.rates), fields.shape[1] // len(chunk.rates)
    left = _left(1 - chunk.rates * chunk.weight_decay)
    memory = (left[:, 1:] * chunk.rates / batch).tril(-1)  # (U + 1, U)
    powers = left[:, 0]
    if batch > 1:
        memory = memory.repeat_interleave(batch, 1)
    end, memory = memory[-1].unsqueeze(-1), memory[:-1]  # (S, 1), (U, S)
    shrink, powers = powers[-1], powers[:-1].unsqueeze(-1)
    if batch > 1:
        memory = memory.repeat_interleave(batch, 0)
        powers = powers.repeat_interleave(batch, 0)
    labels = chunk.labels.double()
    fields = start = powers * fields
    v_start = chunk.readout.unsqueeze(1).expand_as(start)  # (N, S, K)
    if chunk.train_readout:
        v_start = powers * v_start
    v = v_start

    def error_signal(fields: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        g = activation(fields)
        delta = loss.signal((g * v).sum(-1), labels).unsqueeze(-1)
        return v * activation.derivative(fields) * delta, g * delta

    first, second = error_signal(fields, v)
    if chunk.gram is not None:
        mixing = memory * (chunk.gram.double() + float(chunk.bias is not None))
        tolerance = 2 * torch.finfo(torch.float64).eps
        for _ in range(updates - 1):
            new_fields = start + mixing @ first
            new_v = v_start + memory @ second if chunk.train_readout else v
            moved = (new_fields - fields).abs() > tolerance * (1 + new_fields.abs())
            moved |= (new_v - v).abs() > tolerance * (1 + new_v.abs())
            fields, v = new_fields, new_v
            first, second = error_signal(fields, v)
            if not bool(moved.any()):
                break
    steps = end * first
    readout, bias = chunk.readout, chunk.bias
    if chunk.train_readout:
        readout = shrink * readout + (end * second).sum(1)
    if bias is not None:
        bias = shrink * bias + steps.sum(1)
    return Moved(shrink, steps, readout, bias)


def _left(decays: Tensor) -> Tensor:
    """Return A, shape `(U + 1, U + 1)`: 1 on and above the diagonal, products of decays below it.

    By products and not by quotients of cumulative ones: a decay may be 0.
    """
    position = torch.arange(len(decays) + 1, device=decays.device)
    before = torch.cat([decays.new_ones(1), decays]).unsqueeze(-1)
    return torch.where(position.unsqueeze(-1) > position, before, 1.0).cumprod(0)
