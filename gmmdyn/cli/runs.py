"""Run an experiment, and write one directory."""

from __future__ import annotations

import sys
from collections.abc import Collection
from pathlib import Path

import numpy as np

from gmmdyn import Experiment, Theory, Trajectory, compare
from gmmdyn.cli import directory as places
from gmmdyn.cli import results
from gmmdyn.cli.arguments import Arguments
from gmmdyn.cli.command import Command
from gmmdyn.cli.console import say
from gmmdyn.cli.record import header
from gmmdyn.cli.report import write_report
from gmmdyn.errors import ConfigError, ConvergenceError, IncompatibleError
from gmmdyn.experiment import Configuration
from gmmdyn.trajectory.files import write_text


def run_experiment(
    command: Command,
    arguments: Arguments,
    configuration: Configuration,
    what: Collection[str],
) -> None:
    """Run an experiment and write one directory.

    Args:
        command: for the record.
        arguments: the words after it.
        configuration: what to run.
        what: of `"simulate"` and `"solve"` one or both. With both, a theory that does not describe
            the experiment is left out.

    Raises:
        GmmdynError: if the input is bad, or the run fails; what a run had when it failed is kept.
    """
    # What runs is what is written, so that the file repeats the run.
    configuration = configuration.resolved()
    target = places.target_of(arguments)
    failure: ConvergenceError | None = None
    with places.run_directory(target, "--overwrite" in arguments.flags) as folder:
        record = header(command, arguments) + configuration.to_yaml()
        write_text(folder / places.CONFIG, record)
        experiment = Experiment.from_configuration(configuration)
        theory = None
        if "solve" in what:
            theory = _theory(configuration, experiment, alone="simulate" not in what)
        simulated = predicted = None
        try:
            if "simulate" in what:
                simulated = _simulated(configuration, experiment)
                if theory is not None:
                    predicted = experiment.solve(theory, times=simulated.times)
            else:
                assert theory is not None
                predicted = _solved(configuration, experiment, theory)
        except ConvergenceError as error:
            if error.partial is None and simulated is None:
                raise
            failure = error
            if error.partial is not None and error.partial.source == "simulation":
                simulated = error.partial
            else:
                predicted = error.partial
        table = _write(folder, simulated, predicted, configuration.figures["time_unit"])
        write_report(folder, table)
    say(table)
    say(f"written to {target}")
    if failure is not None:
        raise failure


def _theory(configuration: Configuration, experiment: Experiment, *, alone: bool) -> Theory | None:
    """Build the theory, or say why there is none."""
    theory = configuration.predictor()
    if theory is None:
        if alone:
            raise ConfigError("the configuration has no `theory`; give `--theory.name`.")
        print("gmmdyn: no theory is asked for: simulation only.", file=sys.stderr)
        return None
    if not (alone or theory.follows_time):
        raise ConfigError("the theory predicts no curve to compare with; use `gmmdyn solve`.")
    try:
        experiment.check(theory)
    except IncompatibleError as error:
        if alone:
            raise
        print(f"gmmdyn: simulation only: {error}", file=sys.stderr)
        return None
    return theory


def _simulated(configuration: Configuration, experiment: Experiment) -> Trajectory:
    from gmmdyn.training.distributed import first_process

    options = {"progress": None, **configuration.simulation}
    try:
        return experiment.simulate(**options)
    finally:
        if not first_process():
            raise SystemExit  # the first one has all replicas, and writes


def _solved(configuration: Configuration, experiment: Experiment, theory: Theory) -> Trajectory:
    grid = {k: v for k, v in configuration.simulation.items() if k in ("duration", "times")}
    return experiment.solve(theory, **grid)


def _write(
    folder: Path, simulated: Trajectory | None, predicted: Trajectory | None, time_unit: str
) -> str:
    """Write results and figures; return the table."""
    if simulated is not None:
        simulated.save(folder / places.SIMULATION)
    if predicted is not None:
        predicted.save(folder / places.THEORY)
    if simulated is None:
        assert predicted is not None
        if not np.isinf(predicted.times).all():
            from gmmdyn.plot import plot_trajectory

            plot_trajectory(predicted, folder / places.ERRORS, time_unit)
        return results.text_of(predicted)
    comparison = compare(simulated, predicted)
    results.draw(folder, comparison, time_unit)
    return comparison.table()
