"""Roots of a smooth vector field x' = F(x), reached along the flow, by damping, or by Newton.

All stop on the residual max |F|, never on a small change of a loss: a plateau is no fixed point.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from scipy.integrate import BDF

Field = Callable[[np.ndarray], np.ndarray]


class Root(NamedTuple):
    """Where a solver ended.

    Attributes:
        x: the state, shape `(n,)`.
        residual: max |F(x)|, in units of 1/t.
        evaluations: of F.
        converged: whether the residual is within the tolerance.
    """

    x: np.ndarray
    residual: float
    evaluations: int
    converged: bool


class Counter:
    """A field that counts its evaluations, up to a limit.

    Args:
        field: F.
        limit: how many evaluations are allowed.
    """

    def __init__(self, field: Field, limit: int) -> None:
        self._field = field
        self._limit = limit
        self.count = 0

    @property
    def left(self) -> int:
        """How many evaluations are left."""
        return self._limit - self.count

    def __call__(self, x: np.ndarray) -> np.ndarray:
        """Evaluate F."""
        self.count += 1
        return self._field(x)


def _size(value: np.ndarray) -> float:
    return float(np.abs(value).max()) if np.isfinite(value).all() else float("inf")


def jacobian(field: Field, x: np.ndarray) -> np.ndarray:
    """Return dF/dx by central differences.

    Args:
        field: F.
        x: shape `(n,)`.

    Returns:
        Shape `(n, n)`; good to about 1e-9 for a smooth F of order one, and not finite at the edge
        of where F is.
    """
    columns = []
    for i, value in enumerate(x):
        step = 1e-5 * max(1e-3, abs(value))
        shift = np.zeros_like(x)
        shift[i] = step
        with np.errstate(invalid="ignore"):
            columns.append((field(x + shift) - field(x - shift)) / (2 * step))
    return np.stack(columns, axis=1)


def damped(field: Field, x: np.ndarray, damping: float, tolerance: float, limit: int) -> Root:
    """Iterate x ← (1 - d)(x + F(x)) + d x, the state evolution of the 2021 code.

    Args:
        field: F.
        x: where to start.
        damping: d, from 0 to below 1.
        tolerance: for the residual.
        limit: how many evaluations are allowed.

    Returns:
        Where it ended.
    """
    for count in range(1, limit + 1):
        with np.errstate(over="ignore", invalid="ignore"):
            slope = field(x)
        residual = _size(slope)
        if residual <= tolerance or not np.isfinite(residual):
            return Root(x, residual, count, residual <= tolerance)
        x = x + (1 - damping) * slope
    return Root(x, residual, limit, False)


def newton(field: Counter, x: np.ndarray, tolerance: float) -> Root:
    """Iterate Newton's method while the residual falls.

    Args:
        field: F.
        x: where to start, near a root.
        tolerance: for the residual.

    Returns:
        The best state met.
    """
    slope = field(x)
    best = Root(x, _size(slope), field.count, _size(slope) <= tolerance)
    while not best.converged and field.left > 2 * len(x) + 1:
        slopes = jacobian(field, best.x)
        if not np.isfinite(slopes).all():
            break
        # Least squares: a symmetry of the problem makes the Jacobian singular along it.
        step = np.linalg.lstsq(slopes, -slope, rcond=1e-12)[0]
        candidate = best.x + step
        new = field(candidate)
        if not _size(new) < 0.9 * best.residual:
            break
        slope = new
        best = Root(candidate, _size(new), field.count, _size(new) <= tolerance)
    return best._replace(evaluations=field.count)


def along_the_flow(field: Counter, x: np.ndarray, tolerance: float) -> Root:
    """Follow the flow itself with an implicit solver, then polish with Newton's method.

    The flow leads to the fixed point that the dynamics reaches, past any saddle on its way. Newton
    starts when the residual has fallen far, and is taken up only if it ends near by.

    Args:
        field: F.
        x: where to start.
        tolerance: for the residual.

    Returns:
        Where it ended.
    """
    near = 1e-6
    start = _size(field(x))
    solver = BDF(lambda _, y: field(y), 0.0, x, t_bound=1e12, rtol=1e-6, atol=1e-9)
    x, residual = solver.y, start
    while solver.status == "running" and field.left > 2 * len(x):
        solver.step()
        if not np.isfinite(solver.y).all():
            return Root(x, float("inf"), field.count, False)
        x, residual = solver.y, _size(field(solver.y))
        if residual <= near:
            polished = newton(field, x, tolerance)
            if polished.converged and np.abs(polished.x - x).max() < 0.05:
                return polished
            # A slow place on the way, a saddle say: go on and look again much further down.
            near = residual / 100
            if near < tolerance:
                return polished
    return Root(x, residual, field.count, residual <= tolerance)
