"""Run many experiments with Lightning, side by side where they differ in numbers only."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any

import numpy as np

from gmmdyn import checks
from gmmdyn.errors import ConvergenceError, GmmdynError, IncompatibleError
from gmmdyn.training.chain.engine import ChainEngine
from gmmdyn.training.chain.points import Point
from gmmdyn.training.engines import ENGINES
from gmmdyn.training.recorder import Recorder
from gmmdyn.training.runner import run
from gmmdyn.training.simulate import Problem, metadata, outcome, simulate
from gmmdyn.trajectory import Trajectory


def simulate_many(
    problems: Sequence[Problem],
    grid: Callable[[int], np.ndarray],
    *,
    replicas: int,
    seed: int,
    engine: str,
    test_size: int,
    block_size: int | None,
    progress: bool | None,
    trainer: Mapping[str, Any] | None,
) -> list[Trajectory | GmmdynError]:
    """Simulate; see `gmmdyn.simulate_many`.

    Args:
        problems: what to simulate: data model, network and algorithm of each.
        grid: returns the recording times at a dimension.
        replicas: of each experiment.
        seed: of all samples and test sets.
        engine: the name of an engine, or `"auto"`.
        test_size: points in each test set.
        block_size: updates in a block.
        progress: whether to show a progress bar.
        trainer: keywords for Lightning's `Trainer`.

    Returns:
        A trajectory or an error for each.

    Raises:
        IncompatibleError: if several experiments would share loggers or callbacks.
    """
    given = trainer or {}
    objects = not isinstance(given.get("logger"), bool | None) or bool(given.get("callbacks"))
    if objects and len(problems) > 1:
        raise IncompatibleError(
            "`logger` and `callbacks` of the trainer belong to one run: what they keep of one "
            "experiment would go into the next; simulate the experiments one by one."
        )
    checks.choice("engine", engine, ("auto", *(cls.name for cls in ENGINES)))
    replicas = checks.whole("replicas", replicas)
    seed = checks.whole("seed", seed, at_least=0)
    test_size = checks.whole("test_size", test_size)
    block_size = None if block_size is None else checks.whole("block_size", block_size)
    times = {dim: grid(dim) for dim in {data_model.dim for data_model, _, _ in problems}}
    together: dict[Hashable, list[int]] = {}
    for index, one in enumerate(problems):
        # What is logged, and what a checkpoint holds, is of one experiment.
        alone = bool(given.get("logger") or given.get("enable_checkpointing"))
        kind = index if alone else _kind(one, engine, index)
        together.setdefault(kind, []).append(index)
    results: dict[int, Trajectory | GmmdynError] = {}
    for members in together.values():
        first, *others = (problems[index] for index in members)
        if not others:
            results[members[0]] = _alone(
                first,
                times[first[0].dim],
                replicas=replicas,
                seed=seed,
                engine=engine,
                test_size=test_size,
                block_size=block_size,
                progress=progress,
                trainer=trainer,
                checkpoint=None,
                resume=None,
            )
            continue
        chains = ChainEngine(
            *first,
            replicas=replicas,
            seed=seed,
            block_size=block_size,
            others=others,
        )
        recorder = Recorder(chains, times[chains.dim], test_size)
        try:
            run(chains, recorder, progress=progress, trainer=trainer)
        except IncompatibleError as error:
            results |= dict.fromkeys(members, error)
            continue
        about = metadata(chains, replicas, seed, test_size)
        for place, index in enumerate(members):
            part = slice(place * replicas, (place + 1) * replicas)
            results[index] = outcome(recorder, recorder.trajectory(about, part))
    return [results[index] for index in range(len(problems))]


def _kind(problem: Problem, engine: str, index: int) -> Hashable:
    """Return what experiments that run together share; nobody shares an index."""
    if engine not in ("auto", ChainEngine.name) or ChainEngine.obstacle(*problem) is not None:
        return index
    return Point.of(*problem).kind


def _alone(problem: Problem, times: np.ndarray, **options: Any) -> Trajectory | GmmdynError:
    try:
        return simulate(problem, times, **options)
    except (ConvergenceError, IncompatibleError) as error:
        return error
