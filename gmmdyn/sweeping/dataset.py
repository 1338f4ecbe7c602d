"""Many trajectories as one labelled dataset."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr

from gmmdyn.experiment.plain_values import plain
from gmmdyn.sweeping.axes import Axis
from gmmdyn.sweeping.points import Outcome
from gmmdyn.trajectory.times import TIME


def assemble(axes: Sequence[Axis], outcomes: Sequence[Outcome], attributes: Any) -> xr.Dataset:
    """Put outcomes into one dataset.

    Args:
        axes: what was varied.
        outcomes: one for each point of the grid.
        attributes: to go with the dataset, in JSON types.

    Returns:
        Every curve with the swept parameters as its first dimensions, then those of
        `Trajectory.to_xarray`; where curves differ in length (units, replicas, times) the rest is
        NaN. `time` is a coordinate if all points share it, and otherwise a variable of every
        point. `message` says why a point failed, and is empty where it did not.
    """
    shape = tuple(len(axis.values) for axis in axes)
    names = [axis.name for axis in axes]
    message = np.full(shape, "", dtype=object)
    found: dict[tuple[int, ...], xr.Dataset] = {}
    for outcome in outcomes:
        message[outcome.at] = outcome.message
        if outcome.trajectory is not None:
            found[outcome.at] = outcome.trajectory.to_xarray()
    variables: dict[str, Any] = {"message": (names, message.astype(str))}
    coordinates: dict[str, Any] = {axis.name: _coordinate(axis) for axis in axes}
    grids = [dataset["time"].to_numpy() for dataset in found.values()]
    shared = bool(grids) and all(np.array_equal(grid, grids[0]) for grid in grids)
    if shared:
        coordinates["time"] = grids[0]
    elif grids:
        times = {index: dataset["time"] for index, dataset in found.items()}
        variables["t"] = ([*names, "time"], _stacked(times, shape))
    for name in dict.fromkeys(str(key) for dataset in found.values() for key in dataset.data_vars):
        curves = {index: each[name] for index, each in found.items() if name in each}
        if name == "tie_rate":  # what a trajectory leaves out is 0
            nowhere = {i: 0 * each["classification_error"] for i, each in found.items()}
            curves = nowhere | curves
        dims = max((curve.dims for curve in curves.values()), key=len)
        variables[name] = ([*names, *dims], _stacked(curves, shape))
    dataset = xr.Dataset(variables, coords=coordinates, attrs={"sweep": json.dumps(attributes)})
    if "time" in dataset.coords:
        dataset["time"].attrs["long_name"] = TIME
    return dataset


def _coordinate(axis: Axis) -> list[Any]:
    """Numbers as they are, anything else as text."""
    if all(isinstance(value, int | float) for value in axis.values):
        return axis.values
    return [v if isinstance(v, str) else json.dumps(plain(v)) for v in axis.values]


def _stacked(curves: dict[tuple[int, ...], xr.DataArray], shape: tuple[int, ...]) -> np.ndarray:
    inner = np.max([curve.shape for curve in curves.values()], axis=0).astype(int)
    whole = np.full((*shape, *inner), np.nan)
    for index, curve in curves.items():
        inner_part: tuple[Any, ...] = tuple(slice(size) for size in curve.shape)
        whole[index + inner_part] = curve.to_numpy()
    return whole


def final_values(dataset: xr.Dataset, name: str) -> xr.DataArray:
    """Return a curve at the end of every point.

    Args:
        dataset: of a sweep.
        name: of a curve without further dimensions, such as `pmse`.

    Returns:
        Its last value that is there, averaged over replicas, with the swept parameters as
        dimensions; NaN where the point failed.
    """
    values = dataset[name]
    if "replica" in values.dims:
        values = values.mean("replica")
    if "time" not in values.dims:
        return values
    # Points differ in how many times they recorded; the rest is NaN.
    there = values.notnull().to_numpy()
    axis = values.get_axis_num("time")
    last = there.shape[axis] - 1 - np.flip(there, axis).argmax(axis)
    return values.isel(time=xr.DataArray(last, dims=[d for d in values.dims if d != "time"]))
