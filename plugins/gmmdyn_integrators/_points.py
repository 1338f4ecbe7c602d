r"""Moments of the learning signal as averages over points.

Legend: z (S, K) standard normal points; L (..., C, K, K) a factor of the covariance;
lam (..., C, S, K) local fields; g, dg their activation and its slope; delta (..., C, S, O) error
signal; v (..., K, O) readout; gamma (..., C, S, K) learning signal dg (delta vᵀ). Everything is a
matrix product over the points, O(S K (K + O)), and no four-index integral is ever formed (theory
page, "ODEs for the order parameters").
"""

from __future__ import annotations

import abc
import math

import torch
from torch import Tensor

from gmmdyn import Loss
from gmmdyn.gaussian import density, field_factor
from gmmdyn.interfaces import Errors, Fields, Integrator, Moments
from gmmdyn_integrators._obstacles import refuse
from gmmdyn_integrators._outputs import Head, lead_sizes, leads, shaped
from gmmdyn_integrators._zero import ZERO

# Directions of the fields with less deviation than this share of the largest are none.
_SINGULAR = 1e-7


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


def outputs_of(head: Head, g: Tensor) -> Tensor:
    """Return the outputs, shape `(..., C, S, O)`, of units with values g, `(..., C, S, K)`."""
    return g @ head.readout


def moments(fields: Fields, z: Tensor, weights: Tensor | None = None) -> Moments:
    """Average the moments over points; see `Moments`.

    Args:
        fields: the distribution of the local fields.
        z: standard normal points, shape `(S, K)`.
        weights: of the points, shape `(S,)`, summing to one; None is all the same.

    Returns:
        The moments.
    """
    lam, head = local_fields(fields, z), Head.of(fields)
    if weights is None:
        weights = torch.full_like(z[:, 0], 1 / len(z))
    w, v = weights.to(lam), head.readout
    labels = head.labels.unsqueeze(-2)
    g, dg = fields.activation(lam), fields.activation.derivative(lam)
    output = outputs_of(head, g)
    delta = fields.loss.signal(output, labels)
    back = delta @ v.mT  # d
    gamma = dg * back
    if fields.loss.kinks:
        stein = _regressed(fields, z, gamma, w)
    else:
        bends = _bends(fields, head, lam, back, w)
        stein = torch.diag_embed(bends) - _bent(fields.loss, output, labels, dg, v, w)
    found = Moments(
        drive=w @ gamma,
        noise=gamma.mT @ (w.unsqueeze(-1) * gamma),
        stein=stein,
        readout=g.mT @ (w.unsqueeze(-1) * delta),
    )
    return shaped(fields, found)


def _bent(loss: Loss, output: Tensor, labels: Tensor, dg: Tensor, v: Tensor, w: Tensor) -> Tensor:
    """Return E[g'_k g'_i (v H vᵀ)_ki], H the curvature of the loss, shape `(..., C, K, K)`."""
    if loss.quadratic:
        return (dg.mT @ (w.unsqueeze(-1) * dg)) * (v @ v.mT)
    if loss.joint:
        outputs, labels = output.unsqueeze(-2), labels.unsqueeze(-2)
        curved = loss.curvature_product(outputs, labels, v.unsqueeze(-3))  # (..., C, S, K, O)
        # [..., s, i, k] = (v H vᵀ)_ik, and E[g'_k g'_i x_ik] for each i.
        pairs = (curved @ v.unsqueeze(-3).mT) * dg.unsqueeze(-2)
        weighted = (w.unsqueeze(-1) * dg).mT.unsqueeze(-2)  # (..., C, K, 1, S)
        return (weighted @ pairs.movedim(-2, -3)).squeeze(-2)
    # What an output makes of a unit, (..., C, S, O, K); then points and outputs are one axis.
    slope = dg.unsqueeze(-2) * v.mT.unsqueeze(-3)
    curved = loss.curvature(output, labels).unsqueeze(-1) * slope
    bent: Tensor = slope.flatten(-3, -2).mT @ (w[:, None, None] * curved).flatten(-3, -2)
    return bent


def _regressed(fields: Fields, z: Tensor, gamma: Tensor, w: Tensor) -> Tensor:
    r"""Return the Stein moments of a learning signal whose slope jumps, shape `(..., C, K, K)`.

    By Stein's lemma $E[\gamma_k (\lambda - m)] = s\,\mathrm{Cov}$, which needs no derivative. With
    fields L z it is a regression on the points z, which need not be of covariance one; where the
    covariance is singular the equations ask for s on its range only.
    """
    z, factor = z.to(gamma), field_factor(fields.covariance)
    weighted = w.unsqueeze(-1) * z
    centred = gamma - (w @ gamma).unsqueeze(-2)
    slope = torch.linalg.solve(z.mT @ weighted, weighted.mT @ centred).mT  # s L
    found: Tensor = slope @ torch.linalg.pinv(factor, rtol=_SINGULAR)
    return found


def _bends(fields: Fields, head: Head, lam: Tensor, back: Tensor, w: Tensor) -> Tensor:
    r"""Return $E[g''(\lambda_k) d_k]$, shape `(..., C, K)`, kinks included.

    A kink at c where g' jumps by J contributes $J\,N(c; m_k, Q_{kk})\,E[d_k | \lambda_k = c]$;
    the conditional sample is $\lambda - (\lambda_k - c) Q_{\cdot k}/Q_{kk}$ of the same points,
    so no covariance is ever inverted and identical units are no special case.
    """
    activation = fields.activation
    if not activation.slopes:
        total = w @ (activation.second_derivative(lam) * back)
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
            output = outputs_of(head, activation(lam - shift))
            delta = w @ fields.loss.signal(output, head.labels.unsqueeze(-2))  # (..., C, O)
            conditional.append((delta * head.readout[..., k, :]).sum(-1))
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
    g, head = fields.activation(local_fields(fields, z)), Head.of(fields)
    output, labels = outputs_of(head, g), head.labels.unsqueeze(-2)
    values = {"pmse": 0.5 * (labels - output).square().sum(-1)}
    if fields.labels.ndim == 1 or fields.classes is not None:
        with torch.no_grad():
            lead = leads(output, labels)
            room = ZERO * lead_sizes(g.abs() @ head.readout.abs(), labels)
            level = lead.abs() <= room
            lost = (~level & (lead < 0)).any(-1)
            alike = level.sum(-1)  # outputs as large as that of the class
            wrong = torch.where(lost, 1.0, alike / (1.0 + alike))
        values["classification_error"] = wrong.to(output)
        values["tie_rate"] = (~lost & (alike > 0)).to(output)
    if not fields.loss.quadratic:
        values["loss"] = fields.loss.total(output, labels)
    found = dict.fromkeys(("classification_error", "classification_error_se"))
    for name, value in values.items():
        means = value.reshape(*value.shape[:-1], sets, -1).mean(-1)
        found[name] = means.mean(-1)
        found[f"{name}_se"] = means.detach().std(-1) / math.sqrt(sets)
    return Errors(**found)  # type: ignore[arg-type]


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
