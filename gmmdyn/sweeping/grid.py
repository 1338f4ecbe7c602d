"""Run an experiment at every point of a grid."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Executor, Future, wait
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gmmdyn import checks
from gmmdyn.errors import ArgumentError, ConfigError, GmmdynError
from gmmdyn.experiment import Experiment
from gmmdyn.experiment.configuration import Configuration
from gmmdyn.experiment.plain_values import plain
from gmmdyn.experiment.sections import section_options
from gmmdyn.sweeping.axes import Axis, full_name, with_value
from gmmdyn.sweeping.bar import point_bar
from gmmdyn.sweeping.executors import Place, cores, place
from gmmdyn.sweeping.points import Outcome, Point, Run, key_of, run_points, side_by_side
from gmmdyn.sweeping.store import Store
from gmmdyn.trajectory import Trajectory

if TYPE_CHECKING:
    import xarray as xr

# Points in one task of a theory: a batch costs little more than its slowest member.
_BATCH = 32
# Chains in one task of simulations on a GPU, enough to fill it; a kill loses a task.
_CHAINS = 2**16


def sweep(
    source: str | Path | Configuration | Experiment | Callable[..., Trajectory],
    over: Mapping[str, Iterable[Any]],
    *,
    run: Run = "solve",
    folder: str | Path | None = None,
    executor: Executor | None = None,
    workers: int | None = None,
    scheduler: str | None = None,
    retry_failed: bool = False,
    progress: bool | None = False,
    **options: Any,
) -> xr.Dataset:
    """Solve or simulate an experiment at every point of a grid.

    Args:
        source: a preset, a YAML file, a configuration, an experiment that was built by names, or a
            function that returns a `Trajectory` and takes the swept parameters by keyword.
        over: the values of each swept parameter. A parameter of an experiment is an option such as
            `"data_model.variance"`, by its own name where that is clear (`"variance"`, `"lr"`).
        run: `"solve"` by theory, or `"simulate"`; for a function it is ignored.
        folder: where to keep every point as it finishes; a sweep of the same points that finds them
            there goes on where it stopped.
        executor: any `concurrent.futures.Executor`, for simulations one of processes, as trainers
            share the warnings and signals of a process; or
        workers: how many processes on this machine, each with one thread; by default one a core,
            for simulations on a GPU one, and with 1 everything runs in this process; or
        scheduler: the address of a Dask scheduler, or `"local"` for a Dask cluster on this
            machine.
        retry_failed: whether points that failed before are run again.
        progress: whether to show a progress bar; None shows it on a terminal.
        **options: keywords of `Experiment.solve` or `Experiment.simulate` that all points share,
            such as `duration`, `theory` and `replicas`.

    Returns:
        All curves with the swept parameters as their first dimensions, and `message`, which says
        why a point failed (its curves are NaN) and is empty where it did not.

    Raises:
        ConfigError: if a parameter is unknown, or there is nothing to sweep.
        GmmdynError: if the workers die; finished points are in `folder`.
    """
    from gmmdyn.sweeping.dataset import assemble

    given = [Axis(name, plain(list(values))) for name, values in over.items()]
    if not given or not all(axis.values for axis in given):
        raise ConfigError("`over` has no values to sweep; give at least one parameter with some.")
    checks.choice("run", run, ("solve", "simulate"))
    axes, points, what = _grid(source, given, run, options)
    store = None if folder is None else Store(Path(folder) / "points")
    keys = {}
    if store is not None:
        label = what if isinstance(what, str) else f"{what.__module__}.{what.__qualname__}"
        keys = {point.at: key_of(point.job, label) for point in points}
    outcomes: list[Outcome] = []
    left: list[Point] = []
    for point in points:
        known = store and store.find(keys[point.at], point.at, not retry_failed)
        if known is None:
            left.append(point)
        else:
            outcomes.append(known)
    if what == "simulate" and _on_gpu(points) and executor is None and scheduler is None:
        workers = workers or 1  # that share no GPU
    tasks = _tasks(left, what, workers or cores())
    with place(executor, workers, scheduler, len(tasks)) as where, point_bar(progress) as advance:
        advance(len(outcomes), len(points))
        for outcome in _run(tasks, what, where):
            if store is not None:
                store.keep(keys[outcome.at], outcome)
            outcomes.append(outcome)
            advance(len(outcomes), len(points))
    about = {
        "run": run if isinstance(what, str) else "function",
        "over": {axis.name: axis.values for axis in axes},
        "base": plain(points[0].job),
    }
    return assemble(axes, outcomes, about)


def _grid(
    source: Any, given: Sequence[Axis], run: Run, options: Mapping[str, Any]
) -> tuple[list[Axis], list[Point], Run | Callable[..., Trajectory]]:
    """Settle what each point is: configurations in plain values, or keywords of a function."""
    indices = list(itertools.product(*(range(len(axis.values)) for axis in given)))
    if callable(source) and not isinstance(source, Experiment):
        if options:
            raise ArgumentError("options go with an experiment; bind them to the function itself.")
        points = [
            Point(i, {axis.name: axis.values[k] for axis, k in zip(given, i, strict=True)})
            for i in indices
        ]
        return list(given), points, source
    # How figures are drawn makes no other point.
    base = replace(_with_options(_configuration(source), run, options), figures={})
    homes = [full_name(axis.name, base) for axis in given]
    if len(set(homes)) < len(homes):
        raise ConfigError("`over` names a parameter twice.")
    axes = [Axis(_label(home, homes), axis.values) for home, axis in zip(homes, given, strict=True)]
    points = []
    for index in indices:
        configuration = base
        for (section, option), axis, k in zip(homes, axes, index, strict=True):
            configuration = with_value(configuration, section, option, axis.values[k])
        points.append(Point(index, configuration.to_mapping()))
    return axes, points, run


def _configuration(source: Any) -> Configuration:
    if isinstance(source, Configuration):
        return source
    if isinstance(source, Experiment):
        return source.configuration().updated("theory", {"name": "ode"})
    return Configuration.load(source)


def _with_options(base: Configuration, run: Run, options: Mapping[str, Any]) -> Configuration:
    """Put keywords of `solve` or `simulate` where a configuration has them."""
    known = section_options("simulation")
    grid = {key: plain(value) for key, value in options.items() if key in ("duration", "times")}
    rest = {key: plain(value) for key, value in options.items() if key not in grid}
    if run == "simulate":
        for key in rest:
            if key not in known:
                raise ArgumentError(
                    f"`simulate` takes no keyword `{key}`; {checks.suggestion(key, known)}"
                )
        return base.updated("simulation", {**grid, **rest})
    base = base.updated("simulation", grid) if grid else base
    if "theory" in rest:
        base = base.updated("theory", {"name": rest.pop("theory")})
    return base.updated("theory", rest) if rest else base


def _label(home: tuple[str, str], homes: Sequence[tuple[str, str]]) -> str:
    """The option's own name, unless two sections have one of that name, or a curve has."""
    section, option = home
    alone = sum(option == other for _, other in homes) == 1
    return option if alone and option not in ("name", "times") else f"{section}.{option}"


