"""Tensor products of Gauss–Hermite rules, for few units and smooth activations."""

from __future__ import annotations

import math
from typing import final

import numpy as np
import torch
from torch import Tensor

from gmmdyn import Loss, checks
from gmmdyn.interfaces import Activation, Errors, Fields, Integrator, Moments
from gmmdyn_integrators import _points
from gmmdyn_integrators._crossings import SMOOTH
from gmmdyn_integrators._error_rate import RELATIVE, error_rate
from gmmdyn_integrators._obstacles import refuse
from gmmdyn_integrators._outputs import Head
from gmmdyn_integrators._scramblings import Scramblings

# Points in all; beyond that points without an order are better.
_LARGEST = 2**17
# Points whose weight is less than this do not count.
_LIGHT = 1e-20


@final
class GaussHermite(Integrator):
    """Gauss–Hermite quadrature in every direction of the space of local fields.

    The error falls exponentially with the points for an activation that is smooth on the scale of
    the fields' deviations, and the number of all points grows as the power K. The error of the pmse
    (and of the loss) is estimated by a rule of two thirds of the points; the classification error
    is exact along lines, as many as `tolerance` takes. Any loss;
    no kinks. Moments and errors can be differentiated.

    Args:
        points: in each direction, from 4 to 200.
        seed: of the lines of the classification error.
        tolerance: of the classification error: its estimated error is below this share of it or
            1e-6, if 16,384 lines (below the default 65,536) reach that; positive.

    Raises:
        RangeError: if an argument is out of range.
    """

    def __init__(self, points: int = 32, seed: int = 0, tolerance: float = RELATIVE) -> None:
        super().__init__()
        self._count = checks.whole("points", points, at_least=4)
        checks.number("points", points, at_most=200)
        self._seed = checks.whole("seed", seed, at_least=0)
        self._tolerance = checks.number("tolerance", tolerance, above=0)
        self._hidden = 0
        self._scramblings = Scramblings(0, self._seed)
        for name in ("_z", "_weights", "_z_fewer", "_weights_fewer"):
            self.register_buffer(name, torch.empty(0, dtype=torch.float64), persistent=False)
        nodes, weights = _rule(self._count)
        found = float(weights @ np.exp(-2 * nodes**2))
        self._error = max(abs(found - 1 / math.sqrt(5)), 1e-15)

    @property
    def smooth(self) -> bool:
        """False: with kinks, an average over points is a step function of the state."""
        return False

    @property
    def relative_error(self) -> float:
        """The error of E[exp(-2x²)], x of unit variance, as of the fourth power of erf's slope."""
        return self._error

    def obstacle(
        self, activation: Activation, loss: Loss, hidden: int, outputs: int = 1
    ) -> str | None:
        """Describe few smooth units; see `Integrator.obstacle`."""
        if loss.kinks:
            return (
                "the integrator `gauss-hermite` describes smooth error signals, and that of "
                f"{type(loss).__name__} has kinks; take `sobol`."
            )
        if not activation.smooth:
            other = "preintegrated" if activation.slopes and loss.quadratic else "sobol"
            return (
                "the integrator `gauss-hermite` describes smooth activations, and "
                f"{type(activation).__name__} has kinks; take `{other}`."
            )
        return self._crowd(hidden)

    def _crowd(self, hidden: int) -> str | None:
        """Return a sentence if there would be too many points."""
        if self._count**hidden > _LARGEST:
            return (
                f"the integrator `gauss-hermite` would need {self._count}^{hidden} points for "
                f"{hidden} hidden units; take `sobol`, or fewer `points` (at most {_LARGEST} in "
                "all)."
            )
        return None

    def prepare(self, hidden: int) -> None:
        """Place the points; see `Integrator.prepare`.

        Raises:
            IncompatibleError: if there would be too many.
        """
        if hidden == self._hidden:
            return
        refuse(self._crowd(hidden))
        self._hidden = hidden
        like = self.get_buffer("_z")
        for name, count in (("", self._count), ("_fewer", 2 * self._count // 3)):
            z, weights = _product(count, hidden)
            setattr(self, f"_z{name}", z.to(like))
            setattr(self, f"_weights{name}", weights.to(like))
        self._scramblings = Scramblings(hidden - 1, self._seed)

    def moments(self, fields: Fields) -> Moments:
        """Compute the moments; see `Integrator.moments`.

        Raises:
            IncompatibleError: as `obstacle` says.
        """
        refuse(self.obstacle(fields.activation, fields.loss, self._hidden, fields.outputs))
        return _points.moments(fields, self.get_buffer("_z"), self.get_buffer("_weights"))

    def errors(self, fields: Fields) -> Errors:
        """Compute the errors; see `Integrator.errors`.

        Raises:
            IncompatibleError: as `obstacle` says.
        """
        refuse(self.obstacle(fields.activation, fields.loss, self._hidden, fields.outputs))
        pmse, loss, slope = self._means(fields, "")
        with torch.no_grad():
            pmse_fewer, loss_fewer, _ = self._means(fields, "_fewer")
        rates = error_rate(fields, slope, self._scramblings, SMOOTH, self._tolerance)
        return Errors(
            pmse,
            pmse_se=(pmse.detach() - pmse_fewer).abs(),
            loss=None if fields.loss.quadratic else loss,
            loss_se=None if fields.loss.quadratic else (loss.detach() - loss_fewer).abs(),
            **rates._asdict(),
        )

    def _means(self, fields: Fields, name: str) -> tuple[Tensor, Tensor, Tensor]:
        """Return pmse, mean loss and mean slopes by one of the rules."""
        z, weights = self.get_buffer(f"_z{name}"), self.get_buffer(f"_weights{name}")
        lam = _points.local_fields(fields, z)
        head = Head.of(fields)
        labels = head.labels.unsqueeze(-2)
        output = _points.outputs_of(head, fields.activation(lam))
        w = weights.to(lam)
        pmse = (0.5 * (labels - output).square().sum(-1)) @ w
        loss = fields.loss.total(output, labels) @ w
        return pmse, loss, w @ fields.activation.derivative(lam)


def _rule(count: int) -> tuple[np.ndarray, np.ndarray]:
    nodes, weights = np.polynomial.hermite_e.hermegauss(count)
    return nodes, weights / weights.sum()


def _product(count: int, hidden: int) -> tuple[Tensor, Tensor]:
    """Return the points `(S, K)` and weights `(S,)` of a tensor rule."""
    nodes, weights = _rule(count)
    grid = np.stack(np.meshgrid(*[nodes] * hidden, indexing="ij"), axis=-1).reshape(-1, hidden)
    each = np.stack(np.meshgrid(*[weights] * hidden, indexing="ij"), axis=-1).reshape(-1, hidden)
    product = each.prod(-1)
    kept = product > _LIGHT
    return torch.from_numpy(grid[kept]), torch.from_numpy(product[kept])
