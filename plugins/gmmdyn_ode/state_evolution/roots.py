"""Roots of a smooth field x' = F(x): by damping, acceleration or Newton's method.

All stop on the residual that the field reports, never on a small change of a loss: a plateau is no
fixed point.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

from gmmdyn_ode.solver import jacobian
from gmmdyn_ode.state_evolution.residual import Slope

# Newton's method takes at most so many steps, none of them shorter than this share.
_MOST_STEPS, _SHORTEST_SHARE = 30, 1 / 16


class FieldLike(Protocol):
    """What the solvers ask of a field."""

    @property
    def left(self) -> int:
        """How many evaluations are left."""

    def __call__(self, x: np.ndarray) -> Slope:
        """Return F and its size."""

    def many(self, points: np.ndarray) -> np.ndarray:
        """Return F at several points, shape `(N, n)`."""


class Root(NamedTuple):
    """Where a solver ended.

    Attributes:
        x: the point, shape `(n,)`.
        residual: its size, as the field measures it.
        converged: whether that is within the tolerance.
        contraction: by how much the first full step of Newton's method shortened the next one.
        slopes: dF/dx at the start of Newton's method, shape `(n, n)`.
    """

    x: np.ndarray
    residual: float
    converged: bool
    contraction: float = float("inf")
    slopes: np.ndarray | None = None


def slopes_of(
    field: FieldLike, x: np.ndarray, central: bool = False, enlarged: float = 1.0
) -> np.ndarray:
    """Return dF/dx by differences; see `gmmdyn_ode.solver.jacobian`.

    Args:
        field: F.
        x: shape `(n,)`.
        central: whether by central differences.
        enlarged: how many times the usual step.

    Returns:
        Shape `(n, n)`; not finite at the edge of where F is.
    """

    def function(_: Tensor, points: Tensor) -> Tensor:
        with np.errstate(invalid="ignore"):
            return torch.from_numpy(field.many(points.numpy()))

    return jacobian(function, 0.0, torch.from_numpy(x), central, enlarged=enlarged).numpy()


def damped(field: FieldLike, x: np.ndarray, damping: float, tolerance: float) -> Root:
    """Iterate x ← (1 - d)(x + F(x)) + d x, the state evolution of the 2021 code.

    Args:
        field: F.
        x: where to start.
        damping: d, from 0 to below 1.
        tolerance: for the residual.

    Returns:
        Where it ended.
    """
    root = Root(x, float("inf"), False)
    while field.left > 0:
        slope = field(x)
        root = Root(x, slope.residual, slope.residual <= tolerance)
        if root.converged or not np.isfinite(slope.residual):
            break
        x = x + (1 - damping) * slope.value
    return root


def anderson(
    field: FieldLike, x: np.ndarray, damping: float, tolerance: float, memory: int = 8
) -> Root:
    """Accelerate the damped iteration by the last few of its steps.

    Each new point is the damped step from the combination of the last points whose F, taken as
    linear, is smallest. A step after which the residual is a hundred times the best one is taken
    back and the memory cleared.

    Args:
        field: F.
        x: where to start.
        damping: d, as of `damped`.
        tolerance: for the residual.
        memory: how many differences of steps are kept.

    Returns:
        The best point met.

    References:
        Anderson, Journal of the ACM 12, 547 (1965); Walker and Ni, SIAM Journal on Numerical
        Analysis 49, 1715 (2011).
    """
    best = Root(x, float("inf"), False)
    best_value = np.zeros_like(x)
    points: list[np.ndarray] = []
    slopes: list[np.ndarray] = []
    while field.left > 0 and not best.converged:
        slope = field(x)
        if slope.residual < best.residual:
            best = Root(x, slope.residual, slope.residual <= tolerance)
            best_value = slope.value
        elif not slope.residual < 100 * best.residual:
            if not points or not np.isfinite(best.residual):
                break
            points, slopes = [], []
            x = best.x + (1 - damping) * best_value
            continue
        points.append(x)
        slopes.append(slope.value)
        points, slopes = points[-memory - 1 :], slopes[-memory - 1 :]
        x = x + (1 - damping) * slope.value
        if len(points) > 1:
            dx, df = np.diff(points, axis=0).T, np.diff(slopes, axis=0).T
            weights = np.linalg.lstsq(df, slope.value, rcond=1e-10)[0]
            x = x - (dx + (1 - damping) * df) @ weights
    return best


def newton(
    field: FieldLike,
    x: np.ndarray,
    tolerance: float,
    reach: float = np.inf,
    shortest: float = _SHORTEST_SHARE,
    most: int = _MOST_STEPS,
) -> Root:
    """Iterate Newton's method, with shorter steps where needed, and once more below the tolerance.

    A step is accepted if the next one, of the same Jacobian, is shorter. That the residual falls is
    no good test: at small weight decay the rates along which the dynamics is slow are 1e5 times
    smaller than the others, and a good step along them that is not quite straight raises it.

    Args:
        field: F.
        x: where to start, near a root.
        tolerance: for the residual.
        reach: how far from the start, in any entry, a root is of interest.
        shortest: the smallest share of a step that is tried; 1 gives up, at the price of one
            Jacobian, where the steps do not shorten by themselves.
        most: how many steps are taken.

    Returns:
        The best point met.

    References:
        Deuflhard, Newton Methods for Nonlinear Problems (Springer, 2004), section 3.3, the natural
        monotonicity test.
    """
    slope, start = field(x), x
    best = Root(x, slope.residual, slope.residual <= tolerance)
    contraction, first = float("inf"), None
    for _ in range(most):
        done = slope.residual <= tolerance
        if np.abs(x - start).max() > reach:
            break
        if not np.isfinite(slope.residual) or slope.residual == 0 or field.left <= len(x) + 1:
            break
        slopes = slopes_of(field, x)
        if not np.isfinite(slopes).all():
            break
        # Least squares: a symmetry of the problem makes the Jacobian singular along it.
        inverse = np.linalg.pinv(slopes, rcond=1e-12)
        step = -inverse @ slope.value
        share = 1.0
        while share >= shortest and field.left > 0:
            trial = field(x + share * step)
            if trial.residual < best.residual:
                best = Root(x + share * step, trial.residual, trial.residual <= tolerance)
            with np.errstate(invalid="ignore"):  # a trial that is no state has no rates
                after, before = np.linalg.norm(inverse @ trial.value), np.linalg.norm(step)
            if first is None:
                contraction, first = float(after / before), slopes
            if np.isfinite(trial.residual) and after < (1 - share / 4) * before:
                break
            share /= 2
        else:
            break
        if done:
            break
        x, slope = x + share * step, trial
    return best._replace(contraction=contraction, slopes=first)
