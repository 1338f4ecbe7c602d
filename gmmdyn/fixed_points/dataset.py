"""Fixed points as one labelled dataset."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from gmmdyn.errors import DataError
from gmmdyn.fixed_points.kept import Entry
from gmmdyn.trajectory import CURVES, Trajectory
from gmmdyn.trajectory.files import read_netcdf

if TYPE_CHECKING:
    import xarray as xr


def assemble(
    name: str, values: Sequence[float], entries: Sequence[Entry], about: Mapping[str, Any]
) -> xr.Dataset:
    """Put fixed points into one dataset.

    Args:
        name: of the dimension along which they stand.
        values: the coordinate, one for each.
        entries: what came of each.
        about: to go with the dataset, in JSON types.

    Returns:
        Every curve at t = ∞ and its integration error `<curve>_se`; `residual`; `stability`;
        `eigenvalue`, real parts, largest first, along `mode`; `marginal`, `left_saddles`;
        `message`. NaN, -1 for a count, or an empty word where there is none.
    """
    import xarray as xr

    found = [entry.found for entry in entries]
    known = [trajectory for trajectory in found if trajectory is not None]
    rates = [_of(entry, "eigenvalues") or [] for entry in entries]
    padded = np.full((len(found), max(map(len, rates), default=0)), np.nan)
    for row, rate in zip(padded, rates, strict=True):
        row[: len(rate)] = rate
    variables: dict[str, Any] = {
        "message": (name, np.array([entry.message for entry in entries], dtype=str)),
        "stability": (
            name,
            np.array([_of(entry, "stability") or "" for entry in entries], dtype=str),
        ),
        "residual": (name, np.array([_residual(each) for each in found])),
        "eigenvalue": ((name, "mode"), padded),
    }
    for key in ("marginal", "left_saddles"):
        counts = [_of(entry, key) for entry in entries]
        variables[key] = (name, np.array([-1 if count is None else count for count in counts]))
    for key in dict.fromkeys(key for trajectory in known for key in trajectory.curves):
        shape = next(t[key].shape[1:] for t in known if key in t.curves)
        for label, source in ((key, "curves"), (f"{key}_se", "errors")):
            if not any(key in getattr(t, source) for t in known):
                continue
            stacked = np.full((len(found), *shape), np.nan)
            for index, trajectory in enumerate(found):
                if trajectory is None:
                    continue
                if key in getattr(trajectory, source):
                    stacked[index] = getattr(trajectory, source)[key][0]
                elif label == "tie_rate":  # left out where it is 0
                    stacked[index] = 0.0
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


def _of(entry: Entry, key: str) -> Any:
    """Return what is known of a fixed point; where the solver gave up there is none."""
    return None if entry.found is None or entry.message else entry.found.metadata.get(key)


def _residual(trajectory: Trajectory | None) -> float:
    return float("nan") if trajectory is None else trajectory.metadata["solver"]["residual"]
