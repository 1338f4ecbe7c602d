"""The points of a sweep, and running some of them in one process."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal, NamedTuple

from gmmdyn import checks
from gmmdyn.errors import ConfigError, GmmdynError
from gmmdyn.experiment import Experiment
from gmmdyn.experiment.configuration import Configuration
from gmmdyn.experiment.lists import simulate_many, solve_many
from gmmdyn.experiment.plain_values import plain
from gmmdyn.trajectory import Trajectory
from gmmdyn.trajectory.metadata import Metadata

Run = Literal["solve", "simulate"]


class Point(NamedTuple):
    """One point of a sweep.

    Attributes:
        at: where it stands in the grid.
        job: a configuration in plain values, or the keywords of a function.
    """

    at: tuple[int, ...]
    job: Mapping[str, Any]


class Outcome(NamedTuple):
    """What came of a point.

    Attributes:
        at: where the point stands in the grid.
        trajectory: the result, or None if it failed.
        message: why it failed, or an empty string.
    """

    at: tuple[int, ...]
    trajectory: Trajectory | None
    message: str


def key_of(job: Mapping[str, Any], run: str) -> str:
    """Name a job by its content, so that a finished one is found again.

    Args:
        job: of a point.
        run: what is done with it.

    Returns:
        A string that other jobs do not have.
    """
    text = json.dumps([run, plain(job)], sort_keys=True, allow_nan=True)
    return hashlib.sha256(text.encode()).hexdigest()[:24]


def run_points(
    points: Sequence[Point], run: Run | Callable[..., Trajectory], threads: int | None
) -> list[Outcome]:
    """Run some points, in the process that is called.

    Args:
        points: the points.
        run: what to do with a configuration, or a function of the keywords.
        threads: for torch to use, or None to leave it alone.

    Returns:
        An outcome for each; a point that fails does not stop the others.
    """
    if threads is not None:
        import torch

        torch.set_num_threads(threads)
    if callable(run):
        outcomes = [_guarded(point, lambda job: run(**job)) for point in points]
    elif run == "solve":
        outcomes = _together(points, lambda found: [found.theory, _times(found)], _solve)
    elif len(points) > 1:
        outcomes = _together(points, lambda found: found.simulation, _simulate)
    else:
        outcomes = [_guarded(point, _simulated) for point in points]
    return [_alone(outcome) for outcome in outcomes]


def _alone(outcome: Outcome) -> Outcome:
    """Leave out what is still to be computed, which no sweep asks for, and what it holds on to."""
    trajectory = outcome.trajectory
    if trajectory is None or not isinstance(trajectory.metadata, Metadata):
        return outcome
    return outcome._replace(trajectory=replace(trajectory, metadata=trajectory.metadata.known))


def side_by_side(points: Sequence[Point], chains: int) -> int:
    """Say how many simulations are best run in one call, as one run of the chain engine.

    Args:
        points: to be simulated; the first one stands for all.
        chains: that run at once.

    Returns:
        At least 1.
    """
    from gmmdyn.training import ChainEngine

    try:
        configuration = Configuration.from_mapping(points[0].job)
        experiment = Experiment.from_configuration(configuration)
        parts = experiment.data_model, experiment.network, experiment.algorithm
        replicas = checks.whole("replicas", configuration.simulation.get("replicas", 1))
    except Exception:  # it is said where the point is run
        return 1
    named = configuration.simulation.get("engine", "auto")
    if named not in ("auto", ChainEngine.name) or ChainEngine.obstacle(*parts) is not None:
        return 1
    return max(1, chains // replicas)


def _guarded(point: Point, function: Callable[[Mapping[str, Any]], Trajectory]) -> Outcome:
    try:
        return Outcome(point.at, function(point.job), "")
    except Exception as error:  # a sweep outlives any of its points
        return Outcome(point.at, None, _said(error))


def _said(error: Exception) -> str:
    return str(error) if isinstance(error, GmmdynError) else f"{type(error).__name__}: {error}"


def _simulated(job: Mapping[str, Any]) -> Trajectory:
    configuration = Configuration.from_mapping(job)
    return Experiment.from_configuration(configuration).simulate(**configuration.simulation)


def _together(
    points: Sequence[Point],
    shared: Callable[[Configuration], Any],
    run: Callable[[Sequence[Experiment], Configuration], Sequence[Trajectory | Exception]],
) -> list[Outcome]:
    """Run points in one call for all that share some settings.

    Args:
        points: the points.
        shared: the settings, of a configuration.
        run: what runs experiments whose configurations share them.

    Returns:
        An outcome for each.
    """
    outcomes: dict[tuple[int, ...], Outcome] = {}
    groups: dict[str, list[tuple[Point, Experiment, Configuration]]] = {}
    for point in points:
        try:
            configuration = Configuration.from_mapping(point.job)
            same = json.dumps(plain(shared(configuration)), sort_keys=True)
            groups.setdefault(same, []).append(
                (point, Experiment.from_configuration(configuration), configuration)
            )
        except Exception as error:  # a sweep outlives any of its points
            outcomes[point.at] = Outcome(point.at, None, _said(error))
    for group in groups.values():
        found: list[Trajectory | Exception] = []
        try:
            found += run([experiment for _, experiment, _ in group], group[0][2])
        except Exception:  # whose it is, shows when each is run by itself
            for _, experiment, configuration in group:
                try:
                    found += run([experiment], configuration)
                except Exception as error:  # a sweep outlives any of its points
                    found.append(error)
        for (point, *_), result in zip(group, found, strict=True):
            if isinstance(result, Exception):
                outcomes[point.at] = Outcome(point.at, None, _said(result))
            else:
                outcomes[point.at] = Outcome(point.at, result, "")
    return [outcomes[point.at] for point in points]


def _solve(
    experiments: Sequence[Experiment], configuration: Configuration
) -> Sequence[Trajectory | Exception]:
    theory = configuration.predictor()
    if theory is None:
        raise ConfigError("the configuration has no `theory`.")
    return solve_many(experiments, theory, **_times(configuration))


def _simulate(
    experiments: Sequence[Experiment], configuration: Configuration
) -> Sequence[Trajectory | Exception]:
    return simulate_many(experiments, **configuration.simulation)


def _times(configuration: Configuration) -> dict[str, Any]:
    values = configuration.simulation
    return {key: values[key] for key in ("duration", "times") if key in values}
