r"""Linear equations along a path: dC/dt = J C + C Jᵀ + B and dm/dt = J m + c.

Over one step J, B and c are quadratic in t, through their values at both ends and in the middle,
and the solution is the exponential of Magnus's series to fourth order: of [[J, B], [0, -Jᵀ]] for
the covariance, of [[J, c], [0, 0]] for the mean. It is exact for constant coefficients whatever the
step, so fast rates of decay do not limit it.

References:
    Magnus, Communications on Pure and Applied Mathematics 7, 649 (1954); Blanes, Casas, Oteo, Ros,
    Physics Reports 470, 151 (2009), section 5.4; Van Loan, IEEE Transactions on Automatic Control
    23, 395 (1978), for the integral of the noise.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.linalg import expm

# The exponential of the noise is taken of generators below this norm, and squared.
_SMALL = 1.0


class Step(NamedTuple):
    """Linear maps over steps, each with a first axis for the steps.

    Attributes:
        carried: what a deviation becomes, F, shape `(N, n, n)`.
        gathered: covariance of the noise gathered on the way, shape `(N, n, n)`.
    """

    carried: np.ndarray
    gathered: np.ndarray


def halves(values: np.ndarray) -> np.ndarray:
    """Return values at the ends and in the middle of each half of a step, by a parabola.

    Args:
        values: at the start, the middle and the end of N steps, shape `(3, N, ...)`.

    Returns:
        Shape `(2, 3, N, ...)`.
    """
    start, middle, end = values
    first = (3 * start + 6 * middle - end) / 8
    second = (3 * end + 6 * middle - start) / 8
    return np.stack([[start, first, middle], [middle, second, end]])


def covariance_steps(slopes: np.ndarray, noise: np.ndarray, lengths: np.ndarray) -> Step:
    """Return the maps of deviations and the noise gathered over steps.

    Args:
        slopes: J at start, middle and end, shape `(3, N, n, n)`.
        noise: B there, shape `(3, N, n, n)`.
        lengths: of the steps, shape `(N,)`.

    Returns:
        The maps.
    """
    size = slopes.shape[-1]
    h = lengths[:, None, None]
    (j0, _, j2), (b0, _, b2) = slopes, noise
    x = h / 6 * (j0 + 4 * slopes[1] + j2) - h**2 / 12 * (j0 @ j2 - j2 @ j0)
    mixed = j0 @ b2 - b0 @ _turned(j2) - j2 @ b0 + b2 @ _turned(j0)
    y = h / 6 * (b0 + 4 * noise[1] + b2) - h**2 / 12 * mixed
    norm = np.abs(x).sum(-1).max(initial=0.0)
    doublings = max(0, int(np.ceil(np.log2(max(norm, 1e-300) / _SMALL))))
    generator = np.zeros((len(x), 2 * size, 2 * size))
    generator[:, :size, :size], generator[:, :size, size:] = x, y
    generator[:, size:, size:] = -_turned(x)
    grown = expm(generator / 2**doublings)
    carried = grown[:, :size, :size]
    gathered = grown[:, :size, size:] @ _turned(carried)
    for _ in range(doublings):
        gathered = gathered + carried @ gathered @ _turned(carried)
        carried = carried @ carried
    return Step(carried, (gathered + _turned(gathered)) / 2)


def mean_steps(slopes: np.ndarray, forces: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """Return what the forces add to the mean over steps.

    Args:
        slopes: J at start, middle and end, shape `(3, N, n, n)`.
        forces: c there, shape `(3, N, n)`.
        lengths: of the steps, shape `(N,)`.

    Returns:
        Shape `(N, n)`.
    """
    size = slopes.shape[-1]
    h = lengths[:, None, None]
    affine = np.zeros((*slopes.shape[:2], size + 1, size + 1))
    affine[..., :size, :size], affine[..., :size, size] = slopes, forces
    start, middle, end = affine
    generator = h / 6 * (start + 4 * middle + end) - h**2 / 12 * (start @ end - end @ start)
    return np.asarray(expm(generator)[:, :size, size])


def _turned(matrices: np.ndarray) -> np.ndarray:
    return matrices.swapaxes(-1, -2)
