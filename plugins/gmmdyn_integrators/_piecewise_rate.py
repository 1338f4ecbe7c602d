"""Probabilities of error of piecewise-linear networks along lines."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from gmmdyn.gaussian import PiecewiseLinear
from gmmdyn_integrators._bundles import Bundle
from gmmdyn_integrators._error_rate import Method
from gmmdyn_integrators._lines import on_lines, wrong

# Units that are off on average change the output's sign in places that few lines meet.
_FEWEST = 2**6


def piecewise(pieces: PiecewiseLinear, compiled: bool) -> Method:
    """Return how piecewise-linear units are treated.

    Args:
        pieces: the activation.
        compiled: whether a compiled loop may serve.

    Returns:
        The method.
    """
    ends = [-math.inf, *pieces.kinks.tolist(), math.inf]
    silent = np.flatnonzero((pieces.slopes == 0) & (pieces.offsets == 0))
    quiet = None if silent.size == 0 else (ends[silent[0]], ends[silent[0] + 1])
    return Method(_Compiled(pieces) if compiled else _differentiable, _FEWEST, quiet)


def _differentiable(lines: Bundle, points: Tensor) -> tuple[Tensor, Tensor]:
    cut = on_lines(lines.activation, lines.start(points), lines.pace)
    failed, tied = wrong(cut, lines.readout, lines.labels)
    return failed.sum(-1), tied.sum(-1)


class _Compiled:
    def __init__(self, pieces: PiecewiseLinear) -> None:
        self._parts = (pieces.kinks, pieces.offsets, pieces.slopes)

    def __call__(self, lines: Bundle, points: Tensor) -> tuple[Tensor, Tensor]:
        if lines.labels.shape[-1] > 1:
            return _differentiable(lines, points)
        from gmmdyn_integrators import _kernels_lines as kernels  # numba is heavy

        failed, tied = (np.empty((len(lines.mean), len(points))) for _ in range(2))
        parts = (*lines[:3], lines.readout.squeeze(-1))
        arrays = [np.ascontiguousarray(part.detach().numpy()) for part in parts]
        place = np.ascontiguousarray(points.numpy())
        each = zip(*arrays, lines.labels[:, 0].tolist(), failed, tied, strict=True)
        for mean, shift, pace, readout, label, out, ties in each:
            kernels.wrong(mean, shift, pace, readout, label, *self._parts, place, out, ties)
        return torch.from_numpy(failed), torch.from_numpy(tied)
