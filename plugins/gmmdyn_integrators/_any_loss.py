r"""Moments of networks of piecewise-linear units with a loss of any kind, along lines, in torch.

The error signal is parted into what is linear in the output, alpha - beta phi, whose moments are
those of units and pairs of units and exact, and a rest, whose moments are averages over lines of
integrals along them. The noise, quadratic in the error signal, is averaged as a whole: an average
of squares. Along a line all units are linear between two breaks (`_lines.py`), so that the
integrands are smooth there, and Gauss–Legendre nodes serve on each interval.

Legend: S lines, I intervals of a line, G nodes of an interval; y, alpha and beta are (..., C).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import NamedTuple, final

import numpy as np
import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from gmmdyn.interfaces import Fields, Moments
from gmmdyn.linalg import field_factor
from gmmdyn.normal import density
from gmmdyn_integrators._lines import Lines, across, on_lines
from gmmdyn_integrators._straight import Exact

# The normal density beyond is 3e-12 of the whole. Eight nodes on a length of 2 integrate it to
# 1e-12, and with it a logistic function whose argument moves by no more than that.
_FAR, _LENGTH = 7.0, 2.0
_NODES, _WEIGHTS = (torch.from_numpy(part) for part in np.polynomial.legendre.leggauss(8))
# Intervals of equal length on a line at most: networks whose output moves by more than twenty
# within one standard deviation along a line are integrated less well.
_MOST = 140
# Gauss–Hermite nodes of the linear part, which need not be exact: the rest makes up for it.
_NORMAL, _SHARES = (torch.from_numpy(part) for part in np.polynomial.hermite_e.hermegauss(16))
# An output of less variance has no curvature to see.
_STILL = 1e-12
# Numbers held at once.
_NUMBERS = 2**17


class Linear(NamedTuple):
    """The linear part alpha - beta phi of an error signal; both of shape `(..., C)`."""

    constant: Tensor
    slope: Tensor


class _Bundle(NamedTuple):
    """Parallel lines: lam = mean + factor (s along + x)."""

    mean: Tensor  # (..., C, K)
    factor: Tensor  # (..., C, K, K)


@final
class AnyLoss:
    """A network with a loss of any kind.

    Args:
        fields: the distribution of the local fields and the network.
        exact: what pairs of units determine for the square loss, as a function of fields with
            labels of their own.
        along: unit vector, shape `(K,)`.
        points: standard normal points, shape `(S, K - 1)`.
    """

    def __init__(
        self, fields: Fields, exact: Callable[[Fields], Exact], along: Tensor, points: Tensor
    ) -> None:
        self._fields = fields
        self._along, self._points = along, points
        factor = field_factor(fields.covariance)
        self._bundle = _Bundle(fields.mean, factor.expand(*fields.mean.shape, -1))
        # For labels 0 and 1: the moments of the square loss are linear in the label.
        labels = torch.zeros_like(fields.labels)
        self._at_zero = exact(fields._replace(labels=labels))
        self._at_one = exact(fields._replace(labels=labels + 1))
        self._output = 0.5 + self._at_zero.pmse - self._at_one.pmse
        self._square = 2 * self._at_zero.pmse
        self._linear = self._linearised()

    def _linearised(self) -> Linear:
        """Return the best linear part for an output that is Gaussian of the same variance."""
        fields = self._fields
        spread = (self._square - self._output**2).clamp_min(_STILL).sqrt().unsqueeze(-1)
        nodes, shares = _NORMAL.to(spread), (_SHARES / _SHARES.sum()).to(spread)
        outputs, y = self._output.unsqueeze(-1) + spread * nodes, fields.labels.unsqueeze(-1)
        slope = fields.loss.curvature(outputs, y) @ shares
        return Linear(fields.loss.signal(outputs, y) @ shares + slope * self._output, slope)

    def moments(self) -> Moments:
        """Return the moments; see `Moments`."""
        fields, (constant, slope) = self._fields, self._linear
        drive, noise, bent, readout = self._averages(self._bundle, _all, 4)
        zero, one = self._at_zero.moments, self._at_one.moments
        alpha, beta = constant.unsqueeze(-1), slope.unsqueeze(-1)

        def linear(at_zero: Tensor, at_one: Tensor, a: Tensor, b: Tensor) -> Tensor:
            return a * (at_one - at_zero) + b * at_zero

        stein = linear(zero.stein, one.stein, alpha.unsqueeze(-1), beta.unsqueeze(-1))
        stein = stein - bent * fields.readout[..., None, None, :]
        return Moments(
            drive=linear(zero.drive, one.drive, alpha, beta) + drive,
            noise=noise,
            stein=stein + torch.diag_embed(self._kinks()),
            readout=linear(zero.readout, one.readout, alpha, beta) + readout,
        )

    def loss(self) -> Tensor:
        """Return the mean of the loss on each line, shape `(..., C, S)`."""
        constant, slope = self._linear
        linear = 0.5 * slope * self._square - constant * self._output
        rest = torch.cat([part for (part,) in self._blocks(self._bundle, _value, 1)], dim=-1)
        return linear.unsqueeze(-1) + rest

    def _kinks(self) -> Tensor:
        r"""Return $E[g''(\lambda_k) r]$ of the rest r, shape `(..., C, K)`.

        A kink at c where g' jumps by J contributes $J\,N(c; m_k, Q_{kk})\,E[r | \lambda_k = c]$.
        """
        fields, (mean, factor) = self._fields, self._bundle
        activation = fields.activation
        variance = fields.covariance.diagonal(dim1=-2, dim2=-1).expand_as(mean)
        frozen = variance <= 0
        safe = torch.where(frozen, torch.ones_like(variance), variance)
        share = fields.covariance / safe.unsqueeze(-2)  # [..., i, k] = Q_ik / Q_kk
        total = torch.zeros_like(mean)
        for index, kink in enumerate(activation.kinks):
            jump = activation.slopes[index + 1] - activation.slopes[index]
            distance = kink - mean
            height = jump * density(distance / safe.sqrt()) / safe.sqrt()
            given = []
            for k in range(mean.shape[-1]):
                moved = share[..., :, k]
                bundle = _Bundle(
                    mean + moved * distance[..., k : k + 1],
                    factor - moved.unsqueeze(-1) * factor[..., k : k + 1, :],
                )
                given.append(self._averages(bundle, _signal, 1)[0])
            height = torch.where(frozen, torch.zeros_like(height), height)
            total = total + height * torch.stack(given, dim=-1)
        return total

    def _averages(self, bundle: _Bundle, rule: Rule, count: int) -> list[Tensor]:
        """Return means over lines of what a rule sums over the lines of a block."""
        totals = zip(*self._blocks(bundle, rule, count), strict=True)
        return [torch.stack(parts).sum(0) / len(self._points) for parts in totals]

    def _blocks(self, bundle: _Bundle, rule: Rule, count: int) -> Iterator[tuple[Tensor, ...]]:
        """Apply a rule to the lines, a block at a time."""
        fields = self._fields
        activation = fields.activation
        pace = bundle.factor @ self._along
        steepest = max(map(abs, activation.slopes))
        with torch.no_grad():
            moves = (fields.readout.unsqueeze(-2).abs() * pace.abs()).sum(-1)
            turns = min(max(1.0, steepest * float(moves.max())), _MOST * _LENGTH / (2 * _FAR))
        pieces = math.ceil(2 * _FAR / _LENGTH * turns)
        inner = torch.linspace(-_FAR, _FAR, pieces + 1, dtype=torch.float64)[1:-1].to(pace)
        intervals = pieces + pace.shape[-1] * len(activation.kinks)
        numbers = pace[..., 0].numel() * intervals * len(_NODES)
        block = max(1, _NUMBERS // numbers)
        graph = torch.is_grad_enabled() and (pace.requires_grad or fields.readout.requires_grad)

        def apply(points: Tensor) -> tuple[Tensor, ...]:
            start = bundle.mean.unsqueeze(-2) + across(self._along, points) @ bundle.factor.mT
            one = torch.ones_like(fields.readout).unsqueeze(-2)
            return rule(_Nodes(fields, self._linear, on_lines(activation, one, start, pace, inner, _FAR)))

        for points in torch.split(self._points, block):
            if graph:  # what a rule holds in between is too much for all lines
                yield checkpoint(apply, points, use_reentrant=False, preserve_rng_state=False)
            else:
                yield apply(points)


@final
class _Nodes:
    """A network at the nodes of lines; functions of the nodes are `(..., C, S, I, G)`."""

    def __init__(self, fields: Fields, linear: Linear, lines: Lines) -> None:
        self.lines = lines
        self.loss, self.labels = fields.loss, fields.labels[:, None, None, None]
        self.alpha, self.beta = (part[..., None, None, None] for part in linear)
        v = fields.readout[..., None, None, :, None]
        low, high = lines.edges[..., :-1], lines.edges[..., 1:]
        nodes, weights = _NODES.to(low), _WEIGHTS.to(low)
        half = ((high - low) / 2).unsqueeze(-1)
        self.places = ((high + low) / 2).unsqueeze(-1) + half * nodes
        self.weights = half * weights * density(self.places)
        self.outputs = lines.constant @ v + (lines.linear @ v) * self.places

    def integral(self, values: Tensor) -> Tensor:
        """Integrate over each interval, shape `(..., C, S, I)`."""
        return torch.linalg.vecdot(self.weights, values)


Rule = Callable[[_Nodes], tuple[Tensor, ...]]


def _all(at: _Nodes) -> tuple[Tensor, ...]:
    """Sum over lines what drives the dynamics: of g'_k r, g'_k g'_l Delta², g'_k g'_l, g_k r."""
    signal = at.loss.signal(at.outputs, at.labels)
    rest = signal - at.alpha + at.beta * at.outputs
    zeroth, first = at.integral(rest), at.integral(at.places * rest)
    square = at.integral(signal * signal)
    bent = at.integral(at.loss.curvature(at.outputs, at.labels) - at.beta)
    slope, constant, linear = (part.flatten(-3, -2) for part in at.lines[1:])  # (..., C, S I, K)

    def total(values: Tensor, weights: Tensor) -> Tensor:
        return (weights.flatten(-2).unsqueeze(-2) @ values).squeeze(-2)

    def pairs(weights: Tensor) -> Tensor:
        return (slope * weights.flatten(-2).unsqueeze(-1)).mT @ slope

    readout = total(constant, zeroth) + total(linear, first)
    return total(slope, zeroth), pairs(square), pairs(bent), readout


def _signal(at: _Nodes) -> tuple[Tensor, ...]:
    """Sum the rest of the error signal over lines."""
    rest = at.loss.signal(at.outputs, at.labels) - at.alpha + at.beta * at.outputs
    return (at.integral(rest).sum((-2, -1)),)


def _value(at: _Nodes) -> tuple[Tensor, ...]:
    """Integrate the loss along each line, but for the part that belongs to the linear signal."""
    linear = 0.5 * at.beta * at.outputs**2 - at.alpha * at.outputs
    return (at.integral(at.loss.value(at.outputs, at.labels) - linear).sum(-1),)
