"""Predict or simulate many experiments in one call."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from gmmdyn.errors import ConvergenceError, GmmdynError
from gmmdyn.experiment.experiment import Experiment, build_theory
from gmmdyn.interfaces import Theory
from gmmdyn.trajectory import Trajectory
from gmmdyn.trajectory.order_parameters import OrderParameters
from gmmdyn.trajectory.times import settle_times


def solve_many(
    experiments: Sequence[Experiment],
    theory: str | Theory = "ode",
    duration: float | None = None,
    *,
    times: Sequence[float] | np.ndarray | None = None,
    initial: Sequence[OrderParameters | None] | None = None,
    **options: Any,
) -> list[Trajectory | GmmdynError]:
    """Predict many experiments: a grid of rates, of noise, of weights to start from.

    The result is that of `Experiment.solve` for each, within the tolerances of the theory, but a
    theory may solve them together, which is faster; `ode` does. One that fails does not keep the
    others from being solved.

    Args:
        experiments: what to solve.
        theory: a registered name, or a `Theory`.
        duration: as of `Experiment.solve`.
        times: as of `Experiment.solve`.
        initial: where each starts; by default the initial weights of its network.
        **options: keywords of the theory when it is given by name.

    Returns:
        For each experiment in turn its trajectory, or the error that it ended in: a
        `ConvergenceError` with what it had in `partial`, or an `IncompatibleError`.

    Raises:
        RangeError: if the times are out of range.
        ArgumentError: if an option is unknown.
    """
    chosen = build_theory(theory, options)
    starts = list(initial) if initial is not None else [None] * len(experiments)
    results: dict[int, Trajectory | GmmdynError] = {}
    # Recording times are whole updates, so that they depend on the dimension.
    for dim in dict.fromkeys(one.data_model.dim for one in experiments):
        mine = [i for i, one in enumerate(experiments) if one.data_model.dim == dim]
        grid = np.array([np.inf])
        if chosen.follows_time:
            grid = settle_times(duration, times, dim)
        parts = [experiments[i] for i in mine]
        found = chosen.solve_many(
            [(one.data_model, one.network, one.algorithm) for one in parts],
            times=grid,
            initial=[starts[i] for i in mine],
        )
        for i, one, result in zip(mine, parts, found, strict=True):
            results[i] = _described(one, result)
    return [results[i] for i in range(len(experiments))]


def simulate_many(
    experiments: Sequence[Experiment],
    duration: float | None = None,
    *,
    times: Sequence[float] | np.ndarray | None = None,
    replicas: int = 1,
    seed: int = 0,
    engine: str = "auto",
    test_size: int = 10_000,
    block_size: int | None = None,
    progress: bool | None = False,
    trainer: Mapping[str, Any] | None = None,
) -> list[Trajectory | GmmdynError]:
    """Simulate many experiments: a grid of rates, of noise, of weights to start from.

    The result is that of `Experiment.simulate` for each, bit for bit on a CPU, and one that fails
    does not keep the others from being simulated. Experiments that the engine `chain` simulates
    and that differ in numbers only (means, priors, variance, rates, decay, label noise, initial
    weights) run side by side: on all cores, or in one kernel on a GPU. The others run one after
    the other.

    Args:
        experiments: what to simulate.
        duration: as of `Experiment.simulate`.
        times: as of `Experiment.simulate`.
        replicas: independent runs of each experiment, at least 1.
        seed: of all samples and test sets, not negative; replica i of every experiment has the
            same one.
        engine: as of `Experiment.simulate`.
        test_size: points in each test set, at least 1.
        block_size: as of `Experiment.simulate`.
        progress: whether to show a progress bar; None shows it on a terminal.
        trainer: keywords for Lightning's `Trainer`, such as `accelerator`.

    Returns:
        For each experiment in turn its trajectory, or the error that it ended in: a
        `DivergenceError` with what was recorded in `partial`, or an `IncompatibleError`.

    Raises:
        RangeError: if a number is out of range.
        ArgumentError: if the trainer has no such keyword.
        IncompatibleError: if several experiments would share loggers or callbacks of the trainer.
        ConfigError: if the trainer stopped before the first recording time.
    """
    from gmmdyn.training.simulate_many import simulate_many as run

    found = run(
        [(one.data_model, one.network, one.algorithm) for one in experiments],
        lambda dim: settle_times(duration, times, dim),
        replicas=replicas,
        seed=seed,
        engine=engine,
        test_size=test_size,
        block_size=block_size,
        progress=progress,
        trainer=trainer,
    )
    return [_described(one, result) for one, result in zip(experiments, found, strict=True)]


def _described(
    experiment: Experiment, result: Trajectory | GmmdynError
) -> Trajectory | GmmdynError:
    """Add to a result, or to what there is of it, what is needed to run it again."""
    if isinstance(result, Trajectory):
        return experiment.described(result)
    if isinstance(result, ConvergenceError) and result.partial is not None:
        result.partial = experiment.described(result.partial)
    return result
