r"""Closed forms for pairs of units; beyond pairs, exact along one direction and points across it.

All moments but the noise involve at most two units, and those are closed forms (`_hinges.py`). For
the rest the error signal is integrated exactly along lines (`_lines.py`): there Delta = d0 + d1 s
on each interval, so that every moment is a sum over intervals of truncated normal moments P_n =
∫ s^n phi(s) ds.
"""

from __future__ import annotations

import math
from typing import NamedTuple, final

import numpy as np
import torch
from scipy.special import ndtri
from scipy.stats import qmc
from torch import Tensor

from gmmdyn import checks
from gmmdyn.errors import IncompatibleError
from gmmdyn.interfaces import Activation, Errors, Fields, Integrator, Moments
from gmmdyn.linalg import covariance_factor
from gmmdyn_integrators._hinges import Line, pairs
from gmmdyn_integrators._lines import cut, normal_moments, wrong
from gmmdyn_integrators._points import STATE_SLACK, TRIAL_SLACK

# Independent scramblings, whose scatter is the error estimate.
_SETS = 4
# Tail probabilities want more lines than the flow: this many doublings.
_TAIL = 5


@final
class PreIntegrated(Integrator):
    """The integrator of choice for piecewise-linear activations such as ReLU.

    Smooth in the state, which an adaptive solver needs. Drift and pmse are exact; the noise term,
    which enters with the square of the learning rate, has an error that falls about as one over
    the number of lines, and so has the classification error, which is computed with 32 times as
    many. For one hidden unit, and for no kinks, all moments are exact. It does not describe curved
    activations.

    Args:
        log2_lines: the binary logarithm of the number of lines, from 2 to 18.
        seed: of the scrambling.

    Raises:
        RangeError: if an argument is out of range.

    References:
        Griebel, Kuo, Sloan, The smoothing effect of integration in R^d and the ANOVA decomposition,
        Mathematics of Computation 82, 383 (2013), for why integrating one direction out helps;
        the moments are derived in docs, "Theory".
    """

    def __init__(self, log2_lines: int = 7, seed: int = 0) -> None:
        super().__init__()
        self._log2 = checks.whole("log2_lines", log2_lines, at_least=2)
        checks.number("log2_lines", log2_lines, at_most=18)
        self._seed = checks.whole("seed", seed, at_least=0)
        self._hidden = 0
        self.register_buffer("_along", torch.empty(0, dtype=torch.float64), persistent=False)
        for name in ("_across", "_across_many"):
            self.register_buffer(name, torch.empty(0, 0, dtype=torch.float64), persistent=False)

    @property
    def smooth(self) -> bool:
        """True: a break moves smoothly with the state."""
        return True

    @property
    def relative_error(self) -> float:
        """Four over the number of lines: the error of the noise moments of a few ReLU units."""
        return float(4 / 2**self._log2)

    def prepare(self, hidden: int) -> None:
        """Place the lines; see `Integrator.prepare`."""
        if hidden == self._hidden:
            return
        self._hidden = hidden
        # No two entries alike in size: opposite or equal units must not be constant along u.
        golden = (math.sqrt(5) - 1) / 2
        entries = [(-1) ** k * (1 + (k * golden) % 1) for k in range(hidden)]
        along = torch.tensor(entries, dtype=torch.float64)
        along /= along.norm()
        like = self.get_buffer("_along")
        self._along = along.to(like)
        generator = np.random.default_rng(self._seed)
        for name, log2 in (("_across", self._log2), ("_across_many", self._log2 + _TAIL)):
            points = torch.zeros(1, 0, dtype=torch.float64)
            if hidden > 1:
                # The sets are scrambled independently.
                sets = [
                    qmc.Sobol(hidden - 1, scramble=True, rng=generator).random_base2(log2 - 2)
                    for _ in range(_SETS)
                ]
                uniform = np.clip(np.concatenate(sets), 2.0**-40, 1 - 2.0**-40)
                points = torch.from_numpy(ndtri(uniform))
            setattr(self, name, points.to(like))

    def moments(self, fields: Fields) -> Moments:
        """Compute the moments; see `Integrator.moments`.

        Raises:
            IncompatibleError: if the activation is not piecewise linear.
        """
        line, labels, v = _line(fields.activation), fields.labels[:, None], fields.readout
        exact = _pairs(line, fields)
        column = v[..., None, :, None]
        return Moments(
            drive=labels * exact.slope - (exact.slope_value @ column).squeeze(-1),
            noise=self._noise(line, fields, exact),
            stein=torch.diag_embed(_curvature(line, fields))
            - exact.slope_slope * v[..., None, None, :],
            readout=labels * exact.value - (exact.value_value @ column).squeeze(-1),
        )

    def errors(self, fields: Fields) -> Errors:
        """Compute the errors; see `Integrator.errors`.

        Raises:
            IncompatibleError: if the activation is not piecewise linear.
        """
        exact = _pairs(_line(fields.activation), fields)
        pmse = _pmse(fields, exact)
        # Along the mean gradient of the output its sign changes once, at a place that moves little
        # from line to line; a network without one takes the fixed direction.
        gradient = fields.readout.unsqueeze(-2) * exact.slope  # (..., C, K)
        along = (covariance_factor(fields.covariance) @ gradient.unsqueeze(-1)).squeeze(-1)
        length = along.norm(dim=-1, keepdim=True)
        lost = length <= 1e-9 * fields.readout.norm(dim=-1)[..., None, None]
        along = torch.where(lost, self.get_buffer("_along"), along / length.clamp_min(1e-300))
        lines = cut(fields, along, self.get_buffer("_across_many"), STATE_SLACK)
        failed = wrong(lines, fields.labels[:, None, None]).sum(-1)  # (..., C, S)
        spread = torch.zeros_like(pmse)
        if self._hidden > 1:
            sets = failed.reshape(*failed.shape[:-1], _SETS, -1).mean(-1)
            spread = sets.std(-1) / math.sqrt(_SETS)
        return Errors(pmse, failed.mean(-1), torch.zeros_like(pmse), spread)

    def _noise(self, line: Line, fields: Fields, exact: _TensorPairs) -> Tensor:
        """Return E[g' g' Delta²], shape `(..., C, K, K)`: up to four units at once."""
        if not len(line.kinks):
            square = 2 * line.slope**2 * _pmse(fields, exact)
            return square[..., None, None].expand_as(exact.slope_slope)
        along = self.get_buffer("_along").unsqueeze(0)
        lines = cut(fields, along, self.get_buffer("_across"), TRIAL_SLACK)
        p0, p1, p2 = normal_moments(lines.edges)
        d0, d1 = fields.labels[:, None, None] - lines.o0, -lines.o1
        squares = d0**2 * p0 + 2 * d0 * d1 * p1 + d1**2 * p2  # ∫ Delta² on each interval
        slopes = lines.slope.flatten(-3, -2)  # (..., C, S I, K)
        return slopes.mT @ (squares.flatten(-2).unsqueeze(-1) * slopes) / p0.shape[-2]


