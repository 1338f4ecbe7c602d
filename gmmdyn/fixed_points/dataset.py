"""Fixed points as one labelled dataset."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from gmmdyn.errors import DataError
from gmmdyn.files import read_netcdf
from gmmdyn.trajectory import CURVES, Trajectory

if TYPE_CHECKING:
    import xarray as xr


def assemble(
    name: str,
    values: Sequence[float],
    found: Sequence[Trajectory | None],
    messages: Sequence[str],
    about: Mapping[str, Any],
) -> xr.Dataset:
    """Put fixed points into one dataset.

    Args:
        name: of the dimension along which they stand.
        values: the coordinate, one for each.
        found: the fixed points; None where there is none.
        messages: why one is missing or did not converge, empty otherwise.
        about: to go with the dataset, in JSON types.

    Returns:
        Every curve at t = ∞ and its integration error `<curve>_se`; `residual`; `stability`;
        `eigenvalue`, real parts, largest first, along `mode`; `message`. NaN where there is none.
    """
    import xarray as xr

    known = [trajectory for trajectory in found if trajectory is not None]
    variables: dict[str, Any] = {
        "message": (name, np.array(messages, dtype=str)),
        "stability": (name, np.array([_of(each, "stability", "") for each in found], dtype=str)),
        "residual": (name, np.array([_solver(each, "residual") for each in found])),
    }
    rates = [_of(each, "eigenvalues", []) for each in found]
    padded = np.full((len(found), max(map(len, rates), default=0)), np.nan)
    for row, rate in zip(padded, rates, strict=True):
        row[: len(rate)] = rate
    variables["eigenvalue"] = ((name, "mode"), padded)
    for key in dict.fromkeys(key for trajectory in known for key in trajectory.curves):
        shape = next(t[key].shape[1:] for t in known if key in t.curves)
        for label, source in ((key, "curves"), (f"{key}_se", "errors")):
            if not any(key in getattr(t, source) for t in known):
                continue
            stacked = np.full((len(found), *shape), np.nan)
            for index, trajectory in enumerate(found):
                if trajectory is not None and key in getattr(trajectory, source):
                    stacked[index] = getattr(trajectory, source)[key][0]
            variables[label] = ((name, *CURVES[key]), stacked)
    coordinates = {name: np.asarray(values)}
    return xr.Dataset(variables, coords=coordinates, attrs={"fixed_points": json.dumps(about)})


def load_fixed_points(path: str | Path) -> xr.Dataset:
    """Read the fixed points that `gmmdyn fixed-point` wrote.

    Args:
        path: the file `fixed_points.nc` of a run with `--along` or `--starts`.

    Returns:
        The dataset, as `follow_fixed_point` or `find_fixed_points` returned it.

    Raises:
        DataError: if there is no such file or it is not one of ours.
    """
    dataset = read_netcdf(Path(path), "fixed points")
    try:
        json.loads(dataset.attrs["fixed_points"])
    except (KeyError, ValueError, TypeError):
        raise DataError(f"`{path}` holds no fixed points saved by gmmdyn.") from None
    return dataset


def table(dataset: xr.Dataset) -> str:
    """Return the fixed points as text, one in a line.

    Args:
        dataset: of fixed points.

    Returns:
        The table, and the Bayes error below it if it is one for all.
    """
    name = str(dataset["message"].dims[0])
    starts = "starts" in dataset
    head = f"{name.rpartition('.')[2]:>14}" + (f"{'starts':>8}" if starts else "")
    lines = [f"{head}{'pmse':>11}{'error':>11}{'residual':>10}{'largest rate':>14}  stability"]
    for index, value in enumerate(dataset[name].to_numpy()):
        row = dataset.isel({name: index})
        line = f"{value:>14.6g}" + (f"{int(row['starts']):>8}" if starts else "")
        message = str(row["message"].item())
        if "pmse" not in row or not np.isfinite(row["pmse"].item()):
            lines.append(f"{line}  {message}")
            continue
        rates = row["eigenvalue"].to_numpy()
        fastest = f"{rates[0]:14.3g}" if rates.size and np.isfinite(rates[0]) else f"{'-':>14}"
        state = "not converged" if message else str(row["stability"].item())
        lines.append(
            f"{line}{row['pmse'].item():11.6f}{row['classification_error'].item():11.6f}"
            f"{row['residual'].item():10.1e}{fastest}  {state}"
        )
    about = json.loads(dataset.attrs["fixed_points"])
    if about.get("bayes_error") is not None:
        lines.append(f"Bayes error {about['bayes_error']:.6f}")
    if about.get("failed"):
        lines.append(f"{about['failed']} of {about['starts']} starts did not converge")
    return "\n".join(lines)


def _of(trajectory: Trajectory | None, key: str, default: Any) -> Any:
    return default if trajectory is None else trajectory.metadata.get(key, default)


def _solver(trajectory: Trajectory | None, key: str) -> float:
    return float("nan") if trajectory is None else trajectory.metadata["solver"][key]
