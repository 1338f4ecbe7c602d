"""Closed forms for straight units and for erf units."""

from __future__ import annotations

import math
from typing import final

import torch
from torch import Tensor

from gmmdyn import Loss, checks
from gmmdyn.interfaces import Activation, Errors, Fields, Integrator, Moments
from gmmdyn_integrators import _erf
from gmmdyn_integrators._compiled import may_compile, rows
from gmmdyn_integrators._crossings import SMOOTH
from gmmdyn_integrators._erf import Closed
from gmmdyn_integrators._error_rate import RELATIVE, error_rate
from gmmdyn_integrators._obstacles import refuse, square_loss_only
from gmmdyn_integrators._scramblings import Scramblings


@final
class ClosedForm(Integrator):
    r"""Moments and pmse of linear and erf units without any integration error.

    For straight activations (`slopes` without kinks) everything is a moment of one Gaussian, the
    classification error too. For $g(x) = \operatorname{erf}(x/\sqrt2)$, which an activation
    declares by `closed_form = "erf"`, a slope tilts the Gaussian of the fields, and what is left
    are bivariate normal probabilities, about $K^4$ of them; the classification error is exact along
    lines, as many as `tolerance` takes. The square loss only.

    Moments and errors can be differentiated; a compiled loop serves where no gradient is asked for.

    Args:
        seed: of the lines of the classification error.
        tolerance: of the classification error: its estimated error is below this share of it or
            1e-6, if 16,384 lines (below the default 65,536) reach that; positive.

    Raises:
        RangeError: if an argument is out of range.

    References:
        Saad and Solla, Physical Review E 52, 4225 (1995), for means of zero; derived in docs,
        "Theory".
    """

    def __init__(self, seed: int = 0, tolerance: float = RELATIVE) -> None:
        super().__init__()
        self._seed = checks.whole("seed", seed, at_least=0)
        self._tolerance = checks.number("tolerance", tolerance, above=0)
        self._hidden = 0
        self._scramblings = Scramblings(0, self._seed)

    @property
    def smooth(self) -> bool:
        """True."""
        return True

    @property
    def relative_error(self) -> float:
        """That of rounding and of the bivariate normal cdf."""
        return 1e-14

    def obstacle(self, activation: Activation, loss: Loss, hidden: int) -> str | None:
        """Describe straight and erf activations with the square loss; see `Integrator.obstacle`."""
        if not _straight(activation) and activation.closed_form != "erf":
            other = "preintegrated" if activation.slopes else "sobol"
            return (
                "the integrator `closed-form` describes straight activations and the error "
                f"function, and not {type(activation).__name__}; take `{other}`."
            )
        return square_loss_only("closed-form", loss)

    def prepare(self, hidden: int) -> None:
        """Place the lines of the classification error; see `Integrator.prepare`."""
        if hidden != self._hidden:
            self._hidden = hidden
            self._scramblings = Scramblings(hidden - 1, self._seed)

    def moments(self, fields: Fields) -> Moments:
        """Compute the moments; see `Integrator.moments`.

        Raises:
            IncompatibleError: as `obstacle` says.
        """
        return self._closed(fields).moments

    def errors(self, fields: Fields) -> Errors:
        """Compute the errors; see `Integrator.errors`.

        Raises:
            IncompatibleError: as `obstacle` says.
        """
        found = self._closed(fields)
        none = torch.zeros_like(found.pmse).detach()
        if _straight(fields.activation):
            rate, tie = _straight_error_rate(fields)
            return Errors(found.pmse, rate, none, none, tie_rate=tie, tie_rate_se=none)
        rates = error_rate(fields, found.slope, self._scramblings, SMOOTH, self._tolerance)
        return Errors(found.pmse, pmse_se=none, **rates._asdict())

    def _closed(self, fields: Fields) -> Closed:
        refuse(self.obstacle(fields.activation, fields.loss, self._hidden))
        if _straight(fields.activation):
            return _straight_moments(fields)
        return _compiled(fields) if may_compile(fields) else _erf.moments(fields)


def _straight(activation: Activation) -> bool:
    return len(activation.slopes) == 1


def _output(fields: Fields) -> tuple[float, Tensor, Tensor, Tensor]:
    """Return the slope and offset of g, and mean and variance of the output, `(..., C)`."""
    slope = fields.activation.slopes[0]
    offset = fields.activation(torch.zeros((), dtype=fields.mean.dtype)).to(fields.mean)
    v = fields.readout.unsqueeze(-2)
    mean = ((offset + slope * fields.mean) * v).sum(-1)
    spread = (v.unsqueeze(-2) @ fields.covariance @ v.unsqueeze(-1)).squeeze((-2, -1))
    return slope, offset, mean, slope**2 * spread.expand(mean.shape)


def _straight_moments(fields: Fields) -> Closed:
    slope, offset, mean, variance = _output(fields)
    v = fields.readout.unsqueeze(-2)
    rest = (fields.labels.to(mean) - mean).unsqueeze(-1)  # E[Delta]
    square = rest.squeeze(-1) ** 2 + variance
    wide = torch.ones_like(fields.mean)
    pairs = (v * wide).unsqueeze(-1) * (v * wide).unsqueeze(-2)
    stir = (fields.covariance @ v.unsqueeze(-1)).squeeze(-1)  # Cov(lambda, phi)/slope
    moments = Moments(
        drive=slope * rest * v * wide,
        noise=slope**2 * square[..., None, None] * pairs,
        stein=-(slope**2) * pairs,
        readout=(offset + slope * fields.mean) * rest - slope**2 * stir,
    )
    return Closed(moments, 0.5 * square, slope * wide)


def _straight_error_rate(fields: Fields) -> tuple[Tensor, Tensor]:
    """Return P(y phi < 0) + P(phi = 0)/2 and P(phi = 0) of a Gaussian output."""
    _, _, mean, variance = _output(fields)
    margin = fields.labels.to(mean) * mean
    sure = variance <= 0
    ratio = margin / torch.where(sure, torch.ones_like(variance), variance).sqrt()
    tie = (sure & (margin == 0)).to(mean)
    return torch.where(sure, (margin < 0).to(mean) + 0.5 * tie, torch.special.ndtr(-ratio)), tie


def _compiled(fields: Fields) -> Closed:
    from gmmdyn_integrators import _kernels_erf as kernels  # numba is heavy

    shape = tuple(fields.mean.shape)
    square = (*shape, shape[-1])
    drive, signal, slope = (torch.empty(shape, dtype=torch.float64) for _ in range(3))
    noise, stein = (torch.empty(square, dtype=torch.float64) for _ in range(2))
    pmse = torch.empty(math.prod(shape[:-1]), dtype=torch.float64)
    kernels.moments(
        rows(fields.mean, shape, 1),
        rows(fields.covariance, square, 2),
        rows(fields.readout.unsqueeze(-2), shape, 1),
        rows(fields.labels, shape[:-1], 0),
        rows(drive, shape, 1),
        rows(noise, square, 2),
        rows(stein, square, 2),
        rows(signal, shape, 1),
        pmse.numpy(),
        rows(slope, shape, 1),
    )
    return Closed(Moments(drive, noise, stein, signal), pmse.reshape(shape[:-1]), slope)
