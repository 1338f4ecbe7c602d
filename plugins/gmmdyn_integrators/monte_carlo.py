"""Plain Monte Carlo with points fixed once: the baseline, and the check of the others."""

from __future__ import annotations

from typing import final

import torch
from torch import Tensor

from gmmdyn import checks
from gmmdyn.interfaces import Errors, Fields
from gmmdyn_integrators._points import PointAverage, errors


@final
class MonteCarlo(PointAverage):
    """Averages over normal points that are drawn once from the seed.

    The error falls as one over the square root of `samples`. For an activation with kinks the
    result jumps when a point crosses a kink, so it is not smooth in the state: an adaptive solver
    must not ask for more accuracy than `relative_error`.

    Args:
        samples: how many points, at least 2.
        seed: of the points.

    Raises:
        RangeError: if an argument is out of range.
    """

    def __init__(self, samples: int = 20_000, seed: int = 0) -> None:
        super().__init__()
        self._samples = checks.whole("samples", samples, at_least=2)
        self._seed = checks.whole("seed", seed, at_least=0)

    @property
    def relative_error(self) -> float:
        """One over the square root of the number of samples."""
        return float(self._samples**-0.5)

    def place(self, hidden: int) -> Tensor:
        """Draw the points."""
        generator = torch.Generator().manual_seed(self._seed)
        return torch.randn(self._samples, hidden, generator=generator, dtype=torch.float64)

    def errors(self, fields: Fields) -> Errors:
        """Compute the errors; see `Integrator.errors`.

        The classification error, a count of points, has no gradient.
        """
        return errors(fields, self.get_buffer("_z"), self._samples)
