"""Scrambled Sobol points: Monte Carlo with a much smaller error for the same cost."""

from __future__ import annotations

from typing import final

import numpy as np
import torch
from scipy.special import ndtri
from scipy.stats import qmc
from torch import Tensor

from gmmdyn import checks
from gmmdyn.gaussian import PiecewiseLinear
from gmmdyn.interfaces import Errors, Fields
from gmmdyn_integrators import _points
from gmmdyn_integrators._crossings import SMOOTH
from gmmdyn_integrators._error_rate import RELATIVE, error_rate
from gmmdyn_integrators._piecewise_rate import piecewise
from gmmdyn_integrators._scramblings import Scramblings

# Independent scramblings of the points of the errors, whose scatter is the estimated error.
_SETS = 8
# Points that choose the direction of the lines of the classification error.
_PILOTS = 2**10


@final
class Sobol(_points.PointAverage):
    """Averages over scrambled Sobol points sent through the inverse normal cdf.

    The error falls almost as one over the number of points for smooth activations and as about its
    power -(1/2 + 1/2K) with kinks; above twenty hidden units it is little better than Monte Carlo.
    The points are fixed, so that the result is deterministic; with kinks it is a step function of
    the state, as for Monte Carlo.

    The moments have one scrambling of all points. The pmse and the loss have eight of an eighth
    of the points each, and their scatter is the estimated error. The classification error is exact
    along lines, as many as `tolerance` takes; of an activation that is curved and has kinks it is a
    count of points.

    Args:
        log2_samples: the binary logarithm of the number of points, from 1 to 24.
        seed: of the scramblings.
        tolerance: of the classification error: its estimated error is below this share of it or
            1e-6, if 16,384 lines (below the default 65,536) reach that; positive.

    Raises:
        RangeError: if an argument is out of range.

    References:
        Owen, Scrambling Sobol' and Niederreiter-Xing points, Journal of Complexity 14, 466 (1998);
        He, Wang, On the convergence rate of randomized quasi-Monte Carlo for discontinuous
        functions, SIAM Journal on Numerical Analysis 53, 2488 (2015), for integrands that jump.
    """

    def __init__(self, log2_samples: int = 14, seed: int = 0, tolerance: float = RELATIVE) -> None:
        super().__init__()
        self._log2 = checks.whole("log2_samples", log2_samples, at_least=1)
        checks.number("log2_samples", log2_samples, at_most=24)
        self._seed = checks.whole("seed", seed, at_least=0)
        self._tolerance = checks.number("tolerance", tolerance, above=0)
        self._sets = min(_SETS, 2**self._log2)
        self._scramblings = Scramblings(0, self._seed)
        self.register_buffer("_z_sets", torch.empty(0, 0, dtype=torch.float64), persistent=False)

    @property
    def relative_error(self) -> float:
        """The number of points to the power -(1/2 + 1/2K), pessimistic for smooth activations.

        That is the order for integrands that jump in K dimensions, -3/4 before `prepare`. Noise
        moments of six ReLU units are off by twice that, root mean square over random networks.
        """
        dimensions = max(self.get_buffer("_z").shape[1], 2)
        return float(2.0 ** (-(0.5 + 0.5 / dimensions) * self._log2))

    def place(self, hidden: int) -> Tensor:
        """Place the points."""
        return _normal(qmc.Sobol(hidden, scramble=True, rng=self._seed), self._log2)

    def prepare(self, hidden: int) -> None:
        """Place the points and the lines once; see `Integrator.prepare`."""
        super().prepare(hidden)
        if self.get_buffer("_z_sets").shape[1] != hidden:
            rng = np.random.default_rng(self._seed)
            engines = [qmc.Sobol(hidden, scramble=True, rng=rng) for _ in range(self._sets)]
            each = self._log2 - (self._sets - 1).bit_length()
            points = torch.cat([_normal(engine, each) for engine in engines])
            self._z_sets = points.to(self.get_buffer("_z"))
            self._scramblings = Scramblings(hidden - 1, self._seed)

    def errors(self, fields: Fields) -> Errors:
        """Compute the errors; see `Integrator.errors`.

        The classification error of an activation that is curved and has kinks has no gradient.
        """
        z = self.get_buffer("_z_sets")
        found = _points.errors(fields, z, self._sets)
        activation = fields.activation
        if activation.smooth:
            method = SMOOTH
        elif activation.slopes:
            # numba takes longer to import than it would save in most solves.
            method = piecewise(PiecewiseLinear.of(activation), compiled=False)
        else:
            return found
        pilots = _points.local_fields(fields, z[:: max(1, len(z) // _PILOTS)])
        slope = activation.derivative(pilots).mean(-2)
        rates = error_rate(fields, slope, self._scramblings, method, self._tolerance)
        return found._replace(**rates._asdict())


def _normal(engine: qmc.Sobol, log2: int) -> Tensor:
    """Return standard normal points, shape `(2**log2, K)`."""
    # Scrambled points can be exactly 0, whose quantile is infinite.
    tiny = 2.0**-40
    return torch.from_numpy(ndtri(np.clip(engine.random_base2(log2), tiny, 1 - tiny)))
