r"""Closed forms for pairs of units; beyond pairs, exact along one direction and points across it.

All moments but the noise involve at most two units, and those are closed forms (`_hinges.py`). For
the rest the local fields are lam = m + L z with z = s u + x, s along the fixed unit vector u, x
across it.

Legend: along a line lam_k(s) = a_k + d_k s crosses each kink once, at the *breaks*; between two
breaks the output is o0 + o1 s and Delta = y - o0 - o1 s, so that every moment is a sum over
intervals of the truncated normal moments P_n = ∫ s^n phi(s) ds. Shapes: lines S, intervals I =
K J + 1 for J kinks; the arrays are (..., C, S, I) and (..., C, S, I, K).
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

# Beyond this many standard deviations the normal density underflows.
_FAR = 40.0
# Independent scramblings, whose scatter is the error estimate.
_SETS = 4
# Tail probabilities want more lines than the flow: this many doublings.
_TAIL = 5


class _Lines(NamedTuple):
    """A network along lines: on each interval everything is linear in s."""

    edges: Tensor  # (..., C, S, I + 1)
    slope: Tensor  # g' of each unit, (..., C, S, I, K)
    o0: Tensor  # (..., C, S, I)
    o1: Tensor  # (..., C, S, I)


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
        # The other columns of the reflection that takes e_1 to u span what is across it.
        mirror = along.clone()
        mirror[0] -= 1.0
        reflection = torch.eye(hidden, dtype=torch.float64)
        if float(mirror.norm()) > 0:
            reflection -= 2 * torch.outer(mirror, mirror) / (mirror @ mirror)
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
            setattr(self, name, (points @ reflection[1:]).to(like))

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
        pmse = _pmse(fields, _pairs(_line(fields.activation), fields))
        cut = self._cut(fields, "_across_many")
        wrong = _wrong(cut, fields.labels[:, None, None]).sum(-1)  # (..., C, S)
        spread = torch.zeros_like(pmse)
        if self._hidden > 1:
            sets = wrong.reshape(*wrong.shape[:-1], _SETS, -1).mean(-1)
            spread = sets.std(-1) / math.sqrt(_SETS)
        return Errors(pmse, wrong.mean(-1), torch.zeros_like(pmse), spread)

    def _noise(self, line: Line, fields: Fields, exact: _TensorPairs) -> Tensor:
        """Return E[g' g' Delta²], shape `(..., C, K, K)`: up to four units at once."""
        if not len(line.kinks):
            square = 2 * line.slope**2 * _pmse(fields, exact)
            return square[..., None, None].expand_as(exact.slope_slope)
        cut = self._cut(fields, "_across")
        p0, p1, p2 = _normal_moments(cut.edges)
        d0, d1 = fields.labels[:, None, None] - cut.o0, -cut.o1
        squares = d0**2 * p0 + 2 * d0 * d1 * p1 + d1**2 * p2  # ∫ Delta² on each interval
        slopes = cut.slope.flatten(-3, -2)  # (..., C, S I, K)
        return slopes.mT @ (squares.flatten(-2).unsqueeze(-1) * slopes) / p0.shape[-2]

    def _cut(self, fields: Fields, across: str) -> _Lines:
        """Cut the lines at the breaks."""
        activation = fields.activation
        factor = covariance_factor(fields.covariance)
        start = (fields.mean.unsqueeze(-2) + self.get_buffer(across) @ factor).unsqueeze(-2)
        pace = (factor @ self.get_buffer("_along"))[..., None, None, :]  # (..., C or 1, 1, 1, K)
        safe = torch.where(pace == 0, torch.full_like(pace, 1e-300), pace)
        breaks = [((kink - start) / safe).clamp(-_FAR, _FAR) for kink in activation.kinks]
        far = torch.full_like(start[..., :1], _FAR)
        inner = [torch.sort(torch.cat(breaks, dim=-1), dim=-1).values] if breaks else []
        edges = torch.cat([-far, *inner, far], dim=-1).squeeze(-2)
        middle = ((edges[..., 1:] + edges[..., :-1]) / 2).unsqueeze(-1)  # (..., C, S, I, 1)
        lam = start + pace * middle
        slope = activation.derivative(lam)
        g1 = slope * pace
        g0 = activation(lam) - g1 * middle
        v = fields.readout[..., None, None, :, None]
        return _Lines(edges, slope, (g0 @ v).squeeze(-1), (g1 @ v).squeeze(-1))


def _normal_moments(edges: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return ∫ s^n phi(s) ds over each interval, n = 0, 1, 2."""
    cdf = torch.special.ndtr(edges)
    density = torch.exp(-0.5 * edges**2) / math.sqrt(2 * math.pi)
    p0 = cdf.diff(dim=-1)
    return p0, -density.diff(dim=-1), p0 - (edges * density).diff(dim=-1)


def _wrong(lines: _Lines, y: Tensor) -> Tensor:
    """Return the probability of y times the output <= 0 on each interval."""
    low, high = lines.edges[..., :-1], lines.edges[..., 1:]
    rising = y * lines.o1
    flat = rising == 0
    root = -lines.o0 / torch.where(flat, torch.ones_like(rising), lines.o1)
    root = torch.minimum(torch.maximum(root, low), high)
    at_low, at_root, at_high = (torch.special.ndtr(x) for x in (low, root, high))
    partly = torch.where(rising > 0, at_root - at_low, at_high - at_root)
    # An output of exactly 0 (all ReLU units off) is an error.
    wholly = torch.where(y * lines.o0 <= 0, at_high - at_low, torch.zeros_like(low))
    return torch.where(flat, wholly, partly)


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