def _settings(point: Point) -> Mapping[str, Any]:
    return point.job.get("simulation") or {}


def _on_gpu(points: Sequence[Point]) -> bool:
    """Return whether all points are simulated, each for itself, on a GPU that was asked for."""
    return bool(points) and all(
        (settings.get("trainer") or {}).get("accelerator") in ("gpu", "cuda")
        and not ("checkpoint" in settings or "resume" in settings)
        for settings in map(_settings, points)
    )


def _tasks(points: Sequence[Point], what: Any, workers: int) -> list[list[Point]]:
    """Cut the points into tasks: batches for a theory and for a GPU, one by one otherwise."""
    size = 1
    if what == "simulate" and _on_gpu(points):
        size = min(side_by_side(points, _CHAINS), -(-len(points) // workers))
    if what == "solve":
        size = max(1, min(_BATCH, -(-len(points) // (2 * workers))))
    return [list(points[start : start + size]) for start in range(0, len(points), size)]


def _run(tasks: Sequence[list[Point]], what: Any, where: Place) -> Iterator[Outcome]:
    """Yield outcomes as tasks finish; few wait at a time, so that little is lost by a kill."""
    waiting: set[Future[list[Outcome]]] = set()
    rest = iter(tasks)
    try:
        while True:
            wanted = 1 if where.workers == 1 else 2 * where.workers - len(waiting)
            for task in itertools.islice(rest, max(0, wanted)):
                waiting.add(where.executor.submit(run_points, task, what, where.threads))
            if not waiting:
                return
            done, waiting = wait(waiting, return_when=FIRST_COMPLETED)
            for future in done:
                try:
                    yield from future.result()
                except GmmdynError:
                    raise
                except Exception as error:
                    raise GmmdynError(
                        f"a worker failed ({type(error).__name__}: {error}); what is finished is "
                        "kept if the sweep has a folder: run it again."
                    ) from error
    finally:
        for future in waiting:
            future.cancel()
