r"""Closed forms for pairs of units; beyond pairs, exact along one direction and points across it.

All moments but the noise involve at most two units, and those are closed forms (`_pairs.py`). The
noise of more units is integrated exactly along lines and averaged over them (`_lines.py`): an
average of matrices that are positive semi-definite. Mixing it with closed forms for pairs is no
more accurate, and its small eigenvalues, which part units that merge, have either sign then. Both
exist twice: compiled for plain numbers on the CPU (`_kernels_pairs.py`, `_kernels_lines.py`), and
in torch for gradients and other devices. The tests hold one against the other. That is for the
square loss; of any other, closed forms give what is linear in the output, and lines the rest
(`_any_loss.py`).
"""

from __future__ import annotations

import math
from functools import partial
from typing import final

import numpy as np
import torch
from scipy.special import ndtri
from scipy.stats import qmc
from torch import Tensor

from gmmdyn import Loss, checks
from gmmdyn.gaussian import PiecewiseLinear, field_factor
from gmmdyn.interfaces import Activation, Errors, Fields, Integrator, Moments
from gmmdyn_integrators import _pairs
from gmmdyn_integrators._any_loss import AnyLoss
from gmmdyn_integrators._compiled import compiled, may_compile, rows
from gmmdyn_integrators._error_rate import RELATIVE, error_rate
from gmmdyn_integrators._lines import across, cut, generic_direction, noise
from gmmdyn_integrators._obstacles import refuse
from gmmdyn_integrators._outputs import Exact
from gmmdyn_integrators._piecewise_rate import piecewise
from gmmdyn_integrators._scramblings import Scramblings

# Independent scramblings, of the moments and of the loss, whose scatter is its estimated error.
_SETS, _LOSS_SETS = 4, 8


