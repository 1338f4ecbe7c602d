"""The Bayes error of clusters whose centres lie on a line: exact, for any number of classes."""

from __future__ import annotations

from collections.abc import Callable
from itertools import combinations, pairwise

import numpy as np
import numpy.typing as npt
from scipy.optimize import brentq
from scipy.special import ndtr

Array = npt.NDArray[np.float64]


def error_on_a_line(positions: Array, weights: Array) -> float:
    """Add the normal tails of all classes but the likeliest, between the points where it changes.

    Args:
        positions: of distinct centres of clusters with unit noise, shape `(S,)`.
        weights: probability of each class at each centre, shape `(S, O)`; need not sum to one.

    Returns:
        The probability of a point of these weights and of another class than the likeliest.
    """
    order = np.argsort(positions)
    position, weights = positions[order], weights[order]
    changes: list[float] = []
    for one, two in combinations(weights.T, 2):
        # The difference of their densities at t is exp(-t²/2) times a sum of exponentials of t.
        excess = two - one
        kept = excess != 0
        log_size = np.log(np.abs(excess[kept])) - position[kept] ** 2 / 2
        changes += _sign_changes(position[kept], np.sign(excess[kept]), log_size)
    changes = sorted(changes) or [0.0]
    error = 0.0
    for low, high in pairwise([-np.inf, *changes, np.inf]):
        below, above = low - position, high - position
        # Differences are taken in the nearer tail, where they lose no digits.
        tail = np.where(below > 0, ndtr(-below) - ndtr(-above), ndtr(above) - ndtr(below))
        # Any point inside tells who is the likeliest.
        inside = (max(low, changes[0] - 1) + min(high, changes[-1] + 1)) / 2
        log_density = position * inside - position**2 / 2
        likelihood = np.exp(log_density - log_density.max()) @ weights
        error += float(tail @ np.delete(weights, likelihood.argmax(), axis=1).sum(axis=1))
    return error


def _sign_changes(rates: Array, signs: Array, log_sizes: Array) -> list[float]:
    r"""Return where $\sum_i s_i e^{l_i + a_i t}$ changes sign, for increasing rates $a_i$.

    All of them, by Rolle's theorem: divided by its first exponential, the sum has a derivative with
    one term fewer, and between two sign changes of that derivative it is monotonic.
    """
    n = len(rates)
    # Row j holds the log sizes after j such steps; only the terms from j on are left.
    steps = np.tile(log_sizes, (n, 1))
    for j in range(n - 1):
        steps[j + 1 :, j + 1 :] += np.log(rates[j + 1 :] - rates[j])
    roots: list[float] = []
    for j in reversed(range(n - 1)):

        def value(t: float, j: int = j) -> float:
            exponents = steps[j, j:] + rates[j:] * t
            return float(signs[j:] @ np.exp(exponents - exponents.max()))

        ends = roots or [0.0]
        low = _beyond(value, ends[0], -1.0, signs[j])
        high = _beyond(value, ends[-1], 1.0, signs[-1])
        knots = [(low, signs[j])]
        for t in roots:
            # A zero at an extremum is no change of sign.
            knots.append((t, np.sign(value(t)) or knots[-1][1]))
        knots.append((high, signs[-1]))
        roots = [
            float(brentq(value, left, right, xtol=1e-14, rtol=1e-14))
            for (left, before), (right, after) in pairwise(knots)
            if before != after
        ]
    return roots


def _beyond(value: Callable[[float], float], start: float, step: float, sign: float) -> float:
    """Go outwards until the outermost term has decided the sign."""
    while value(start + step) * sign <= 0:
        step *= 2
    return start + step
