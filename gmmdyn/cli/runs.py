"""The commands that run an experiment, and `plot` after them."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from gmmdyn import Experiment, Theory, Trajectory, compare
from gmmdyn.cli import fixed_points
from gmmdyn.cli import run_directory as places
from gmmdyn.cli.arguments import Arguments
from gmmdyn.cli.console import say
from gmmdyn.cli.header import header
from gmmdyn.cli.overrides import configured
from gmmdyn.cli.report import write_report
from gmmdyn.errors import ConfigError, ConvergenceError, DataError, IncompatibleError
from gmmdyn.experiment.configuration import Configuration
from gmmdyn.fixed_points.table import REDUCED
from gmmdyn.trajectory.files import write_text

if TYPE_CHECKING:
    from gmmdyn import Comparison

ORDER_PARAMETERS = {"Q", "R", "v", "b"}


def run_command(command: str, arguments: Arguments) -> None:
    """Run an experiment and write one directory.

    Args:
        command: `"compare"`, `"simulate"`, `"solve"` or `"fixed-point"`.
        arguments: the words after it.

    Raises:
        GmmdynError: if the input is bad, or the run fails; what a run had when it failed is kept.
    """
    configuration = configured(command, arguments)
    if configuration is None:
        return
    # What runs is what is written, so that the file repeats the run.
    configuration = configuration.resolved()
    if command == "fixed-point" and fixed_points.many_wanted(arguments):
        fixed_points.find_many(configuration, arguments, header(command, arguments))
        return
    output = arguments.last("--output")
    source = arguments.positional[0]
    target = places.default_target(source) if output is None else Path(output)
    failure: ConvergenceError | None = None
    with places.run_directory(target, "--overwrite" in arguments.flags) as folder:
        record = header(command, arguments) + configuration.to_yaml()
        write_text(folder / places.CONFIG, record)
        experiment = Experiment.from_configuration(configuration)
        theory = None if command == "simulate" else _theory(command, configuration, experiment)
        simulated = predicted = None
        try:
            if command in ("solve", "fixed-point"):
                assert theory is not None
                predicted = _solved(configuration, experiment, theory)
            else:
                simulated = _simulated(configuration, experiment)
                if theory is not None:
                    predicted = experiment.solve(theory, times=simulated.times)
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


def draw_again(run: Path, time_unit: str | None = None) -> None:
    """Draw the figures of a run again and print its table.

    Args:
        run: the directory of a run that simulated, or of many fixed points.
        time_unit: of the figures; None for that of the run.

    Raises:
        DataError: if it is none.
        RangeError: if the unit of time is unknown.
        OutputError: if the figures cannot be written.
    """
    if (run / places.FEATURE_ERRORS).is_file():
        from gmmdyn.cli import random_features

        random_features.draw_again(run)
        return
    if (run / places.FIXED_POINTS).is_file():
        say(fixed_points.draw_again(run))
        say(f"written to {run}")
        return
    if not (run / places.SIMULATION).is_file():
        raise DataError(f"`{run}` has no `{places.SIMULATION}`; give the directory of a run.")
    has_theory = (run / places.THEORY).is_file()
    comparison = compare(
        Trajectory.load(run / places.SIMULATION),
        Trajectory.load(run / places.THEORY) if has_theory else None,
    )
    if time_unit is None:
        time_unit = Configuration.load(run / places.CONFIG).resolved().figures["time_unit"]
    _draw(run, comparison, time_unit)
    say(comparison.table())
    say(f"written to {run}")


def report_again(run: Path) -> None:
    """Write the report of a run again.

    Args:
        run: the directory of a run.

    Raises:
        DataError: if it is none.
        OutputError: if the report cannot be written.
    """
    if (run / places.FEATURE_ERRORS).is_file():
        from gmmdyn.cli.random_features import table_of

        say(f"written to {write_report(run, table_of(run))}")
        return
    if (run / places.FIXED_POINTS).is_file():
        say(f"written to {write_report(run, fixed_points.draw_again(run))}")
        return
    found = {
        name: Trajectory.load(run / name)
        for name in (places.SIMULATION, places.THEORY)
        if (run / name).is_file()
    }
    simulated, predicted = found.get(places.SIMULATION), found.get(places.THEORY)
    if simulated is not None:
        table = compare(simulated, predicted).table()
    elif predicted is not None:
        table = _said(predicted)
    else:
        raise DataError(f"`{run}` holds no results; give the directory of a run.")
    say(f"written to {write_report(run, table)}")


def _theory(command: str, configuration: Configuration, experiment: Experiment) -> Theory | None:
    """Build the theory, or say why there is none."""
    theory = configuration.predictor()
    if theory is None:
        if command != "compare":
            raise ConfigError("the configuration has no `theory`; give `--theory.name`.")
        print("gmmdyn: no theory is asked for: simulation only.", file=sys.stderr)
        return None
    if command == "compare" and not theory.follows_time:
        raise ConfigError("the theory predicts no curve to compare with; use `gmmdyn fixed-point`.")
    try:
        experiment.check(theory)
    except IncompatibleError as error:
        if command != "compare":
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
        return _said(predicted)
    comparison = compare(simulated, predicted)
    _draw(folder, comparison, time_unit)
    return comparison.table()


def _draw(folder: Path, comparison: Comparison, time_unit: str) -> None:
    comparison.plot(folder / places.ERRORS, time_unit)
    if ORDER_PARAMETERS & set(comparison.simulated.curves):
        comparison.plot_order_parameters(folder / places.ORDER_PARAMETERS, time_unit)


def _said(predicted: Trajectory) -> str:
    """Return a prediction as text: a fixed point, or a table in time."""
    return _rest(predicted) if np.isinf(predicted.times).all() else _table(predicted)


def _table(predicted: Trajectory, rows: int = 8) -> str:
    """Return both errors of a theory at some of its times."""
    last = predicted.times.size - 1
    chosen = sorted({round(i * last / max(rows - 1, 1)) for i in range(rows)})
    lines = ["        t      pmse  classification error"]
    lines += [
        f"{predicted.times[i]:9.4g}  {predicted.pmse[i]:8.5f}  "
        f"{predicted.classification_error[i]:20.5f}"
        for i in chosen
    ]
    return "\n".join(lines)


def _rest(predicted: Trajectory) -> str:
    """Return what there is to say of a fixed point."""

    def row(values: object) -> str:
        return "  ".join(f"{float(value):9.5f}" for value in values)  # type: ignore[attr-defined]

    lines = [
        f"pmse                  {predicted.pmse[0]:.6f}",
        f"classification error  {predicted.classification_error[0]:.6f}",
    ]
    bayes = predicted.metadata.get("bayes_error")
    if bayes is not None:
        lines.append(f"Bayes error           {bayes['value']:.6f}")
    if "Q" not in predicted.curves:  # as for random features
        return "\n".join(lines)
    solver = predicted.metadata["solver"]
    order = predicted.order_parameters(0)
    lines += [
        f"v      {row(order.v)}",
        f"Q_kk   {row(order.Q.diagonal())}",
        *(f"R[{cluster}]   {row(overlaps)}" for cluster, overlaps in enumerate(order.R)),
        _stability(predicted),
        f"residual {solver['residual']:.2g} after {solver['evaluations']} evaluations",
    ]
    return "\n".join(lines)


def _stability(predicted: Trajectory) -> str:
    """Return what is known of the stability of a fixed point."""
    about = predicted.metadata
    if "reduced" in about:
        return REDUCED
    said = str(about["stability"])
    if said == "unknown":
        return "stability: unknown, as the right-hand side has no derivative there"
    if about.get("marginal"):
        said += f", {about['marginal']} eigenvalues zero within their error"
    if about.get("left_saddles"):
        said += f", after {about['left_saddles']} saddles that were left"
    rates = about.get("eigenvalues")
    return f"{said}: largest real part of an eigenvalue {max(rates):.3g}" if rates else said
