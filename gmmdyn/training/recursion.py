r"""The exact blocked form of online SGD, for any activation and device.

Legend (theory page, "Exact blocked form"): a = 1 - eta kappa/D; rate = eta/D; L (N, B, K) the local
fields of B samples under the weights before them; G (N, B, B) the Gram matrix of their inputs;
delta_c = v g'(lambda_c) Delta_c. Then, for replica by replica,

    lambda_b = a^b L_b + rate * sum_{c<b} a^(b-1-c) (G_bc + bias) delta_c

where `bias` is 1 if the network has one (a constant input of 1) and 0 otherwise; and W moves by
(eta/sqrt(D)) sum_c a^(B-1-c) delta_c x_c. All that is left to solve is K-dimensional.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from gmmdyn.interfaces import Activation


class Chunk(NamedTuple):
    """What the recursion needs of B consecutive samples.

    Attributes:
        fields: L, shape `(N, B, K)`, bias included.
        gram: G, shape `(N, B, B)`.
        labels: shape `(N, B)`.
        readout: v before them, shape `(N, K)`, float64.
        decay: a.
        rate: eta/D.
        bias: whether the network has a bias.
        train_readout: whether v learns.
    """

    fields: Tensor
    gram: Tensor
    labels: Tensor
    readout: Tensor
    decay: float
    rate: float
    bias: bool
    train_readout: bool


def signals_of(chunk: Chunk, activation: Activation) -> tuple[Tensor, Tensor]:
    """Solve the recursion by sweeps over all samples at once.

    All local fields are guessed and the guess is put into the right-hand side again. Since a
    sample depends on earlier ones only, sweep n leaves the first n samples exact, whatever the
    activation; in practice rounding is reached after about ten sweeps.

    Args:
        chunk: the samples.
        activation: of the hidden units.

    Returns:
        a^(B-1-c) delta_c, shape `(N, B, K)`, and v after the samples, shape `(N, K)`; float64.
    """
    start = chunk.fields.double()
    count = start.shape[1]
    position = torch.arange(count, device=start.device, dtype=torch.float64)
    powers = (chunk.decay**position).unsqueeze(-1)  # (B, 1)
    lag = position[:, None] - position - 1
    # clamp: 0 to a negative power would be infinite for a decay of 0
    memory = torch.where(lag >= 0, chunk.rate * chunk.decay ** lag.clamp_min(0), 0.0)
    mixing = memory * (chunk.gram.double() + float(chunk.bias))
    labels = chunk.labels.double()
    start = powers * start
    v_start = chunk.readout.unsqueeze(1).expand_as(start)  # (N, B, K)
    if chunk.train_readout:
        v_start = powers * v_start
    fields, v = start, v_start

    def error_signal(fields: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        g = activation(fields)
        delta = (labels - (g * v).sum(-1)).unsqueeze(-1)
        return v * activation.derivative(fields) * delta, g * delta

    tolerance = 2 * torch.finfo(torch.float64).eps
    for _ in range(count):
        first, second = error_signal(fields, v)
        new_fields = start + mixing @ first
        new_v = v_start + memory @ second if chunk.train_readout else v
        moved = (new_fields - fields).abs() > tolerance * (1 + new_fields.abs())
        moved |= (new_v - v).abs() > tolerance * (1 + new_v.abs())
        fields, v = new_fields, new_v
        if not bool(moved.any()):
            break
    first, second = error_signal(fields, v)
    end = chunk.readout
    if chunk.train_readout:
        end = chunk.decay * v[:, -1] + chunk.rate * second[:, -1]
    return powers.flip(0) * first, end
