"""A fixed point followed along a parameter."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from gmmdyn import checks
from gmmdyn.algorithm import OnlineSGD
from gmmdyn.errors import ConfigError, ConvergenceError, ShapeError
from gmmdyn.experiment import Experiment
from gmmdyn.experiment.configuration import Configuration
from gmmdyn.experiment.plain_values import plain
from gmmdyn.experiment.sections import section_options
from gmmdyn.fixed_points.branches import End, Point, walk
from gmmdyn.fixed_points.dataset import assemble
from gmmdyn.fixed_points.kept import Entry, Kept
from gmmdyn.fixed_points.source import Search, search_of
from gmmdyn.fixed_points.symmetry import Symmetry, symmetries
from gmmdyn.sweeping.axes import full_name, with_value
from gmmdyn.sweeping.bar import point_bar
from gmmdyn.trajectory import Trajectory
from gmmdyn.trajectory.order_parameters import OrderParameters

if TYPE_CHECKING:
    import xarray as xr


def follow_fixed_point(
    source: str | Path | Configuration | Experiment,
    along: str,
    values: Iterable[float],
    *,
    initial: OrderParameters | None = None,
    folder: str | Path | None = None,
    progress: bool | None = False,
    **options: Any,
) -> xr.Dataset:
    r"""Follow a fixed point along a parameter, such as $\kappa$, $\sigma^2$ or $\eta$.

    The first one is looked for from the start. From each to the next Newton's method goes along the
    branch, in steps that are small enough to know that it is the same one: halving a step must
    halve the distance, after symmetry, but for curvature. Where the branch ends, or goes on as a
    saddle, it is left: the flow is followed from the last point on it to where it now leads,
    along the unstable direction of a saddle. So the fixed points are those of slowly changing the
    parameter, and where a branch ends in a jump the jump is made. With a `method` other than
    `"flow"` saddles are followed too.

    Args:
        source: a preset, a YAML file, a configuration, or an experiment that was built by names.
        along: the parameter, as `"algorithm.weight_decay"` or by its own name.
        values: its values, in the order in which to go, at least one.
        initial: where to start; the initial weights of the network by default.
        folder: where to keep every point as it is found; the same call goes on from those there.
        progress: whether to show a progress bar; None shows it on a terminal.
        **options: keywords of the theory `state-evolution`.

    Returns:
        All fixed points with the parameter as their first dimension: both errors and their
        integration errors, `Q`, `R`, `v`, `residual`; `branch`, numbers from 0, -1 where nothing
        converged; `stability`, `eigenvalue` (real parts, largest first, NaN where there are none),
        `marginal` (how many are zero within their error) and `left_saddles` (how many saddles the
        flow left on its way), both -1 where they are not known; and `message`, which says why one
        is missing or did not converge. The attribute `fixed_points` (JSON) has under `ended` where
        and why each branch ended.

    Raises:
        ConfigError: if there is no such parameter, or it has no values, or it changes how many
            units or clusters there are.
        IncompatibleError: if the theory does not describe the experiment.
        ShapeError: if `initial` does not fit the experiment.
        OutputError: if a point cannot be kept.

    Examples:
        ```python
        import numpy as np
        found = gd.follow_fixed_point("xor", "weight_decay", np.geomspace(0.1, 1e-5, 9))
        found["pmse"]
        ```
    """
    return continuation(source, along, values, initial, options).run(folder, progress)


@dataclass(frozen=True)
class Continuation:
    """A fixed point to follow, checked.

    Attributes:
        search: configuration and theory.
        section: of the parameter.
        option: the parameter.
        values: in the order in which to go.
        initial: where to start, or None.
        whole: whether the parameter takes whole numbers alone.
        first: the experiment at the first value.
    """

    search: Search
    section: str
    option: str
    values: list[float]
    initial: OrderParameters | None
    whole: bool
    first: Experiment

    def run(self, folder: str | Path | None = None, progress: bool | None = False) -> xr.Dataset:
        """Follow it; see `follow_fixed_point`."""
        kept = Kept(folder, {**self.search.job, "initial": _numbers(self.initial)})
        entries: list[Entry] = []
        last: Point | None = None
        branch = -1
        with point_bar(progress) as advance:
            advance(0, len(self.values))
            for count, value in enumerate(self.values, start=1):
                way = {"along": f"{self.section}.{self.option}", "values": self.values[:count]}
                entry = kept.find(way)
                if entry is None:
                    entry = self._next(last, branch, value)
                    kept.keep(way, entry)
                entries.append(entry)
                if entry.found is not None and not entry.message:
                    last, branch = Point(value, entry.found), entry.branch
                advance(count, len(self.values))
        about: dict[str, Any] = {
            "along": f"{self.section}.{self.option}",
            "base": self.search.base.to_mapping(),
            "ended": [dict(entry.end) for entry in entries if entry.end is not None],
        }
        first = entries[0].found
        if self.section != "data_model" and first is not None:
            about["bayes_error"] = first.metadata.get("bayes_error", {}).get("value")
        dataset = assemble(self.option, self.values, entries, about)
        return dataset.assign(branch=(self.option, [entry.branch for entry in entries]))

    def experiment(self, value: float) -> Experiment:
        """Return the experiment at a value of the parameter."""
        changed = with_value(self.search.base, self.section, self.option, value)
        if self.section == "algorithm":  # the rest is what takes time to build
            return replace(self.first, algorithm=OnlineSGD(**changed.algorithm))
        return Experiment.from_configuration(changed)

    def _next(self, last: Point | None, branch: int, value: float) -> Entry:
        experiment = self.experiment(value)
        start, end = self.initial, None
        if last is not None and last.faded:  # nothing leads away from a network without weights
            end = {"branch": branch, "last": last.value, "beyond": value, "why": "faded"}
        elif last is not None:
            went = walk(
                self._near,
                last,
                value,
                self._symmetries(last.value, value),
                whole=self.whole,
                along_saddles=not self.search.flows,
            )
            if isinstance(went, Point):
                return Entry(experiment.described(went.found), "", branch)
            start, end = went.reached.state, _how(went, branch)
        try:
            found = experiment.solve(self.search.theory, initial=start)
        except ConvergenceError as error:
            return Entry(error.partial, str(error))
        if last is not None and last.faded and Point(value, found).faded:
            return Entry(found, "", branch)
        return Entry(found, "", branch + 1, end and {**end, "next": value})

    def _near(self, value: float, state: OrderParameters) -> Trajectory:
        it = self.experiment(value)
        return self.search.newton.solve(
            it.data_model, it.network, it.algorithm, times=[np.inf], initial=state
        )

    def _symmetries(self, *values: float) -> list[Symmetry]:
        """Return the symmetries that the mixture has at all values, or at least between them."""
        if self.section != "data_model":
            values = values[:1]
        mixtures = [self.search.parts(self.experiment(value))[0] for value in values]
        return min((symmetries(mixture) for mixture in mixtures), key=len)


def continuation(
    source: str | Path | Configuration | Experiment,
    along: str,
    values: Iterable[float],
    initial: OrderParameters | None = None,
    options: dict[str, Any] | None = None,
) -> Continuation:
    """Check what is to be followed, before any work; see `follow_fixed_point`.

    Args:
        source: as there.
        along: as there.
        values: as there.
        initial: as there.
        options: keywords of the theory.

    Returns:
        The fixed point to follow.
    """
    search = search_of(source, options or {})
    section, option = full_name(along, search.base)
    wanted = plain(list(values))
    if not wanted:
        raise ConfigError("`values` is empty; give at least one value of the parameter.")
    for value in wanted:
        checks.number(along, value)
    if section not in ("data_model", "network", "algorithm"):
        raise ConfigError(f"`{along}` is no parameter of the experiment, whose fixed points move.")
    known = section_options(section, (getattr(search.base, section) or {}).get("name"))
    whole = option in known and known[option].annotation in ("int", "int | None")
    first: Experiment | None = None
    for value in wanted:
        experiment = Experiment.from_configuration(with_value(search.base, section, option, value))
        mixture, network = search.parts(experiment)
        shape = (len(mixture.labels), network.hidden)
        if first is None:
            first, wanted_shape = experiment, shape
        if shape != wanted_shape:
            raise ConfigError(
                f"`{along}` changes how many units or clusters there are, so that no fixed point "
                "moves with it; take `gmmdyn sweep`."
            )
    assert first is not None
    if initial is not None and tuple(initial.R.shape) != wanted_shape:
        raise ShapeError(
            f"`initial` has R of shape {tuple(initial.R.shape)}; give shape {wanted_shape}."
        )
    return Continuation(search, section, option, wanted, initial, whole, first)


def _how(end: End, branch: int) -> dict[str, Any]:
    why = "unstable" if end.unstable else "ended"
    return {"branch": branch, "last": end.reached.value, "beyond": end.beyond, "why": why}


def _numbers(state: OrderParameters | None) -> dict[str, Any] | None:
    if state is None:
        return None
    return {key: plain(getattr(state, key)) for key in ("Q", "R", "v", "b")}
