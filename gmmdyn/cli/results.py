"""Figures and text of what a run found."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from gmmdyn import registry
from gmmdyn.cli import directory as places

if TYPE_CHECKING:
    from gmmdyn import Comparison, Trajectory


def draw(folder: Path, comparison: Comparison, time_unit: str) -> None:
    """Draw a comparison.

    Args:
        folder: where to.
        comparison: of a simulation, with a prediction or without.
        time_unit: of the figures.

    Raises:
        OutputError: if a figure cannot be written.
    """
    comparison.plot(folder / places.ERRORS, time_unit)
    if any(comparison.simulated.dimensions.values()):
        comparison.plot_order_parameters(folder / places.ORDER_PARAMETERS, time_unit)


def text_of(predicted: Trajectory) -> str:
    """Return a prediction as text.

    Args:
        predicted: by a theory.

    Returns:
        A fixed point, or a table in time; then what its theory says of it.
    """
    said = _rest(predicted) if np.isinf(predicted.times).all() else _table(predicted)
    name = predicted.metadata.get("theory")
    if name in registry.available("theory"):
        said += registry.get("theory", name).remarks(predicted)
    return "\n".join(said)


def _table(predicted: Trajectory, rows: int = 8) -> list[str]:
    """Return both errors of a theory at some of its times."""
    last = predicted.times.size - 1
    chosen = sorted({round(i * last / max(rows - 1, 1)) for i in range(rows)})
    lines = ["        t      pmse  classification error"]
    lines += [
        f"{predicted.times[i]:9.4g}  {predicted.pmse[i]:8.5f}  "
        f"{predicted.classification_error[i]:20.5f}"
        for i in chosen
    ]
    return lines


def _rest(predicted: Trajectory) -> list[str]:
    """Return what there is to say of a fixed point."""

    def row(values: object) -> str:
        return "  ".join(f"{float(value):9.5f}" for value in values)  # type: ignore[attr-defined]

    lines = [
        f"pmse                  {predicted.pmse[0]:.6f}",
        f"classification error  {predicted.classification_error[0]:.6f}",
    ]
    bayes = predicted.metadata.get("bayes_error")
    if bayes is not None:
        lines.append(f"Bayes error           {bayes['value']:.6f}")
    if "Q" not in predicted.curves:  # as for random features
        return lines
    order = predicted.order_parameters(0)
    return [
        *lines,
        f"v      {row(order.v)}",
        f"Q_kk   {row(order.Q.diagonal())}",
        *(f"R[{cluster}]   {row(overlaps)}" for cluster, overlaps in enumerate(order.R)),
    ]
