"""A piecewise-linear activation as numbers: what the sums of `preintegrated` need of it."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch

from gmmdyn.interfaces import Activation

# The polynomials of one unit, in the order of `Pieces.jumps`.
SLOPE, VALUE, SLOPE_VALUE, SLOPE_VALUE2, VALUE2, SLOPE2, SLOPE2_VALUE, SLOPE2_VALUE2 = range(8)
# The products of two units whose expectations are needed, by the numbers of `Pieces.jumps`: the
# first ones for the drift and the pmse, all of them for the noise of a network of two units.
DRIFT_PAIRS = 4
PAIRS = (
    *((0, 0), (0, 1), (1, 0), (1, 1)),
    *((2, 0), (0, 2), (3, 0), (0, 3), (2, 2), (5, 1), (6, 1), (5, 4), (1, 5), (1, 6), (4, 5)),
)


class Pieces(NamedTuple):
    """A piecewise-linear activation g.

    Attributes:
        kinks: where its slope changes, shape `(J,)`, increasing.
        offsets: of g(x) = o + s x on each piece, shape `(J + 1,)`.
        slopes: s, shape `(J + 1,)`.
        jumps: by how much the polynomials g', g, g'g, g'g², g², g'², g'²g and g'²g² (in this order)
            change at each kink: coefficients of 1, x and x², shape `(8, J + 1, 3)`. The first
            "kink" is minus infinity, where each changes from 0 to its first piece.
    """

    kinks: np.ndarray
    offsets: np.ndarray
    slopes: np.ndarray
    jumps: np.ndarray

    def hinges(self) -> list[tuple[float, float]]:
        """Return each kink and by how much the slope changes there."""
        return list(zip(self.kinks.tolist(), np.diff(self.slopes).tolist(), strict=True))


def pieces_of(activation: Activation) -> Pieces:
    """Return a piecewise-linear activation as numbers.

    Args:
        activation: one that declares its slopes.

    Returns:
        Its pieces.
    """
    kinks, s = np.array(activation.kinks, dtype=float), np.array(activation.slopes, dtype=float)
    anchor = min(activation.kinks, default=0.0)
    value = float(activation(torch.tensor([anchor], dtype=torch.float64)))
    # Continuity fixes the offsets of the other pieces.
    steps = np.concatenate([[value - s[0] * anchor], -np.diff(s) * kinks])
    o = np.cumsum(steps)
    zero = np.zeros_like(s)
    polynomials = [
        (s, zero, zero),
        (o, s, zero),
        (s * o, s**2, zero),
        (s * o**2, 2 * s**2 * o, s**3),
        (o**2, 2 * o * s, s**2),
        (s**2, zero, zero),
        (s**2 * o, s**3, zero),
        (s**2 * o**2, 2 * s**3 * o, s**4),
    ]
    coefficients = np.array(polynomials).swapaxes(1, 2)  # (8, J + 1, 3)
    return Pieces(kinks, o, s, np.ascontiguousarray(np.diff(coefficients, axis=1, prepend=0.0)))
