"""Closed forms for straight units and for erf units."""

from __future__ import annotations

from typing import final

import torch
from torch import Tensor

from gmmdyn import Loss, checks
from gmmdyn.interfaces import Activation, Errors, Fields, Integrator, Moments
from gmmdyn_integrators import _erf
from gmmdyn_integrators._compiled import compiled, may_compile
from gmmdyn_integrators._crossings import SMOOTH
from gmmdyn_integrators._error_rate import RELATIVE, error_rate
from gmmdyn_integrators._obstacles import refuse, square_loss_only
from gmmdyn_integrators._outputs import Exact, Head, shaped
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

    def obstacle(
        self, activation: Activation, loss: Loss, hidden: int, outputs: int = 1
    ) -> str | None:
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
        if _straight(fields.activation) and fields.labels.ndim == 1:
            rate, tie = _straight_error_rate(fields)
            return Errors(found.pmse, rate, none, none, tie_rate=tie, tie_rate_se=none)
        rates = error_rate(fields, found.slope, self._scramblings, SMOOTH, self._tolerance)
        return Errors(found.pmse, pmse_se=none, **rates._asdict())

    def _closed(self, fields: Fields) -> Exact:
        refuse(self.obstacle(fields.activation, fields.loss, self._hidden, fields.outputs))
        if _straight(fields.activation):
            return _straight_moments(fields)
        if may_compile(fields):
            from gmmdyn_integrators import _kernels_erf as kernels  # numba is heavy

            return compiled(kernels.moments, fields)
        return _erf.moments(fields)


def _straight(activation: Activation) -> bool:
    return len(activation.slopes) == 1


def _line(fields: Fields) -> tuple[float, Tensor]:
    """Return the slope of g, and its value at 0."""
    zero = torch.zeros((), dtype=fields.mean.dtype)
    return fields.activation.slopes[0], fields.activation(zero).to(fields.mean)


def _straight_moments(fields: Fields) -> Exact:
    (slope, offset), head = _line(fields), Head.of(fields)
    v, gram = head.readout, head.gram
    value = offset + slope * fields.mean  # E[g]
    rest = head.labels - (value.unsqueeze(-2) @ v).squeeze(-2)  # E[Delta], (..., C, O)
    stir = slope * fields.covariance @ v  # Cov(lambda, phi), (..., C or 1, K, O)
    square = rest.unsqueeze(-1) * rest.unsqueeze(-2) + slope * v.mT @ stir  # E[Delta Deltaᵀ]
    wide = torch.ones_like(fields.mean)
    moments = Moments(
        drive=slope * (v @ rest.unsqueeze(-1)).squeeze(-1),
        noise=slope**2 * (v @ square @ v.mT),
        stein=-(slope**2) * gram * torch.ones_like(wide.unsqueeze(-1)),
        readout=value.unsqueeze(-1) * rest.unsqueeze(-2) - slope * stir,
    )
    pmse = 0.5 * square.diagonal(dim1=-2, dim2=-1).sum(-1)
    return Exact(shaped(fields, moments), pmse, slope * wide)


def _straight_error_rate(fields: Fields) -> tuple[Tensor, Tensor]:
    """Return P(y phi < 0) + P(phi = 0)/2 and P(phi = 0) of a Gaussian output."""
    (slope, offset), v = _line(fields), fields.readout.unsqueeze(-2)
    mean = ((offset + slope * fields.mean) * v).sum(-1)
    spread = (v.unsqueeze(-2) @ fields.covariance @ v.unsqueeze(-1)).squeeze((-2, -1))
    variance = slope**2 * spread.expand(mean.shape)
    margin = fields.labels.to(mean) * mean
    sure = variance <= 0
    ratio = margin / torch.where(sure, torch.ones_like(variance), variance).sqrt()
    tie = (sure & (margin == 0)).to(mean)
    return torch.where(sure, (margin < 0).to(mean) + 0.5 * tie, torch.special.ndtr(-ratio)), tie
