"""Tables in plain text."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from gmmdyn import checks

if TYPE_CHECKING:
    from gmmdyn.comparison import Comparison


def comparison_table(comparison: Comparison, rows: int = 8) -> str:
    """Tabulate both errors, simulated and predicted, with their z.

    Args:
        comparison: what to show.
        rows: how many times to show, log-spaced from the first to the last; at least 2.

    Returns:
        Aligned lines, without a newline at the end; below them the Bayes error, the largest |z| of
        every curve, and what z means.

    Raises:
        RangeError: if `rows` is too small.
    """
    times = comparison.times
    shown = spread(times, checks.whole("rows", rows, at_least=2))
    columns = [["t", *(f"{t:.4g}" for t in times[shown])]]
    for name in ("pmse", "classification_error"):
        if name not in comparison.names:
            continue
        short = name.removeprefix("classification_")
        mean, error = (x[shown] for x in comparison.simulation(name))
        pairs = zip(mean, error, strict=True)
        columns.append([f"{short} simulated", *(with_error(m, e) for m, e in pairs)])
        if comparison.predicted is not None:
            theory, z = comparison.theory(name)[0][shown], comparison.z_scores(name)[shown]
            columns.append([f"{short} theory", *(f"{x:.4g}" for x in theory)])
            columns.append(["z", *("-" if np.isnan(x) else f"{x:+.1f}" for x in z)])
    widths = [max(map(len, column)) for column in columns]
    lines = [
        "  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True))
        for row in zip(*columns, strict=True)
    ]
    return "\n".join([*lines, "", *_notes(comparison)])


def _notes(comparison: Comparison) -> list[str]:
    notes = []
    if comparison.bayes_error is not None:
        notes.append(f"Bayes error: {with_error(*comparison.bayes_error)}")
    if comparison.predicted is None:
        return [*notes, "There is no prediction to compare with."]
    worst = [(name, *comparison.worst(name)) for name in comparison.names]
    if all(np.isnan(z) for _, _, z in worst) and comparison.simulated.replicas in (None, 1):
        return [*notes, "z is unknown: a standard error takes at least 2 replicas."]
    dim = comparison.simulated.metadata.get("dim")
    return [
        *notes,
        *(_worst(comparison, *entry) for entry in worst),
        "z = (simulation - theory) / standard error. It counts statistical error only;",
        f"deviations of order 1/D{'' if dim is None else f' = 1/{dim}'} are expected beside it.",
    ]


def _worst(comparison: Comparison, name: str, time: float, z: float) -> str:
    if np.isnan(z):
        return f"Largest |z| of {name}: - (no time at which replicas differ)"
    line = f"Largest |z| of {name}: {abs(z):.1f} at t = {time:.4g}"
    replicas = comparison.simulated.replicas
    if replicas is None or replicas < 2:
        return line
    from scipy.stats import t as student

    # The median of the largest of so many independent values of a correct theory.
    count = int(np.isfinite(comparison.z_scores(name)).sum())
    chance = student.isf((1 - 0.5 ** (1 / count)) / 2, replicas - 1)
    return f"{line} ({count} values; by chance about {chance:.1f})"


def spread(times: np.ndarray, count: int) -> np.ndarray:
    """Choose among times, evenly on a logarithmic axis.

    Args:
        times: finite and not decreasing, shape `(T,)`.
        count: how many to choose at most, at least 2.

    Returns:
        Indices, increasing, of the first and the last time and of some between.
    """
    positive = np.flatnonzero(times > 0)
    if times.size <= count or positive.size == 0:
        return np.arange(min(times.size, count))
    first = [0] if times[0] <= 0 else []
    logs = np.log(times[positive])
    targets = np.linspace(logs[-1], logs[0], count - len(first))  # one target is the last time
    nearest = positive[np.abs(logs[:, None] - targets).argmin(axis=0)]
    return np.unique([*first, *nearest])


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