def _line(activation: Activation) -> Line:
    """Return an activation as a line plus hinges."""
    if not activation.slopes:
        raise IncompatibleError(
            "the integrator `preintegrated` describes piecewise-linear activations, which "
            f"declare `slopes`, and {type(activation).__name__} does not; take `sobol`."
        )
    slopes = np.array(activation.slopes)
    anchor = torch.tensor([min(activation.kinks, default=0.0)], dtype=torch.float64)
    offset = float(activation(anchor)) - slopes[0] * float(anchor)
    return Line(offset, float(slopes[0]), np.array(activation.kinks), np.diff(slopes))


class _TensorPairs(NamedTuple):
    """`Pairs` as tensors of shape `(..., C, K)` and `(..., C, K, K)`."""

    slope: Tensor
    value: Tensor
    slope_slope: Tensor
    slope_value: Tensor
    value_value: Tensor


def _pairs(line: Line, fields: Fields) -> _TensorPairs:
    shape = fields.mean.shape
    covariance = fields.covariance.expand(*shape, shape[-1])
    found = pairs(
        line,
        fields.mean.reshape(-1, shape[-1]).numpy(),
        covariance.reshape(-1, shape[-1], shape[-1]).numpy(),
    )
    return _TensorPairs(
        *(torch.from_numpy(part).reshape(*shape[:-1], *part.shape[1:]) for part in found)
    )


def _pmse(fields: Fields, exact: _TensorPairs) -> Tensor:
    labels, v = fields.labels, fields.readout[..., None, :, None]
    mean = (exact.value.unsqueeze(-2) @ v).squeeze((-2, -1))
    square = (v.mT @ exact.value_value @ v).squeeze((-2, -1))
    return 0.5 * (labels**2 - 2 * labels * mean + square)


def _curvature(line: Line, fields: Fields) -> Tensor:
    r"""Return $E[g''(\lambda_k)\Delta]$ exactly, shape `(..., C, K)`.

    g'' is a jump J at each kink c, so this is $J\,N(c; m_k, Q_{kk})\,(y - \sum_i v_i
    E[g(\lambda_i) | \lambda_k = c])$, and given one field the others are single Gaussians.
    """
    mean = fields.mean
    variance = fields.covariance.diagonal(dim1=-2, dim2=-1)
    frozen = variance <= 0
    safe = torch.where(frozen, torch.ones_like(variance), variance)
    slope = fields.covariance / safe.unsqueeze(-2)  # [i, k] = Q_ik / Q_kk
    left = (variance.unsqueeze(-1) - slope * fields.covariance).clamp_min(0)
    total = torch.zeros_like(mean)
    for kink, jump in zip(line.kinks.tolist(), line.jumps.tolist(), strict=True):
        distance = kink - mean
        density = torch.exp(-0.5 * distance**2 / safe) / torch.sqrt(2 * math.pi * safe)
        density = torch.where(frozen.expand_as(density), torch.zeros_like(density), density)
        conditional = mean.unsqueeze(-1) + slope * distance.unsqueeze(-2)  # [i, k]
        output = fields.readout[..., None, None, :] @ _gaussian_mean(line, conditional, left)
        total = total + jump * density * (fields.labels[:, None] - output.squeeze(-2))
    return total


def _gaussian_mean(line: Line, mean: Tensor, variance: Tensor) -> Tensor:
    """Return E[g(x)] for x ~ N(mean, variance)."""
    deviation = variance.sqrt()
    safe = torch.where(deviation > 0, deviation, torch.ones_like(deviation))
    total = line.offset + line.slope * mean
    for kink, jump in zip(line.kinks.tolist(), line.jumps.tolist(), strict=True):
        above = mean - kink
        ratio = above / safe
        density = torch.exp(-0.5 * ratio**2) / math.sqrt(2 * math.pi)
        hinge = above * torch.special.ndtr(ratio) + deviation * density
        total = total + jump * torch.where(deviation > 0, hinge, above.clamp_min(0))
    return total
