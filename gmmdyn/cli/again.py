"""Draw and report a run again, from what it wrote."""

from __future__ import annotations

from pathlib import Path

from gmmdyn import Trajectory, compare
from gmmdyn.cli import directory as places
from gmmdyn.cli import results
from gmmdyn.cli.command import Command
from gmmdyn.cli.console import say
from gmmdyn.cli.registered import command_objects
from gmmdyn.cli.report import write_report
from gmmdyn.errors import DataError
from gmmdyn.experiment import Configuration


def draw_again(run: Path, time_unit: str | None = None) -> None:
    """Draw the figures of a run again and print its table.

    Args:
        run: the directory of a run that simulated, or of a command that draws its own.
        time_unit: of the figures; None for that of the run.

    Raises:
        DataError: if it is none.
        RangeError: if the unit of time is unknown.
        OutputError: if the figures cannot be written.
    """
    command = _command_of(run)
    if command is not None:
        command.draw(run)
        say(command.table(run))
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
    results.draw(run, comparison, time_unit)
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
    command = _command_of(run)
    if command is not None:
        say(f"written to {write_report(run, command.table(run), command.title)}")
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
        table = results.text_of(predicted)
    else:
        raise DataError(f"`{run}` holds no results; give the directory of a run.")
    say(f"written to {write_report(run, table)}")


def _command_of(run: Path) -> Command | None:
    """Return the command of a plugin that wrote a run and draws it by itself, or None."""
    for command in command_objects():
        if command.results and (run / command.results[0]).is_file():
            return command
    return None
