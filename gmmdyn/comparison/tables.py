"""Lines and columns of the table of a comparison, in plain text."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def aligned(columns: Sequence[Sequence[str]]) -> list[str]:
    """Align cells to the right.

    Args:
        columns: of the same length each, with their heads.

    Returns:
        The lines.
    """
    widths = [max(map(len, column)) for column in columns]
    return [
        "  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True))
        for row in zip(*columns, strict=True)
    ]


def scored_columns(
    label: str,
    simulated: tuple[np.ndarray, np.ndarray],
    predicted: np.ndarray | None,
    scores: np.ndarray | None,
) -> list[list[str]]:
    """Return the columns of one curve.

    Args:
        label: of the curve.
        simulated: mean and standard error, each `(T,)`.
        predicted: shape `(T,)`, or None.
        scores: z, shape `(T,)`, or None.

    Returns:
        What was simulated, and what was predicted with z if there is a prediction.
    """
    pairs = zip(*simulated, strict=True)
    columns = [[f"{label} simulated", *(with_error(mean, error) for mean, error in pairs)]]
    if predicted is not None and scores is not None:
        columns.append([f"{label} theory", *(f"{x:.4g}" for x in predicted)])
        columns.append(["z", *("-" if np.isnan(z) else f"{z:+.1f}" for z in scores)])
    return columns


def largest_score(name: str, time: float, scores: np.ndarray, replicas: int | None) -> str:
    """Return a line on the largest |z| of a curve.

    Args:
        name: of the curve.
        time: where it is.
        scores: z of all entries, NaN where it is unknown.
        replicas: of the simulation.

    Returns:
        The line, with what chance alone would give.
    """
    known = np.abs(scores[np.isfinite(scores)])
    if np.isnan(time):
        return f"Largest |z| of {name}: - (no time at which replicas differ)"
    line = f"Largest |z| of {name}: {known.max():.1f} at t = {time:.4g}"
    if replicas is None or replicas < 2:
        return line
    from scipy.stats import t as student

    # The median of the largest of so many independent values of a correct theory.
    chance = student.isf((1 - 0.5 ** (1 / known.size)) / 2, replicas - 1)
    return f"{line} ({known.size} values; by chance about {chance:.1f})"


def with_error(value: float, error: float) -> str:
    """Write a number to the second digit of its standard error.

    Args:
        value: the number.
        error: its standard error; 0 if it is exact, NaN if that is unknown.

    Returns:
        Such as `0.1857 ± 0.0012`, or four digits of the number alone.
    """
    if not np.isfinite(error) or error <= 0:
        return f"{value:.4g}"
    digits = max(0, 1 - int(np.floor(np.log10(error))))
    if digits > 7 or abs(value) >= 1e6:
        return f"{value:.3e} ± {error:.1e}"
    return f"{value:.{digits}f} ± {error:.{digits}f}"
