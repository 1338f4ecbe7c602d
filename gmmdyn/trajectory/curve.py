"""Curves of a trajectory: the names that are known, and curves of one's own."""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from gmmdyn.errors import ShapeError
from gmmdyn.trajectory.fluctuations import SUFFIXES

# name -> dimensions after time and replica
CURVES: Mapping[str, tuple[str, ...]] = {
    "pmse": (),
    "classification_error": (),
    "tie_rate": (),
    "loss": (),
    "Q": ("unit", "unit_"),
    "R": ("cluster", "unit"),
    "v": ("unit",),
    "b": ("unit",),
}
# The readout of a network of several outputs.
_SEVERAL_OUTPUTS = ("unit", "output")
# The integration error of a curve has its name with this ending in a dataset.
ERROR = "_se"
_ENDINGS = (ERROR, *(f"_{kind}" for kind in SUFFIXES))
_AXES = ("time", "replica")


@dataclass(frozen=True, eq=False)
class Curve:
    """An array with the names of its dimensions: a curve of a trajectory, or its value at one time.

    Attributes:
        values: in a trajectory of shape `(T[, N], ...)`, time and, of a simulation, replica first;
            float64.
        dims: names of the axes after these, such as `("class", "class_")`; none for a scalar.

    Raises:
        ShapeError: if a name is no identifier, is there twice or is `time` or `replica`, or there
            are more names than axes.

    Examples:
        >>> import numpy as np
        >>> from gmmdyn.trajectory import Curve
        >>> Curve(np.zeros((5, 3, 3)), ("class", "class_")).dims
        ('class', 'class_')
    """

    values: np.ndarray
    dims: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        dims = self.dims
        if isinstance(dims, str) or not all(
            isinstance(dim, str) and dim.isidentifier() and dim not in _AXES for dim in dims
        ):
            raise ShapeError(
                f"`dims` is {dims!r}; give a tuple of names other than `time` and `replica`, such "
                'as ("class", "class_").'
            )
        object.__setattr__(self, "dims", tuple(dims))
        object.__setattr__(self, "values", np.asarray(self.values, dtype=np.float64))
        if len(set(dims)) < len(dims) or self.values.ndim < len(dims):
            raise ShapeError(
                f"`dims` is {self.dims} but `values` has shape {self.values.shape}; give each of "
                "its last axes a name of its own."
            )


def arrays_of(curves: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Return curves as arrays.

    Args:
        curves: arrays and `Curve`s by name.

    Returns:
        float64 arrays by name.
    """
    return {
        name: np.asarray(value.values if isinstance(value, Curve) else value, dtype=np.float64)
        for name, value in curves.items()
    }


def dimensions_of(
    curves: Mapping[str, Any], known: Mapping[str, tuple[str, ...]]
) -> dict[str, tuple[str, ...]]:
    """Return the names of dimensions after time and replica.

    Args:
        curves: arrays and `Curve`s by name.
        known: the dimensions of some that have become arrays.

    Returns:
        The dimensions of each.

    Raises:
        ShapeError: if nobody knows those of an array.
    """
    found: dict[str, tuple[str, ...]] = {}
    for name, value in curves.items():
        if name in CURVES:
            found[name] = CURVES[name]
        elif isinstance(value, Curve):
            found[name] = value.dims
        elif name in known:
            found[name] = tuple(known[name])
        else:
            raise ShapeError(
                f"`curves` has the unknown curve `{name}`; for one of your own give "
                "`gd.Curve(array, dims)` with the names of its dimensions after time and replica, "
                'such as `("class", "class_")`, or `gd.Curve(array)` for one number a time.'
            )
    arrays = arrays_of({name: curves[name] for name in ("Q", "v") if name in curves})
    if len(arrays) == 2 and arrays["v"].ndim == arrays["Q"].ndim:
        found["v"] = _SEVERAL_OUTPUTS
    return found


def check_own_names(names: Iterable[str], attributes: Container[str]) -> None:
    """Refuse names that curves of one's own cannot have.

    Args:
        names: of curves.
        attributes: that a trajectory has already.

    Raises:
        ShapeError: if there is one.
    """
    for name in names:
        if name in CURVES:
            continue
        if not name.isidentifier() or name.startswith("_") or name in attributes or name in _AXES:
            raise ShapeError(
                f"`{name}` cannot be the name of a curve; give an identifier that is no attribute "
                "of a trajectory."
            )
        if name.endswith(_ENDINGS):
            listed = ", ".join(f"`{ending}`" for ending in _ENDINGS)
            raise ShapeError(
                f"`{name}` cannot be the name of a curve: in files {listed} end those of errors "
                "and fluctuations."
            )


def check_shapes(
    curves: Mapping[str, np.ndarray],
    errors: Mapping[str, np.ndarray],
    dimensions: Mapping[str, tuple[str, ...]],
    times: int,
) -> None:
    """Check that arrays fit the times and each other.

    Args:
        curves: by name.
        errors: by name of the curve.
        dimensions: of each curve.
        times: T.

    Raises:
        ShapeError: naming the array that does not fit.
    """
    replicas: dict[str, int] = {}
    sizes: dict[str, tuple[int, str]] = {}
    for name, value in curves.items():
        dims = dimensions[name]
        _check_fit(name, value, dims, times)
        if value.ndim == 2 + len(dims):
            replicas[name] = value.shape[1]
        for dim, size in zip(dims, value.shape[value.ndim - len(dims) :], strict=True):
            other, whose = sizes.setdefault(dim, (size, name))
            if dim in curves or other != size:
                raise ShapeError(
                    f"`{name}` has {size} entries along `{dim}`, which is "
                    + ("the name of a curve." if dim in curves else f"{other} long in `{whose}`.")
                )
    if len(set(replicas.values())) > 1 or 0 < len(replicas) < len(curves):
        listed = ", ".join(f"`{name}` {replicas.get(name, 'none')}" for name in curves)
        raise ShapeError(f"all curves have the same replicas, or none has; here {listed}.")
    for name, value in errors.items():
        if name not in curves:
            raise ShapeError(f"`errors` has the unknown curve `{name}`.")
        _check_fit(name, value, dimensions[name], times)


def _check_fit(name: str, value: np.ndarray, dims: tuple[str, ...], times: int) -> None:
    if value.ndim - 1 - len(dims) not in (0, 1) or value.shape[0] != times:
        raise ShapeError(
            f"the curve `{name}` has shape {value.shape}, which does not fit {times} times"
            + (f" and the dimensions {', '.join(dims)}." if dims else ".")
        )
