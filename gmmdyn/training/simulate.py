"""Run an experiment with Lightning."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from gmmdyn import checks
from gmmdyn.errors import ConfigError, DivergenceError
from gmmdyn.training.engine import Engine
from gmmdyn.training.engines import build_engine
from gmmdyn.training.recorder import Recorder
from gmmdyn.training.runner import run
from gmmdyn.trajectory import Trajectory

if TYPE_CHECKING:
    from gmmdyn.experiment import Experiment


def simulate(
    experiment: Experiment,
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
        experiment.data_model,
        experiment.network,
        experiment.algorithm,
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
    trajectory = recorder.trajectory(about)
    if trajectory is None:
        raise ConfigError("the trainer stopped before the first recording time.")
    return trajectory


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
