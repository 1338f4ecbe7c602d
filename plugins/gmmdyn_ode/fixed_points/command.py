"""The command `fixed-point`: one fixed point, one along a parameter, or all from many starts.

Imported whenever commands are listed, so it imports nothing heavy at its top.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, final

from gmmdyn import checks, hookimpl
from gmmdyn.cli import AXIS, CONFIGURATION, DATA, OUTPUT, TIME_UNIT, Arguments, Command
from gmmdyn.errors import ConfigError

if TYPE_CHECKING:
    import xarray as xr

    from gmmdyn.experiment import Configuration
    from gmmdyn_ode.fixed_points.continuation import Continuation
    from gmmdyn_ode.fixed_points.multistart import Multistart

_RECORD, _FOUND, _FIGURE = "fixed_points.yaml", "fixed_points.nc", "fixed_points.png"
_MANY = ("--along", "--starts", "--seed")


@final
class FixedPoint(Command):
    """The command `fixed-point`; with `--along` or `--starts` it finds many."""

    summary = "Find where the order parameters come to rest."
    positional = CONFIGURATION
    configurable = True
    options: ClassVar[Mapping[str, str]] = {
        "--along": f"follow the fixed point along a parameter: {AXIS}",
        "--starts": "search for all fixed points from this many starts",
        "--seed": "of those starts (default: 0)",
        **OUTPUT,
        **DATA,
        **TIME_UNIT,
    }
    results = (_RECORD, _FOUND, _FIGURE, "points")

    def run(self, arguments: Arguments) -> None:
        """Find what is asked for and write one directory.

        Points of many are kept there as they are found; a directory that holds some of the same is
        gone on with.
        """
        from gmmdyn.cli import configured, run_experiment

        configuration = configured(self, arguments, theory="state-evolution")
        if configuration is None:
            return
        if any(arguments.last(option) is not None for option in _MANY):
            self._find_many(configuration.resolved(), arguments)
        else:
            run_experiment(self, arguments, configuration, ("solve",))

    def draw(self, run: Path) -> None:
        """Draw the figure again."""
        from gmmdyn_ode.fixed_points.dataset import load_fixed_points

        _draw(run, load_fixed_points(run / _FOUND))

    def table(self, run: Path) -> str:
        """Return the fixed points, one in a line."""
        from gmmdyn_ode.fixed_points.dataset import load_fixed_points
        from gmmdyn_ode.fixed_points.table import table

        return table(load_fixed_points(run / _FOUND))

    def _find_many(self, configuration: Configuration, arguments: Arguments) -> None:
        from gmmdyn.cli import claim, header, say, target_of, write_report
        from gmmdyn.trajectory.files import write_netcdf
        from gmmdyn_ode.fixed_points.table import table

        wanted = _wanted(configuration, arguments)
        target = target_of(arguments)
        claim(
            target,
            _RECORD,
            _record(wanted),
            header(self, arguments) + configuration.to_yaml(),
            overwrite="--overwrite" in arguments.flags,
        )
        try:
            dataset = wanted.run(target, progress=None)
            write_netcdf(target / _FOUND, dataset)
            _draw(target, dataset)
            said = table(dataset)
            write_report(target, said)
        except KeyboardInterrupt:
            raise KeyboardInterrupt(
                f"the points that are finished are in {target}, and the same command with "
                f"`--output {target}` goes on from there"
            ) from None
        say(said)
        say(f"written to {target}")


@hookimpl
def gmmdyn_commands() -> dict[str, type[Command]]:
    """Register the command."""
    return {"fixed-point": FixedPoint}


def _draw(run: Path, dataset: xr.Dataset) -> None:
    if "pmse" in dataset and bool(dataset["pmse"].notnull().any()):
        from gmmdyn_ode.fixed_points.figure import plot_fixed_points

        plot_fixed_points(dataset, run / _FIGURE)


def _wanted(configuration: Configuration, arguments: Arguments) -> Continuation | Multistart:
    """Read and check what is asked for, before anything is written."""
    from gmmdyn.sweeping import read_axis
    from gmmdyn_ode.fixed_points.continuation import continuation
    from gmmdyn_ode.fixed_points.multistart import multistart

    along, starts = arguments.last("--along"), arguments.last("--starts")
    if (along is None) == (starts is None):
        raise ConfigError("`gmmdyn fixed-point` takes `--along` or `--starts`, one of the two.")
    seed = arguments.last("--seed")
    if starts is not None:
        return multistart(
            configuration,
            checks.whole("--starts", _number(starts)),
            checks.whole("--seed", _number(seed or "0"), at_least=0),
        )
    assert along is not None
    if seed is not None:
        raise ConfigError("`--seed` is that of `--starts`; drop it.")
    if sum(option == "--along" for option, _ in arguments.values) > 1:
        raise ConfigError("`--along` takes one parameter; `gmmdyn sweep` takes several.")
    axis = read_axis(along)
    return continuation(configuration, axis.name, axis.values)


def _record(wanted: Continuation | Multistart) -> str:
    """Return what the directory is of, as YAML: the same command goes on in it."""
    from gmmdyn.experiment import write_yaml
    from gmmdyn_ode.fixed_points.continuation import Continuation

    what: dict[str, Any]
    if isinstance(wanted, Continuation):
        what = {"along": {f"{wanted.section}.{wanted.option}": wanted.values}}
    else:
        what = {"starts": wanted.starts, "seed": wanted.seed}
    return write_yaml({**what, "configuration": wanted.search.job})


def _number(text: str) -> int | str:
    try:
        return int(text)
    except ValueError:
        return text
