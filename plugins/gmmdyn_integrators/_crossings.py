"""Probabilities of error of smooth networks along lines: exact, where the output changes sign.

Along a line through the space of local fields the output is a function of one number s. Its sign is
looked up on a grid, and each change of sign is refined by Newton's method. A last step makes the
place differentiable. Of several outputs it is the lead of that of the class before the next best.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from gmmdyn_integrators._bundles import Bundle
from gmmdyn_integrators._error_rate import Method
from gmmdyn_integrators._outputs import lead_sizes, leads
from gmmdyn_integrators._zero import ZERO

# In standard deviations; beyond, a normal number lies with probability 1e-15.
_REACH = 8.0
# Numbers held at once, which fit into a cache.
_NUMBERS = 2**17
_GRID = (*np.arange(-_REACH, -4, 0.5), *np.arange(-4, 4, 0.25), *np.arange(4, _REACH + 0.1, 0.5))


def crossings(lines: Bundle, points: Tensor) -> tuple[Tensor, Tensor]:
    """Return the probabilities of an error and of a tie on each line.

    The zeros of a smooth output are single places, unless it is 0 on all of a line.

    Args:
        lines: networks of smooth units.
        points: across the lines, shape `(S, K - 1)`.

    Returns:
        Both of shape `(N, S)`.
    """
    start = lines.start(points)
    pace = lines.pace.unsqueeze(-2)
    labels, activation = lines.labels, lines.activation
    grid = torch.tensor(_GRID, dtype=start.dtype, device=start.device)
    with torch.no_grad():
        v, y = lines.readout.unsqueeze(1), labels[:, None, None]
        largest, signs = torch.zeros_like(start[..., 0]), []
        # All nodes at once would hold too much in memory, each alone would cost too many calls.
        for s in torch.split(grid, max(1, _NUMBERS // start.numel())):
            g = activation(start.unsqueeze(-2) + pace.unsqueeze(-2) * s[:, None])  # (N, S, n, K)
            lead = _margin(leads(g @ v, y))
            largest = torch.maximum(largest, lead.abs().amax(-1))
            signs.append(lead < 0)
        size = lead_sizes(g[..., -1, :].abs() @ lines.readout.abs(), labels[:, None])
        tie = largest <= ZERO * size.amax(-1)
        alike = (leads(g[..., -1, :] @ lines.readout, labels[:, None]).abs() <= ZERO * size).sum(-1)
        bad = torch.cat(signs, dim=-1) & ~tie.unsqueeze(-1)
        where = (bad[..., 1:] != bad[..., :-1]).nonzero(as_tuple=True)
        from_wrong = bad[..., :-1][where]
    row, node = where[0], where[2]
    a, d, weights, label = start[where[:2]], lines.pace[row], lines.readout[row], labels[row]

    def at(s: Tensor, some: Tensor | slice) -> tuple[Tensor, Tensor]:
        """Return the lead and its slope."""
        x = a[some] + d[some] * s.unsqueeze(-1)
        parts = (activation(x), activation.derivative(x) * d[some])
        lead, steep = (
            leads((weights[some] * part.unsqueeze(-1)).sum(-2), label[some]) for part in parts
        )
        nearest = lead.argmin(-1, keepdim=True)
        return lead.gather(-1, nearest).squeeze(-1), steep.gather(-1, nearest).squeeze(-1)

    with torch.no_grad():
        low, high = grid[node], grid[node + 1]
        root = (low + high) / 2
        left = torch.arange(len(root), device=root.device)
        for _ in range(40):  # as many as bisection alone would need
            now = root[left]
            found, steep = at(now, left)
            same = (found < 0) == from_wrong[left]
            low = torch.where(same, now, low)
            high = torch.where(same, high, now)
            trial = now - found / torch.where(steep == 0, torch.ones_like(steep), steep)
            inside = (trial >= low) & (trial <= high) & (steep != 0)
            after = torch.where(inside, trial, (low + high) / 2)
            root[left] = after
            moving = (after - now).abs() >= 1e-9  # the last step squares what is left
            left, low, high = left[moving], low[moving], high[moving]
            if not len(left):
                break
    found, steep = at(root, slice(None))
    steep = torch.where(steep == 0, torch.inf, steep).detach()
    root = root - found / steep
    # From wrong to right at s: errors below s; from right to wrong: errors above it.
    sign = torch.where(from_wrong, 1.0, -1.0).to(root)
    total = bad[..., -1].to(start) + tie * (alike / (1.0 + alike))
    total = total.index_put(where[:2], sign * torch.special.ndtr(root), accumulate=True)
    return total, tie.to(start)


def _margin(lead: Tensor) -> Tensor:
    """Return the smallest lead."""
    return lead.squeeze(-1) if lead.shape[-1] == 1 else lead.amin(-1)


SMOOTH = Method(crossings)
