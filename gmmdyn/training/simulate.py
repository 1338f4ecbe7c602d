"""Run an experiment with Lightning."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from gmmdyn import checks
from gmmdyn.algorithm import OnlineSGD
from gmmdyn.errors import ConfigError, DivergenceError
from gmmdyn.interfaces import DataModel, Network
from gmmdyn.training.engine import Engine
from gmmdyn.training.engines import build_engine
from gmmdyn.training.recorder import Recorder
from gmmdyn.training.runner import run
from gmmdyn.trajectory import Trajectory

# What is simulated: data model, network, algorithm.
Problem = tuple[DataModel, Network, OnlineSGD]


def simulate(
    problem: Problem,
    times: np.ndarray,
    *,
    replicas: int,
    seed: int,
    engine: str,
    test_size: int,
    block_size: int | None,
    progress: bool | None,
    trainer: Mapping[str, Any] | None,
    checkpoint: str | Path | None,
    resume: str | Path | None,
) -> Trajectory:
    """Simulate; see `Experiment.simulate`, which checks and fills in the arguments."""
    chosen = build_engine(
        engine,
        *problem,
        replicas=replicas,
        seed=seed,
        block_size=block_size,
    )
    recorder = Recorder(chosen, times, checks.whole("test_size", test_size))
    about = metadata(chosen, replicas, seed, test_size)
    try:
        run(
            chosen,
            recorder,
            progress=progress,
            trainer=trainer,
            checkpoint=checkpoint,
            resume=resume,
        )
    except DivergenceError as error:
        raise DivergenceError(str(error), recorder.trajectory(about)) from None
    found = outcome(recorder, recorder.trajectory(about))
    if isinstance(found, DivergenceError):
        raise found
    return found


def metadata(engine: Engine, replicas: int, seed: int, test_size: int) -> dict[str, Any]:
    """Return what a trajectory says of its simulation.

    Args:
        engine: that ran.
        replicas: of the experiment.
        seed: of the run.
        test_size: points in each test set.

    Returns:
        JSON types only.
    """
    return {
        "engine": engine.name,
        "replicas": replicas,
        "seed": seed,
        "block_size": engine.block_size,
        "test_size": test_size,
    }


def outcome(recorder: Recorder, trajectory: Trajectory | None) -> Trajectory | DivergenceError:
    """Tell an experiment that diverged, and was recorded as not finite from there on, from others.

    Args:
        recorder: of its run.
        trajectory: what was recorded of it, up to where it is not finite any more.

    Returns:
        The trajectory, or the error that it ended in.

    Raises:
        ConfigError: if the trainer stopped before the first recording time.
    """
    times = recorder.times
    if not len(times):
        raise ConfigError("the trainer stopped before the first recording time.")
    count = 0 if trajectory is None else len(trajectory.times)
    if count == len(times) and trajectory is not None:
        return trajectory
    begin = times[count - 1] if count else 0.0
    return DivergenceError(
        f"the weights grew beyond all bounds between t = {begin:.6g} and {times[count]:.6g}; "
        "lower the learning rate.",
        trajectory,
    )
