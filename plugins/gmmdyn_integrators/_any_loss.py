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

from gmmdyn.gaussian import density, field_factor
from gmmdyn.interfaces import Fields, Moments
from gmmdyn_integrators._lines import Lines, across, on_lines
from gmmdyn_integrators._outputs import Exact

# The normal density beyond is 3e-12 of the whole. On a quarter of what is left twelve nodes
# integrate it to 1e-13, and with it functions of a logistic loss whose output moves by up to
# `_STEEP` within one standard deviation to 1e-10; for more there are as many more intervals.
_FAR, _PIECES, _STEEP = 7.0, 4, 1.25
_NODES, _WEIGHTS = (torch.from_numpy(part) for part in np.polynomial.legendre.leggauss(12))
# A trial state of a solver may have any size: outputs that move by more than 25 within one standard
# deviation are integrated less well.
_MOST = 20
# Gauss–Hermite nodes of the linear part, which need not be exact: the rest makes up for it.
_NORMAL, _SHARES = (torch.from_numpy(part) for part in np.polynomial.hermite_e.hermegauss(16))
# An output of less variance has no curvature to see.
_STILL = 1e-12
# Numbers held at once.
_NUMBERS = 2**18


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
        drive, noise, bent, readout = self._averages(self._bundle, _all)
        zero, one = self._at_zero.moments, self._at_one.moments
        alpha, beta = constant.unsqueeze(-1), slope.unsqueeze(-1)

        def linear(at_zero: Tensor, at_one: Tensor, a: Tensor, b: Tensor) -> Tensor:
            return a * (at_one - at_zero) + b * at_zero

        stein = linear(zero.stein, one.stein, alpha.unsqueeze(-1), beta.unsqueeze(-1))
        v = fields.readout.unsqueeze(-2)
        pairs = v.unsqueeze(-1) * v.unsqueeze(-2)
        return Moments(
            drive=linear(zero.drive, one.drive, alpha, beta) + v * drive,
            noise=pairs * noise,
            stein=stein - pairs * bent + torch.diag_embed(v * self._kinks()),
            readout=linear(zero.readout, one.readout, alpha, beta) + readout,
        )

    def loss(self) -> Tensor:
        """Return the mean of the loss on each line, shape `(..., C, S)`."""
        constant, slope = self._linear
        linear = 0.5 * slope * self._square - constant * self._output
        rest = torch.cat([part for (part,) in self._blocks(self._bundle, _value)], dim=-1)
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
                given.append(self._averages(bundle, _signal)[0])
            height = torch.where(frozen, torch.zeros_like(height), height)
            total = total + height * torch.stack(given, dim=-1)
        return total

    def _averages(self, bundle: _Bundle, rule: Rule) -> list[Tensor]:
        """Return means over lines of what a rule sums over the lines of a block."""
        totals = zip(*self._blocks(bundle, rule), strict=True)
        return [torch.stack(parts).sum(0) / len(self._points) for parts in totals]

    def _blocks(self, bundle: _Bundle, rule: Rule) -> Iterator[tuple[Tensor, ...]]:
        """Apply a rule to the lines, a block at a time."""
        fields = self._fields
        activation = fields.activation
        pace = bundle.factor @ self._along
        with torch.no_grad():
            steep = fields.readout.unsqueeze(-2) * pace
            ends = torch.stack([slope * steep for slope in activation.slopes])
            steepest = max(float(ends.amax(0).sum(-1).max()), float(-ends.amin(0).sum(-1).min()))
        pieces = math.ceil(_PIECES * min(max(1.0, steepest / _STEEP), _MOST))
        inner = torch.linspace(-_FAR, _FAR, pieces + 1, dtype=torch.float64)[1:-1].to(pace)
        intervals = pieces + pace.shape[-1] * len(activation.kinks)
        numbers = pace[..., 0].numel() * intervals * len(_NODES)
        block = max(1, _NUMBERS // numbers)
        graph = torch.is_grad_enabled() and (pace.requires_grad or fields.readout.requires_grad)

        def apply(points: Tensor) -> tuple[Tensor, ...]:
            start = bundle.mean.unsqueeze(-2) + across(self._along, points) @ bundle.factor.mT
            return rule(
                _Nodes(fields, self._linear, on_lines(activation, start, pace, inner, _FAR))
            )

        for points in torch.split(self._points, block):
            if graph:  # what a rule holds in between is too much for all lines
                yield checkpoint(apply, points, use_reentrant=False, preserve_rng_state=False)
            else:
                yield apply(points)


@final
class _Nodes:
    """A network at the nodes of lines; on an interval s = middle + half t and phi = o0 + o1 t.

    What depends on the node is (..., C, S, I, G), everything else one for each interval.
    """

    def __init__(self, fields: Fields, linear: Linear, lines: Lines) -> None:
        self.lines = lines
        self._loss, self._labels = fields.loss, fields.labels[:, None, None, None]
        self.alpha, self.beta = (part[..., None, None] for part in linear)
        v = fields.readout[..., None, None, :, None]
        low, high = lines.edges[..., :-1], lines.edges[..., 1:]
        self.middle, self.half = (high + low) / 2, (high - low) / 2
        nodes, weights = _NODES.to(low), _WEIGHTS.to(low) / math.sqrt(2 * math.pi)
        self._powers = weights.unsqueeze(-1) * nodes.unsqueeze(-1) ** torch.arange(3).to(low)
        centre = (lines.constant @ v).squeeze(-1)
        steep = (lines.linear @ v).squeeze(-1)
        self.o0, self.o1 = centre + steep * self.middle, steep * self.half
        places = torch.addcmul(self.middle.unsqueeze(-1), self.half.unsqueeze(-1), nodes)
        self._height = torch.exp(torch.addcmul(places.new_zeros(()), places, places, value=-0.5))
        self._outputs = torch.addcmul(self.o0.unsqueeze(-1), self.o1.unsqueeze(-1), nodes)
        self.p0, self.p1, self.p2 = self._integrals(self._height, 3)

    def _integrals(self, values: Tensor, count: int) -> tuple[Tensor, ...]:
        """Integrate values times t^0, t^1, ... over each interval."""
        found = self.half.unsqueeze(-1) * (values @ self._powers[:, :count])
        return found.unbind(-1)

    def signal(self) -> tuple[Tensor, Tensor, Tensor]:
        """Return the integrals of r, s r and Delta²."""
        signal = self._loss.signal(self._outputs, self._labels)
        weighted = self._height * signal
        d0, d1 = self._integrals(weighted, 2)
        (square,) = self._integrals(weighted * signal, 1)
        r0, r1 = self._rest(d0, self.p0, self.p1), self._rest(d1, self.p1, self.p2)
        return r0, self.middle * r0 + self.half * r1, square

    def rest(self) -> Tensor:
        """Return the integral of r."""
        signal = self._loss.signal(self._outputs, self._labels)
        (d0,) = self._integrals(self._height * signal, 1)
        return self._rest(d0, self.p0, self.p1)

    def _rest(self, signal: Tensor, power: Tensor, next_power: Tensor) -> Tensor:
        return signal - self.alpha * power + self.beta * (self.o0 * power + self.o1 * next_power)

    def bent(self) -> Tensor:
        """Return the integral of the curvature of the loss less beta."""
        curvature = self._loss.curvature(self._outputs, self._labels)
        (bent,) = self._integrals(self._height * curvature, 1)
        return bent - self.beta * self.p0

    def value(self) -> Tensor:
        """Return the integral of the loss less the one whose error signal is linear."""
        value = self._loss.value(self._outputs, self._labels)
        (total,) = self._integrals(self._height * value, 1)
        output = self.o0 * self.p0 + self.o1 * self.p1
        square = self.o0 * (output + self.o1 * self.p1) + self.o1**2 * self.p2
        return total - 0.5 * self.beta * square + self.alpha * output


Rule = Callable[[_Nodes], tuple[Tensor, ...]]


def _all(at: _Nodes) -> tuple[Tensor, ...]:
    """Sum over lines what drives the dynamics: of g'_k r, g'_k g'_l Delta², g'_k g'_l, g_k r."""
    zeroth, first, square = at.signal()
    slope, constant, linear = (part.flatten(-3, -2) for part in at.lines[1:])  # (..., C, S I, K)

    def total(values: Tensor, weights: Tensor) -> Tensor:
        return (weights.flatten(-2).unsqueeze(-2) @ values).squeeze(-2)

    def pairs(weights: Tensor) -> Tensor:
        return (slope * weights.flatten(-2).unsqueeze(-1)).mT @ slope

    readout = total(constant, zeroth) + total(linear, first)
    return total(slope, zeroth), pairs(square), pairs(at.bent()), readout


def _signal(at: _Nodes) -> tuple[Tensor, ...]:
    """Sum the rest of the error signal over lines."""
    return (at.rest().sum((-2, -1)),)


def _value(at: _Nodes) -> tuple[Tensor, ...]:
    """Integrate the rest of the loss along each line."""
    return (at.value().sum(-1),)
