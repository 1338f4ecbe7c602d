"""What a run measures or a theory predicts, on a grid of times."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch

from gmmdyn import checks
from gmmdyn.errors import RangeError, ShapeError
from gmmdyn.trajectory.by_name import CurvesByName
from gmmdyn.trajectory.curve import (
    arrays_of,
    check_own_names,
    check_shapes,
    dimensions_of,
)
from gmmdyn.trajectory.estimate import Estimate
from gmmdyn.trajectory.fluctuations import Fluctuations
from gmmdyn.trajectory.order_parameters import OrderParameters
from gmmdyn.trajectory.times import span

if TYPE_CHECKING:
    import xarray as xr

Source = Literal["simulation", "theory"]


@dataclass(frozen=True, repr=False)
class Trajectory(CurvesByName):
    r"""What a run measures or a theory predicts, on a grid of times.

    The one value handed from simulation and theory to comparison, plots and files. Every curve is a
    float64 array whose first axis is time; a simulation has the replica as second axis.

    Attributes:
        times: t = updates/D, shape `(T,)`, not decreasing; no unit. A fixed point has `T == 1` and
            the time `inf`.
        curves: by name: `pmse` (½E[(y − φ)²]), `classification_error` (P(yφ < 0) + ½P(φ = 0)),
            `tie_rate` (P(φ = 0); left out if it is 0 at all times) and, where it is not the square
            one, `loss` (E[ℓ]), shape `(T[, N])`; order parameters `Q` `(T[, N], K, K)`, `R`
            `(T[, N], C, K)`, `v` and `b` `(T[, N], K)`. And curves of one's own, as
            `Curve(array, dims)` with the names of the dimensions after time and replica, under any
            other identifier that does not end in `_se`.
        source: whether it was simulated or predicted.
        errors: standard errors of curves, by name and of the shape of the curve: the integration
            error of a theory. Those of a simulation follow from its replicas.
        metadata: what is needed to run it again: configuration, seeds, versions, solver
            statistics. JSON types only. The Bayes error in it is computed when it is first read.
        dimensions: names of the dimensions after time and replica, by curve; those of `Curve`s are
            taken from them.
        fluctuations: how single networks differ from these curves, where a theory predicts it;
            read it by `spread`, `covariance` and `quantile`.

    The curves are attributes too: `trajectory.Q` is `trajectory["Q"]`.

    Raises:
        ShapeError: if a curve does not fit the times or the other curves, has a name that cannot
            be, or dimensions that nobody knows.
        RangeError: if the source is unknown.

    Examples:
        >>> import numpy as np
        >>> import gmmdyn as gd
        >>> own = {"overlap": gd.Curve(np.zeros((2, 3, 3)), ("class", "class_"))}
        >>> gd.Trajectory(np.array([0.0, 1.0]), own, "theory").to_xarray().overlap.dims
        ('time', 'class', 'class_')
    """

    times: np.ndarray
    curves: Mapping[str, Any]  # arrays; `Curve`s become some
    source: Source
    errors: Mapping[str, np.ndarray] = field(default_factory=dict)
    metadata: Mapping[str, Any] = field(default_factory=dict)
    dimensions: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    fluctuations: Fluctuations = field(default_factory=Fluctuations)

    def __post_init__(self) -> None:
        times = np.asarray(self.times, dtype=np.float64)
        object.__setattr__(self, "times", times)
        checks.choice("source", self.source, ("simulation", "theory"))
        if times.ndim != 1 or np.any(np.diff(times) < 0):
            raise ShapeError("`times` must be one axis of times that do not decrease.")
        curves, errors = arrays_of(self.curves), arrays_of(self.errors)
        dimensions = dimensions_of(self.curves, self.dimensions)
        check_own_names(dimensions, {*dir(type(self)), *self.__dataclass_fields__})
        check_shapes(curves, errors, dimensions, times.size)
        if "tie_rate" in curves and not np.any(curves["tie_rate"]):
            for group in (curves, errors, dimensions):
                group.pop("tie_rate", None)
        object.__setattr__(self, "curves", curves)
        object.__setattr__(self, "errors", errors)
        object.__setattr__(self, "dimensions", dimensions)

    @property
    def bayes_error(self) -> Estimate | None:
        """The smallest classification error possible, or None if the metadata do not have it."""
        known = self.metadata.get("bayes_error")
        return None if known is None else Estimate(known["value"], known["standard_error"])

    def __repr__(self) -> str:
        """Say in a few lines what there is."""
        maker = {"simulation": "engine", "theory": "theory"}[self.source]
        by = f" by the {maker} `{self.metadata[maker]}`" if maker in self.metadata else ""
        title = {"simulation": "simulated", "theory": "predicted"}[self.source]
        count = self.replicas
        runs = "" if count is None else f", {count} replica{'' if count == 1 else 's'}"
        shapes = [f"{name} {value.shape}" for name, value in self.curves.items()]
        return (
            f"Trajectory {title}{by}\n"
            f"  t = {span(self.times)} ({self.times.size} times){runs}\n"
            f"  {', '.join(shapes)}"
        )

    @property
    def replicas(self) -> int | None:
        """How many independent runs there are, or None for a single curve."""
        for name, value in self.curves.items():
            if value.ndim == 2 + len(self.dimensions[name]):
                return int(value.shape[1])
        return None

    def mean(self) -> Trajectory:
        """Average over replicas.

        Returns:
            A trajectory without the replica axis; `errors` holds the standard errors of the
            mean, NaN for one replica. A trajectory without replicas is returned as it is.
        """
        count = self.replicas
        if count is None:
            return self
        curves = {name: value.mean(axis=1) for name, value in self.curves.items()}
        errors = {name: self.standard_error(name) for name in self.curves}
        return replace(self, curves=curves, errors=errors)

    def standard_error(self, name: str) -> np.ndarray:
        """Return the standard error of a curve.

        Args:
            name: a key of `curves`.

        Returns:
            Over replicas the standard error of the mean, shape `(T, ...)`, NaN for one replica;
            without replicas the integration error, 0 where none was estimated.

        Raises:
            RangeError: if there is no such curve.
        """
        value = self[name]
        if self.replicas is None:
            return self.errors.get(name, np.zeros_like(value))
        if value.shape[1] < 2:
            return np.full(value.mean(axis=1).shape, np.nan)
        return np.asarray(value.std(axis=1, ddof=1) / np.sqrt(value.shape[1]))

    @property
    def spread(self) -> Mapping[str, np.ndarray]:
        """Standard deviations of single networks by curve, each of shape `(T, ...)`.

        Of a simulation those over its replicas, NaN for one replica; of a theory what it predicts,
        nothing if it is of the mean alone.
        """
        if self.replicas is None:
            return self.fluctuations.std
        few = self.replicas < 2
        return {
            name: np.full_like(value[:, 0], np.nan) if few else value.std(axis=1, ddof=1)
            for name, value in self.curves.items()
        }

    def covariance(self, name: str) -> np.ndarray:
        """Return the covariance of a curve of a single network between recorded times.

        Args:
            name: a curve.

        Returns:
            Of each entry with itself at two times, shape `(T, T, ...)`; over replicas for a
            simulation, NaN for one replica.

        Raises:
            RangeError: if there is no such curve, or a theory does not predict it.
        """
        value = self[name]
        if self.replicas is not None:
            few = self.replicas < 2
            around = value - value.mean(axis=1, keepdims=True)
            total = np.einsum("tn...,sn...->ts...", around, around)
            return np.full_like(total, np.nan) if few else total / (self.replicas - 1)
        return self._predicted(name, "cov")

    def quantile(self, name: str, q: float) -> np.ndarray:
        """Return a quantile of a curve over networks at each time.

        Args:
            name: a curve.
            q: from 0 to 1.

        Returns:
            Shape `(T, ...)`: that of the replicas, or of the members of an ensemble; otherwise of
            the normal distribution that a theory predicts.

        Raises:
            RangeError: if `q` is out of range, there is no such curve, or a theory predicts the
                mean alone.
        """
        checks.number("q", q, at_least=0, at_most=1)
        value = self[name]
        if self.replicas is None:
            if name not in self.fluctuations.member:
                from scipy.special import ndtri

                return np.asarray(value + float(ndtri(q)) * self._predicted(name, "std"))
            value = self.fluctuations.member[name]
        return np.asarray(np.quantile(value, q, axis=1))

    def _predicted(self, name: str, kind: str) -> np.ndarray:
        known: Mapping[str, np.ndarray] = getattr(self.fluctuations, kind)
        if name not in known:
            raise RangeError(
                f"this prediction has no fluctuations of `{name}`; solve a theory of finite size, "
                "or the theory `ode` with an `ensemble`."
            )
        return known[name]

    def order_parameters(self, index: int = -1, replica: int | None = None) -> OrderParameters:
        """Return the recorded state at one time, to start a theory from.

        Args:
            index: which time.
            replica: which run; None is the mean over replicas.

        Returns:
            The order parameters, without `covariance`.

        Raises:
            RangeError: if order parameters were not recorded or the index is out of range.
        """
        if not -self.times.size <= index < self.times.size:
            raise RangeError(f"`index` is {index}; the trajectory has {self.times.size} times.")
        count = self.replicas
        if replica is not None and (count is None or not 0 <= replica < count):
            raise RangeError(
                f"`replica` is {replica}; the trajectory has {count or 'no'} replicas."
            )

        def pick(name: str) -> torch.Tensor:
            value = self[name][index]
            if count is not None:
                value = value.mean(axis=0) if replica is None else value[replica]
            return torch.from_numpy(np.array(value))

        return OrderParameters(
            Q=pick("Q"), R=pick("R"), v=pick("v"), b=pick("b") if "b" in self.curves else None
        )

    def to_xarray(self) -> xr.Dataset:
        """Return a labelled dataset.

        Returns:
            Variables by curve, dimensions `time`, `replica` (simulations), then those of
            `dimensions`; integration errors as `<curve>_se`; predicted standard deviations of
            single networks as `<curve>_std`, their covariances between times as `<curve>_cov`,
            members of an ensemble as `<curve>_member`; `source` and `metadata` (JSON) as
            attributes, with the Bayes error, which takes a while where it has no closed form.
        """
        from gmmdyn.trajectory.labelled import dataset_of

        about = {"source": self.source, "metadata": dict(self.metadata)}
        parts = self.errors, self.dimensions, about, self.fluctuations
        return dataset_of(self.times, self.curves, *parts)

    def save(self, path: str | Path) -> Path:
        """Write a compressed NetCDF file, whole or not at all.

        Args:
            path: the file to write; an existing one is replaced.

        Returns:
            The path.

        Raises:
            OutputError: if it cannot be written.
        """
        from gmmdyn.trajectory.files import write_netcdf

        return write_netcdf(Path(path), self.to_xarray())

    @classmethod
    def load(cls, path: str | Path) -> Trajectory:
        """Read what `save` wrote.

        Args:
            path: the file.

        Returns:
            The trajectory.

        Raises:
            DataError: if there is no such file or it is not one of ours.
        """
        from gmmdyn.trajectory.labelled import loaded

        return loaded(Path(path), cls)
