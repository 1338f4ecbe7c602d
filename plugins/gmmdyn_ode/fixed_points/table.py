"""Fixed points as text."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from gmmdyn_ode.state_evolution.words import REDUCED

if TYPE_CHECKING:
    import xarray as xr


def table(dataset: xr.Dataset) -> str:
    """Return the fixed points as text, one in a line.

    Args:
        dataset: of fixed points.

    Returns:
        The table; below it where branches ended, the Bayes error if it is one for all, and how many
        starts failed. A dash stands for what is not known.
    """
    name = str(dataset["message"].dims[0])
    counted = next((key for key in ("starts", "branch") if key in dataset), None)
    about = json.loads(dataset.attrs["fixed_points"])
    head = f"{name.rpartition('.')[2]:>14}" + (f"{counted:>8}" if counted else "")
    lines = [f"{head}{'pmse':>11}{'error':>11}{'residual':>10}{'largest rate':>14}  stability"]
    for index, value in enumerate(dataset[name].to_numpy()):
        row = dataset.isel({name: index})
        count = int(row[counted]) if counted else 0
        line = f"{value:>14.6g}" + (f"{count if count >= 0 else '-':>8}" if counted else "")
        message = str(row["message"].item())
        if "pmse" not in row or not np.isfinite(row["pmse"].item()):
            lines.append(f"{line}  {message}")
            continue
        rates = row["eigenvalue"].to_numpy()
        largest = float(rates[0]) if rates.size else float("nan")
        lines.append(
            line
            + _number(row["pmse"].item(), 11, ".6f")
            + _number(row["classification_error"].item(), 11, ".6f")
            + _number(row["residual"].item(), 10, ".1e")
            + _number(largest, 14, ".3g")
            + ("  not converged" if message else f"  {_stability(row)}")
        )
    lines += [_ended(end, name) for end in about.get("ended", [])]
    if (about["base"].get("theory") or {}).get("reduced"):
        lines.append(REDUCED)
    if about.get("bayes_error") is not None:
        lines.append(f"Bayes error {about['bayes_error']:.6f}")
    if about.get("failed"):
        lines.append(f"{about['failed']} of {about['starts']} starts did not converge")
    return "\n".join(lines)


def _number(value: float, width: int, form: str) -> str:
    return f"{value:{width}{form}}" if np.isfinite(value) else f"{'-':>{width}}"


def _stability(row: xr.Dataset) -> str:
    word = str(row["stability"].item())
    if word == "marginal":
        return f"marginal ({int(row['marginal'])} zero)"
    return "-" if word in ("", "unknown") else word


def _ended(end: Mapping[str, Any], name: str) -> str:
    """Return the sentence on the end of a branch."""
    short = name.rpartition(".")[2]
    branch = f"branch {end['branch']}"
    to = f"branch {end['branch'] + 1}, at {end['next']:.6g}"
    if end["why"] == "faded":
        return f"{branch} has no weights, and nothing leaves it: from the start again to {to}"
    between = f"between {short} = {end['last']:.6g} and {end['beyond']:.6g}"
    ends = "loses its stability" if end["why"] == "unstable" else "ends"
    return f"{branch} {ends} {between}; from there to {to}"
