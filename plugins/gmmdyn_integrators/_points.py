r"""Moments of the error signal as averages over points.

Legend: z (S, K) standard normal points; L (..., C, K, K) a factor of the covariance;
lam (..., C, S, K) local fields; g, dg their activation and its slope; delta (..., C, S) error
signal; v (..., K) readout. Everything is a matrix product over the points, O(S K²), and no
four-index integral is ever formed (theory page, "ODEs for the order parameters").
"""

from __future__ import annotations

import abc
import math

import torch
from torch import Tensor

from gmmdyn.interfaces import Errors, Fields, Integrator, Moments
from gmmdyn.linalg import covariance_factor

# Solvers try states a little outside of the possible ones, when Q is singular, and take them back:
# the moments put up with it. The errors of a state that was reached do not.
TRIAL_SLACK, STATE_SLACK = 1e-3, 1e-6


def local_fields(fields: Fields, z: Tensor, slack: float) -> Tensor:
    """Place the points.

    Args:
        fields: the distribution of the local fields.
        z: standard normal points, shape `(S, K)`.
        slack: as of `covariance_factor`.

    Returns:
        Local fields, shape `(..., C, S, K)`.
    """
    return fields.mean.unsqueeze(-2) + z @ covariance_factor(fields.covariance, slack)


def _delta(fields: Fields, g: Tensor) -> Tensor:
    output = (g @ fields.readout[..., None, :, None]).squeeze(-1)
    return fields.labels[:, None] - output


def moments(fields: Fields, z: Tensor) -> Moments:
    """Average the moments over points of equal weight; see `Moments`.

    Args:
        fields: the distribution of the local fields.
        z: standard normal points, shape `(S, K)`.

    Returns:
        The moments.
    """
    lam = local_fields(fields, z, TRIAL_SLACK)
    count = z.shape[0]
    g, dg = fields.activation(lam), fields.activation.derivative(lam)
    delta = _delta(fields, g)
    signal = dg * delta.unsqueeze(-1)
    curvature = _curvature(fields, lam, delta)
    stein = -(dg.mT @ dg / count) * fields.readout[..., None, None, :]
    return Moments(
        drive=signal.mean(-2),
        noise=signal.mT @ signal / count,
        stein=stein + torch.diag_embed(curvature),
        readout=(g * delta.unsqueeze(-1)).mean(-2),
    )


def _curvature(fields: Fields, lam: Tensor, delta: Tensor) -> Tensor:
    r"""Return $E[g''(\lambda_k)\Delta]$, shape `(..., C, K)`, kinks included.

    A kink at c where g' jumps by J contributes $J\,N(c; m_k, Q_{kk})\,E[\Delta | \lambda_k = c]$;
    the conditional sample is $\lambda - (\lambda_k - c) Q_{\cdot k}/Q_{kk}$ of the same points,
    so no covariance is ever inverted and identical units are no special case.
    """
    activation = fields.activation
    if not activation.slopes:
        total = (activation.second_derivative(lam) * delta.unsqueeze(-1)).mean(-2)
    else:
        total = torch.zeros_like(fields.mean)
    variance = fields.covariance.diagonal(dim1=-2, dim2=-1)  # (..., C or 1, K)
    # A unit with no variance at all never crosses its kink (unless it sits on it).
    frozen = variance <= 0
    safe = torch.where(frozen, torch.ones_like(variance), variance)
    slope = fields.covariance / safe.unsqueeze(-2)  # [..., i, k] = Q_ik / Q_kk
    for index, kink in enumerate(activation.kinks):
        jump = activation.slopes[index + 1] - activation.slopes[index]
        distance = kink - fields.mean
        density = torch.exp(-0.5 * distance**2 / safe) / torch.sqrt(2 * math.pi * safe)
        density = torch.where(frozen.expand_as(density), torch.zeros_like(density), density)
        conditional = []
        for k in range(lam.shape[-1]):
            shift = (lam[..., k] - kink).unsqueeze(-1) * slope[..., :, k].unsqueeze(-2)
            conditional.append(_delta(fields, activation(lam - shift)).mean(-1))
        total = total + jump * density * torch.stack(conditional, dim=-1)
    return total


def errors(fields: Fields, z: Tensor, spread: float) -> Errors:
    """Average the errors over points of equal weight.

    Args:
        fields: the distribution of the local fields.
        z: standard normal points, shape `(S, K)`.
        spread: standard error of the mean of a quantity with unit variance over these points.

    Returns:
        The errors in each cluster with their standard errors.
    """
    output = fields.labels[:, None] - _delta(
        fields, fields.activation(local_fields(fields, z, STATE_SLACK))
    )
    loss = 0.5 * (fields.labels[:, None] - output) ** 2
    # An output of exactly 0 (all ReLU units off) is an error, in the simulation too.
    wrong = (fields.labels[:, None] * output <= 0).to(output.dtype)
    return Errors(
        pmse=loss.mean(-1),
        classification_error=wrong.mean(-1),
        pmse_se=spread * loss.std(-1),
        classification_error_se=spread * wrong.std(-1),
    )


class PointAverage(Integrator):
    """What the integrators that average over fixed points share; they say where the points are."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("_z", torch.empty(0, 0, dtype=torch.float64), persistent=False)

    @abc.abstractmethod
    def place(self, hidden: int) -> Tensor:
        """Return the points.

        Args:
            hidden: the number of hidden units `K`.

        Returns:
            Standard normal points, shape `(S, K)`, float64; the same at each call.
        """

    @property
    def smooth(self) -> bool:
        """False: with kinks, an average over points is a step function of the state."""
        return False

    def prepare(self, hidden: int) -> None:
        """Place the points once; see `Integrator.prepare`."""
        z = self.get_buffer("_z")
        if z.shape[1] != hidden or not len(z):
            self._z = self.place(hidden).to(z)

    def moments(self, fields: Fields) -> Moments:
        """Compute the moments; see `Integrator.moments`."""
        return moments(fields, self.get_buffer("_z"))

    def errors(self, fields: Fields) -> Errors:
        """Compute the errors; see `Integrator.errors`."""
        return errors(fields, self.get_buffer("_z"), self.relative_error)
