"""Trajectories as labelled datasets, and back."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from gmmdyn.errors import DataError
from gmmdyn.trajectory.curve import CURVES, ERROR, Curve
from gmmdyn.trajectory.files import read_netcdf
from gmmdyn.trajectory.fluctuations import SUFFIXES, Fluctuations
from gmmdyn.trajectory.times import TIME

if TYPE_CHECKING:
    import xarray as xr

Made = TypeVar("Made")
_AXES = ("time", "replica")


def dataset_of(
    times: np.ndarray,
    curves: Mapping[str, np.ndarray],
    errors: Mapping[str, np.ndarray],
    dimensions: Mapping[str, tuple[str, ...]],
    attributes: Mapping[str, Any],
    fluctuations: Fluctuations,
) -> xr.Dataset:
    """Return a labelled dataset; see `Trajectory.to_xarray`.

    Args:
        times: shape `(T,)`.
        curves: by name, each `(T[, N], ...)`.
        errors: by name of the curve.
        dimensions: names of those after time and replica, by name of the curve.
        attributes: of the dataset; those that are no text are written as JSON.
        fluctuations: of single networks.

    Returns:
        The dataset.
    """
    import xarray as xr

    variables = {}
    for group, ending in ((curves, ""), (errors, ERROR)):
        for name, value in group.items():
            dims = dimensions[name]
            variables[name + ending] = ((*_AXES[: value.ndim - len(dims)], *dims), value)
    for kind, axes in SUFFIXES.items():
        for name, value in getattr(fluctuations, kind).items():
            variables[f"{name}_{kind}"] = (("time", *axes, *dimensions[name]), value)
    plain = {
        name: value if isinstance(value, str) else json.dumps(value)
        for name, value in attributes.items()
    }
    dataset = xr.Dataset(variables, coords={"time": times}, attrs=plain)
    dataset["time"].attrs["long_name"] = TIME
    return dataset


def loaded(path: Path, make: Callable[..., Made]) -> Made:
    """Read what `Trajectory.save` wrote.

    Args:
        path: the file.
        make: `Trajectory`.

    Returns:
        What it makes.

    Raises:
        DataError: if there is no such file or it is not one of ours.
    """
    dataset = read_netcdf(path, "curves of a trajectory")
    curves: dict[str, Curve | np.ndarray] = {}
    errors: dict[str, np.ndarray] = {}
    fluctuations: dict[str, dict[str, np.ndarray]] = {kind: {} for kind in SUFFIXES}
    for variable, value in dataset.data_vars.items():
        name = str(variable)
        base, _, kind = name.rpartition("_")
        if kind in SUFFIXES and base in dataset.data_vars:
            fluctuations[kind][base] = value.to_numpy()
        elif name.endswith(ERROR):
            errors[name.removesuffix(ERROR)] = value.to_numpy()
        elif name in CURVES:
            curves[name] = value.to_numpy()
        else:
            dims = tuple(str(dim) for dim in value.dims if dim not in _AXES)
            curves[name] = Curve(value.to_numpy(), dims)
    try:
        metadata = json.loads(dataset.attrs["metadata"])
        source = dataset.attrs["source"]
        values = dataset["time"].to_numpy(), curves, source, errors, metadata
        return make(*values, fluctuations=Fluctuations(**fluctuations))
    except (KeyError, ValueError, TypeError) as error:
        reason = f"it has no {error}" if isinstance(error, KeyError) else str(error).rstrip(".")
        raise DataError(
            f"`{path}` holds no curves of a trajectory saved by gmmdyn: {reason}."
        ) from None
