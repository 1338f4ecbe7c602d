"""Probabilities of error of smooth networks: exact along lines, where the output changes sign.

Along a line through the space of local fields the output is a function of one number s. Its sign is
looked up on a grid, and each change of sign is refined by Newton's method. A last step makes the
place differentiable.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from scipy.special import ndtri
from scipy.stats import qmc
from torch import Tensor

from gmmdyn.interfaces import Fields
from gmmdyn.linalg import covariance_factor
from gmmdyn_integrators._lines import across
from gmmdyn_integrators._points import STATE_SLACK

# Independent scramblings, whose scatter is the error estimate.
_SETS = 4
_LOG2_LINES = 8
# In standard deviations; beyond, a normal number lies with probability 1e-15.
_REACH, _STEP = 8.0, 0.25


def sign_lines(hidden: int, seed: int) -> Tensor:
    """Place the points across the lines.

    Args:
        hidden: the number of hidden units `K`.
        seed: of the scrambling.

    Returns:
        Standard normal points, shape `(S, K - 1)`; one empty point for a single unit.
    """
    if hidden == 1:
        return torch.zeros(1, 0, dtype=torch.float64)
    generator = np.random.default_rng(seed)
    sets = [
        qmc.Sobol(hidden - 1, scramble=True, rng=generator).random_base2(_LOG2_LINES - 2)
        for _ in range(_SETS)
    ]
    return torch.from_numpy(ndtri(np.clip(np.concatenate(sets), 2.0**-40, 1 - 2.0**-40)))


def error_rate(fields: Fields, slope: Tensor, points: Tensor) -> tuple[Tensor, Tensor]:
    """Return the classification error and its estimated integration error.

    Args:
        fields: the distribution of the local fields and a network of smooth units.
        slope: E[g'], shape `(..., C, K)`.
        points: from `sign_lines`, on the device of the fields.

    Returns:
        Both of shape `(..., C)`.
    """
    factor = covariance_factor(fields.covariance, STATE_SLACK)
    # Along the mean gradient of the output its sign changes once, mostly.
    gradient = fields.readout.unsqueeze(-2) * slope
    along = (factor @ gradient.unsqueeze(-1)).squeeze(-1)
    length = along.norm(dim=-1, keepdim=True)
    unit = torch.ones_like(along) / math.sqrt(along.shape[-1])
    along = torch.where(length > 1e-12, along / length.clamp_min(1e-300), unit)
    start = fields.mean.unsqueeze(-2) + across(along, points.to(along)) @ factor  # (..., C, S, K)
    pace = (factor @ along.unsqueeze(-1)).squeeze(-1).unsqueeze(-2).expand_as(start)
    failed = _failed(fields, start, pace)
    if len(points) == 1:
        return failed.squeeze(-1), torch.zeros_like(failed.squeeze(-1)).detach()
    sets = failed.detach().reshape(*failed.shape[:-1], _SETS, -1).mean(-1)
    return failed.mean(-1), sets.std(-1) / math.sqrt(_SETS)


def _failed(fields: Fields, start: Tensor, pace: Tensor) -> Tensor:
    """Return the probability of label times output <= 0 on each line, shape `(..., C, S)`."""
    y = fields.labels.to(start)[:, None].expand(start.shape[:-1])
    v = fields.readout[..., None, None, :].expand_as(start)
    count = 2 * round(_REACH / _STEP) + 1
    grid = torch.linspace(-_REACH, _REACH, count, dtype=start.dtype, device=start.device)
    with torch.no_grad():
        signs = []
        for s in grid:  # one after the other: all at once would hold every node in memory
            output = (v * fields.activation(start + pace * s)).sum(-1)
            # An output of exactly 0 is an error.
            signs.append(y * output <= 0)
        bad = torch.stack(signs, dim=-1)
        change = bad[..., 1:] != bad[..., :-1]
        where = change.nonzero(as_tuple=True)
    line, node = where[:-1], where[-1]
    a, d, weights, label = start[line], pace[line], v[line], y[line]
    low, high = grid[node], grid[node + 1]

    def output_at(s: Tensor) -> Tensor:
        output: Tensor = label * (weights * fields.activation(a + d * s.unsqueeze(-1))).sum(-1)
        return output

    def steepness_at(s: Tensor) -> Tensor:
        slopes = fields.activation.derivative(a + d * s.unsqueeze(-1))
        steepness: Tensor = label * (weights * slopes * d).sum(-1)
        return steepness

    with torch.no_grad():
        root = (low + high) / 2
        for _ in range(40):  # as many as bisection alone would need
            found = output_at(root)
            same = (found <= 0) == bad[..., :-1][where]
            low, high = torch.where(same, root, low), torch.where(same, high, root)
            steep = steepness_at(root)
            trial = root - found / torch.where(steep == 0, torch.ones_like(steep), steep)
            inside = (trial >= low) & (trial <= high) & (steep != 0)
            after = torch.where(inside, trial, (low + high) / 2)
            settled = bool(((after - root).abs() < 1e-13).all())
            root = after
            if settled:
                break
        steep = steepness_at(root)
        steep = torch.where(steep == 0, torch.full_like(steep, torch.inf), steep)
    root = root - output_at(root) / steep
    # From wrong to right at s: errors below s; from right to wrong: errors above it.
    sign = torch.where(bad[..., :-1][where], 1.0, -1.0).to(root)
    total = bad[..., -1].to(start)
    return total.index_put(line, sign * torch.special.ndtr(root), accumulate=True)
