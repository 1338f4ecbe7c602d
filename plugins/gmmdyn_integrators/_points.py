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

from gmmdyn.gaussian import density, field_factor
from gmmdyn.interfaces import Errors, Fields, Integrator, Moments
from gmmdyn_integrators._obstacles import refuse
from gmmdyn_integrators._zero import ZERO


def local_fields(fields: Fields, z: Tensor) -> Tensor:
    """Place the points.

    Args:
        fields: the distribution of the local fields.
        z: standard normal points, shape `(S, K)`.

    Returns:
        Local fields, shape `(..., C, S, K)`.
    """
    z = z.to(fields.mean)
    return fields.mean.unsqueeze(-2) + z @ field_factor(fields.covariance).mT


def output_of(fields: Fields, g: Tensor) -> Tensor:
    """Return the output, shape `(..., C, S)`, of units with values g, shape `(..., C, S, K)`."""
    return (g @ fields.readout[..., None, :, None]).squeeze(-1)


def _signal(fields: Fields, g: Tensor) -> Tensor:
    """Return Delta, shape `(..., C, S)`."""
    return fields.loss.signal(output_of(fields, g), fields.labels[:, None])


def moments(fields: Fields, z: Tensor, weights: Tensor | None = None) -> Moments:
    """Average the moments over points; see `Moments`.

    Args:
        fields: the distribution of the local fields.
        z: standard normal points, shape `(S, K)`.
        weights: of the points, shape `(S,)`, summing to one; None is all the same.

    Returns:
        The moments.
    """
    lam = local_fields(fields, z)
    if weights is None:
        weights = torch.full_like(z[:, 0], 1 / len(z))
    w = weights.to(lam)
    g, dg = fields.activation(lam), fields.activation.derivative(lam)
    delta = _signal(fields, g)
    signal = dg * delta.unsqueeze(-1)
    curvature = _curvature(fields, lam, delta, w)
    # Stein: the loss's own curvature, which is 1 for the square loss
    second = fields.loss.curvature(output_of(fields, g), fields.labels[:, None])
    bent = dg * (w * second).unsqueeze(-1)
    stein = -(dg.mT @ bent) * fields.readout[..., None, None, :]
    return Moments(
        drive=w @ signal,
        noise=signal.mT @ (w.unsqueeze(-1) * signal),
        stein=stein + torch.diag_embed(curvature),
        readout=w @ (g * delta.unsqueeze(-1)),
    )


def _curvature(fields: Fields, lam: Tensor, delta: Tensor, w: Tensor) -> Tensor:
    r"""Return $E[g''(\lambda_k)\Delta]$, shape `(..., C, K)`, kinks included.

    A kink at c where g' jumps by J contributes $J\,N(c; m_k, Q_{kk})\,E[\Delta | \lambda_k = c]$;
    the conditional sample is $\lambda - (\lambda_k - c) Q_{\cdot k}/Q_{kk}$ of the same points,
    so no covariance is ever inverted and identical units are no special case.
    """
    activation = fields.activation
    if not activation.slopes:
        total = w @ (activation.second_derivative(lam) * delta.unsqueeze(-1))
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
        height = density(distance / safe.sqrt()) / safe.sqrt()
        height = torch.where(frozen, torch.zeros_like(height), height)
        conditional = []
        for k in range(lam.shape[-1]):
            shift = (lam[..., k] - kink).unsqueeze(-1) * slope[..., :, k].unsqueeze(-2)
            conditional.append(_signal(fields, activation(lam - shift)) @ w)
        total = total + jump * height * torch.stack(conditional, dim=-1)
    return total


def errors(fields: Fields, z: Tensor, sets: int) -> Errors:
    """Average the errors over independent sets of points, whose scatter is the estimated error.

    Args:
        fields: the distribution of the local fields.
        z: standard normal points, one set after the other, shape `(S, K)`.
        sets: how many there are, at least 2, of equal size.

    Returns:
        The errors in each cluster with their standard errors.
    """
    g = fields.activation(local_fields(fields, z))
    output = output_of(fields, g)
    labels = fields.labels[:, None]
    with torch.no_grad():
        size = (g.abs() @ fields.readout.abs()[..., None, :, None]).squeeze(-1)
        tie = output.abs() <= ZERO * size
        wrong = ((labels * output < 0) & ~tie) + 0.5 * tie
    values = {
        "pmse": 0.5 * (labels - output) ** 2,
        "classification_error": wrong.to(output),
        "tie_rate": tie.to(output),
    }
    if not fields.loss.quadratic:
        values["loss"] = fields.loss.value(output, labels)
    found = {}
    for name, value in values.items():
        means = value.reshape(*value.shape[:-1], sets, -1).mean(-1)
        found[name] = means.mean(-1)
        found[f"{name}_se"] = means.detach().std(-1) / math.sqrt(sets)
    return Errors(**found)


def _gradient_exists(fields: Fields) -> None:
    """Refuse a gradient that would lack what points do when they cross a kink."""
    inputs = (fields.mean, fields.covariance, fields.readout)
    if torch.is_grad_enabled() and not fields.activation.smooth:
        refuse(
            "an average over points has no gradient where the slope of the activation jumps; take "
            "the integrator `preintegrated`."
            if any(part.requires_grad for part in inputs)
            else None
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
        """Compute the moments; see `Integrator.moments`.

        Raises:
            IncompatibleError: if a gradient is asked for and the activation has kinks.
        """
        _gradient_exists(fields)
        return moments(fields, self.get_buffer("_z"))
