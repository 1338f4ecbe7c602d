"""Predict many experiments in one call."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from gmmdyn.errors import ConvergenceError, GmmdynError
from gmmdyn.experiment import Experiment, build_theory
from gmmdyn.interfaces import Theory
from gmmdyn.order_parameters import OrderParameters
from gmmdyn.times import settle_times
from gmmdyn.trajectory import Trajectory


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
    # Recording times are whole samples, so that they depend on the dimension.
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
            if isinstance(result, Trajectory):
                result = one.described(result)
            elif isinstance(result, ConvergenceError) and result.partial is not None:
                result.partial = one.described(result.partial)
            results[i] = result
    return [results[i] for i in range(len(experiments))]
