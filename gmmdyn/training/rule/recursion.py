r"""The exact blocked form of online SGD, for any activation, loss and device.

It is written apart from the rule that is compiled (`_sgd.py`), as its check.

Legend (theory page, "Exact blocked form"), for U updates by b samples each, S = U b: eta_u the
rates; a_u = 1 - eta_u kappa/D; A[u, c] = a_c ... a_(u-1) what is left at update u of what was there
at update c; L (N, S, K) the local fields of the samples under the weights before them; G (N, S, S)
the Gram matrix of their inputs; Delta_s (N, S, O) the error signals and h = Delta g'; u(s) the
update of a sample; gamma_s = g'(lambda_s) v' Delta_s. Then, for replica by replica,

    lambda_s = A[u(s), 0] L_s + bias_s + sum_(u(r) < u(s)) M[u(s), u(r)] G_sr gamma_r
    M[u, c] = A[u, c + 1] eta_c / (D b)

and W becomes A[U, 0] W + sqrt(D) sum_s M[U, u(s)] gamma_s x_s. The bias, gamma_s, and the readout,
Delta_s g(lambda_s)', are such sums with 1 in the place of G, the bias with a decay of its own. All
that is left to solve is K-dimensional.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from gmmdyn.training.rule.rule import Rule


class Chunk(NamedTuple):
    """What the recursion needs of the samples of consecutive updates.

    Attributes:
        fields: L, shape `(N, S, K)`, bias not included.
        gram: G, shape `(N, S, S)`, or None for a single update, which needs none.
        labels: shape `(N, S, O)`.
        readout: v before them, shape `(N, O, K)`, float64.
        bias: of the hidden units before them, shape `(N, K)`, float64, or None.
        rates: eta_u/D, shape `(U,)`, float64.
    """

    fields: Tensor
    gram: Tensor | None
    labels: Tensor
    readout: Tensor
    bias: Tensor | None
    rates: Tensor


class Moved(NamedTuple):
    """Where the samples of a chunk lead.

    Attributes:
        shrink: A[U, 0], shape `()`: what is left of the weights before them.
        steps: M[U, u(s)] gamma_s, shape `(N, S, K)`, float64.
        readout: v after them, shape `(N, O, K)`, float64.
        bias: after them, shape `(N, K)`, float64, or None.
    """

    shrink: Tensor
    steps: Tensor
    readout: Tensor
    bias: Tensor | None


def solve(chunk: Chunk, rule: Rule) -> Moved:
    """Solve the recursion by sweeps over all samples at once.

    All local fields are guessed and the guess is put into the right-hand side again. Since an
    update depends on earlier ones only, sweep n leaves the first n + 1 updates exact, whatever the
    activation; in practice rounding is reached after about ten sweeps.

    Args:
        chunk: the samples.
        rule: how the networks learn.

    Returns:
        What the weights become.
    """
    memory = _memory(chunk.rates, rule.weight_decay, rule.batch)
    bias_memory = memory
    if rule.bias_decay != rule.weight_decay:
        bias_memory = _memory(chunk.rates, rule.bias_decay, rule.batch)
    labels = chunk.labels.double()
    v_start = chunk.readout.unsqueeze(1)  # (N, 1 or S, O, K)
    if rule.train_readout:
        v_start = memory.start.unsqueeze(-1) * v_start
    fields = memory.start * chunk.fields.double()
    if chunk.bias is not None:
        fields = fields + bias_memory.start * chunk.bias.unsqueeze(1)
    start, v = fields, v_start

    def respond(fields: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """Return gamma, (N, S, K), and h, (N, S, O, K)."""
        g = rule.activation(fields).unsqueeze(-2)
        delta = rule.loss.signal((g * v).sum(-1), labels).unsqueeze(-1)
        return (v * delta).sum(-2) * rule.activation.derivative(fields), g * delta

    gamma, h = respond(fields, v)
    if chunk.gram is not None:
        mixing = memory.between * chunk.gram.double()
        if chunk.bias is not None:
            mixing += bias_memory.between
        tolerance = 2 * torch.finfo(torch.float64).eps
        for _ in range(len(chunk.rates) - 1):
            new_fields, new_v = start + mixing @ gamma, v
            if rule.train_readout:
                new_v = v_start + (memory.between @ h.flatten(-2)).view_as(h)
            moved = ((new_fields - fields).abs() > tolerance * (1 + new_fields.abs())).any()
            moved |= ((new_v - v).abs() > tolerance * (1 + new_v.abs())).any()
            fields, v = new_fields, new_v
            gamma, h = respond(fields, v)
            if not bool(moved):
                break
    steps, readout, bias = memory.end * gamma, chunk.readout, chunk.bias
    if rule.train_readout:
        readout = memory.shrink * readout + (memory.end.unsqueeze(-1) * h).sum(1)
    if bias is not None:
        bias = bias_memory.shrink * bias + (bias_memory.end * gamma).sum(1)
    return Moved(memory.shrink, steps, readout, bias)


class _Memory(NamedTuple):
    """What is left of what was there, and of what samples did.

    Attributes:
        start: A[u(s), 0], shape `(S, 1)`.
        between: M[u(s), u(r)], and 0 unless r is of an earlier update, shape `(S, S)`.
        end: M[U, u(s)], shape `(S, 1)`.
        shrink: A[U, 0], shape `()`.
    """

    start: Tensor
    between: Tensor
    end: Tensor
    shrink: Tensor


def _memory(rates: Tensor, decay: float, batch: int) -> _Memory:
    """Return what is left after some updates, for parameters that decay at a rate of their own."""
    decays = 1 - rates * decay
    # A, (U + 1, U + 1): 1 on and above the diagonal, products of decays below it. By products and
    # not by quotients of cumulative ones: a decay may be 0.
    position = torch.arange(len(decays) + 1, device=decays.device)
    before = torch.cat([decays.new_ones(1), decays]).unsqueeze(-1)
    left = torch.where(position.unsqueeze(-1) > position, before, 1.0).cumprod(0)
    memory = (left[:, 1:] * rates / batch).tril(-1).repeat_interleave(batch, 1)
    return _Memory(
        start=left[:-1, :1].repeat_interleave(batch, 0),
        between=memory[:-1].repeat_interleave(batch, 0),
        end=memory[-1].unsqueeze(-1),
        shrink=left[-1, 0],
    )