@final
class PreIntegrated(Integrator):
    """The integrator of choice for piecewise-linear activations such as ReLU.

    Smooth in the state, which an adaptive solver needs. With the square loss, drift and pmse are
    exact. The noise term, which enters with the square of the learning rate, is an average over
    lines of exact integrals along them: positive semi-definite whatever the lines, with an error
    that falls as their number to the power -3/4 or faster. For one or two hidden units, and for no
    kinks, all moments are exact. The classification error is exact along other lines, as many as
    `tolerance` takes. It does not describe curved activations.

    With another loss the part of the error signal that is linear in the output is treated so, and
    what is left of it is averaged over the same lines, integrated along them to about 1e-10; the
    pmse stays exact, and one hidden unit is exact to 1e-9. The loss has an error of its own, from
    eight scramblings. This holds for losses whose curvature changes on a scale of the output of one
    or more, as that of the logistic loss does.

    Moments and errors can be differentiated; a compiled loop serves where no gradient is asked for.
    Where two units are equal or opposite to rounding, some derivatives are infinite, and those
    with respect to their correlation are given as 0.

    Args:
        log2_lines: the binary logarithm of the number of lines, from 2 to 18.
        seed: of the scrambling.
        tolerance: of the classification error: its estimated error is below this share of it or
            1e-6, if 16,384 lines (below the default 65,536) reach that; positive.

    Raises:
        RangeError: if an argument is out of range.

    References:
        Griebel, Kuo, Sloan, The smoothing effect of integration in R^d and the ANOVA decomposition,
        Mathematics of Computation 82, 383 (2013), for why integrating one direction out helps;
        the moments are derived in docs, "Theory".
    """

    def __init__(self, log2_lines: int = 9, seed: int = 0, tolerance: float = RELATIVE) -> None:
        super().__init__()
        self._log2 = checks.whole("log2_lines", log2_lines, at_least=2)
        checks.number("log2_lines", log2_lines, at_most=18)
        self._seed = checks.whole("seed", seed, at_least=0)
        self._tolerance = checks.number("tolerance", tolerance, above=0)
        self._hidden = 0
        self._scramblings = Scramblings(0, self._seed)
        self._pieces: dict[tuple[object, ...], PiecewiseLinear] = {}
        for name in ("_along", "_across", "_points", "_loss_points"):
            self.register_buffer(name, torch.empty(0, dtype=torch.float64), persistent=False)

    @property
    def smooth(self) -> bool:
        """True: a break moves smoothly with the state."""
        return True

    @property
    def relative_error(self) -> float:
        """That of the largest noise moment: 0.2 K over the number of lines to the power 3/4.

        Measured over random states of 3 to 16 units with one kink or two and the square loss. A
        bound for every loss: other moments of other losses have smaller errors, the square loss has
        none in them, and in the noise of two units neither. 1e-10 for one unit, from the nodes
        along the line. Of four units before `prepare` was called.
        """
        hidden = self._hidden or 4
        return 1e-10 if hidden == 1 else float(0.2 * hidden * 2.0 ** (-0.75 * self._log2))

    def obstacle(
        self, activation: Activation, loss: Loss, hidden: int, outputs: int = 1
    ) -> str | None:
        """Describe piecewise-linear activations; see `Integrator.obstacle`."""
        if not activation.slopes:
            return (
                "the integrator `preintegrated` describes piecewise-linear activations, which "
                f"declare `slopes`, and {type(activation).__name__} does not; take `sobol`."
            )
        if loss.kinks or (outputs > 1 and not loss.quadratic):
            what = "an error signal with kinks" if loss.kinks else f"{outputs} outputs"
            return (
                "the integrator `preintegrated` describes several outputs with the square loss, "
                "and one output with any loss whose error signal is smooth, and not "
                f"{type(loss).__name__} with {what}; take `sobol`."
            )
        return None

    def prepare(self, hidden: int) -> None:
        """Place the lines; see `Integrator.prepare`."""
        if hidden == self._hidden:
            return
        self._hidden = hidden
        like = self.get_buffer("_along")
        along = generic_direction(hidden)
        points = self._placed(hidden, _SETS)
        self._scramblings = Scramblings(hidden - 1, self._seed)
        self._points = points.to(like)
        self._loss_points = self._placed(hidden, _LOSS_SETS).to(like)
        self._along = along.to(like)
        self._across = across(along, self.get_buffer("_points").to(along)).to(like)

    def _placed(self, hidden: int, sets: int) -> Tensor:
        """Return standard normal points across the lines, one independent set after the other."""
        if hidden == 1:
            return torch.zeros(1, 0, dtype=torch.float64)
        generator = np.random.default_rng(self._seed)
        each = max(0, self._log2 - (sets - 1).bit_length())
        engines = [qmc.Sobol(hidden - 1, scramble=True, rng=generator) for _ in range(sets)]
        uniform = np.concatenate([engine.random_base2(each) for engine in engines])
        return torch.from_numpy(ndtri(np.clip(uniform, 2.0**-40, 1 - 2.0**-40)))

    def moments(self, fields: Fields) -> Moments:
        """Compute the moments; see `Integrator.moments`.

        Raises:
            IncompatibleError: as `obstacle` says.
        """
        pieces = self._describe(fields)
        if not fields.loss.quadratic:
            return self._any_loss(pieces, fields, "_points").moments()
        if may_compile(fields):
            return self._compiled(pieces, fields, self.get_buffer("_across")).moments
        found = _pairs.moments(pieces, fields)
        if self._hidden > 2 and len(pieces.kinks):
            along = self.get_buffer("_along").to(fields.mean)
            points = self.get_buffer("_points").to(fields.mean)
            lines = cut(fields, along.unsqueeze(0), points)
            return found.moments._replace(noise=noise(lines, fields))
        return found.moments

    def errors(self, fields: Fields) -> Errors:
        """Compute the errors; see `Integrator.errors`.

        Raises:
            IncompatibleError: as `obstacle` says.
        """
        pieces = self._describe(fields)
        _, pmse, slope = self._exact(pieces, fields)
        method = piecewise(pieces, may_compile(fields))
        rates = error_rate(fields, slope, self._scramblings, method, self._tolerance)
        found = Errors(pmse, pmse_se=torch.zeros_like(pmse), **rates._asdict())
        if fields.loss.quadratic:
            return found
        lines = self._any_loss(pieces, fields, "_loss_points").loss()
        if self._hidden == 1:
            return found._replace(loss=lines[..., 0], loss_se=torch.zeros_like(pmse))
        means = lines.reshape(*pmse.shape, _LOSS_SETS, -1).mean(-1)
        error = means.detach().std(-1) / math.sqrt(_LOSS_SETS)
        return found._replace(loss=means.mean(-1), loss_se=error)

    def _describe(self, fields: Fields) -> PiecewiseLinear:
        activation = fields.activation
        refuse(self.obstacle(activation, fields.loss, self._hidden, fields.outputs))
        key = (type(activation), activation.kinks, activation.slopes)
        if key not in self._pieces:
            self._pieces[key] = PiecewiseLinear.of(activation)
        return self._pieces[key]

    def _any_loss(self, pieces: PiecewiseLinear, fields: Fields, lines: str) -> AnyLoss:
        along = self.get_buffer("_along").to(fields.mean)
        points = self.get_buffer(lines).to(fields.mean)
        return AnyLoss(fields, partial(self._exact, pieces), along, points)

    def _exact(self, pieces: PiecewiseLinear, fields: Fields) -> Exact:
        """Return what pairs of units determine, for the square loss."""
        if may_compile(fields):
            none = torch.empty(0, self._hidden, dtype=torch.float64)
            return self._compiled(pieces, fields, none)
        return _pairs.moments(pieces, fields)

    def _compiled(self, pieces: PiecewiseLinear, fields: Fields, lines: Tensor) -> Exact:
        """Return what pairs determine, and the noise of more units if there are lines."""
        from gmmdyn_integrators import _kernels_pairs as kernels  # numba is heavy

        square = (*fields.mean.shape, fields.mean.shape[-1])
        factor = rows(field_factor(fields.covariance), square, 2)
        along = self.get_buffer("_along").numpy()
        return compiled(kernels.moments, fields, factor, along, lines.numpy(), *pieces)
