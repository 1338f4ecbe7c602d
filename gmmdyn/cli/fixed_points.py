"""The command `fixed-point` with `--along` or `--starts`: many fixed points, one directory."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from gmmdyn import checks
from gmmdyn.cli import run_directory as places
from gmmdyn.cli.arguments import Arguments
from gmmdyn.cli.console import say
from gmmdyn.cli.report import write_report
from gmmdyn.errors import ConfigError
from gmmdyn.experiment.configuration import Configuration
from gmmdyn.experiment.yaml_text import write_yaml
from gmmdyn.fixed_points import load_fixed_points
from gmmdyn.fixed_points.continuation import Continuation, continuation
from gmmdyn.fixed_points.multistart import Multistart, multistart
from gmmdyn.fixed_points.table import table
from gmmdyn.sweeping import read_axis
from gmmdyn.trajectory.files import write_netcdf

if TYPE_CHECKING:
    import xarray as xr

OPTIONS = ("--along", "--starts", "--seed")


def many_wanted(arguments: Arguments) -> bool:
    """Return whether the command line asks for more than one fixed point.

    Args:
        arguments: the words after the command.

    Returns:
        Whether any of `OPTIONS` is there.
    """
    return any(arguments.last(option) is not None for option in OPTIONS)


def find_many(configuration: Configuration, arguments: Arguments, header: str) -> None:
    """Follow a fixed point or search for all, print the table and write one directory.

    Points are kept there as they are found; a directory that holds some of the same is gone on
    with.

    Args:
        configuration: resolved.
        arguments: the words after the command.
        header: comment lines for the configuration file.

    Raises:
        GmmdynError: if the input is bad, no start converges, or nothing can be written.
        KeyboardInterrupt: if it is interrupted; the message says what is left.
    """
    wanted = _wanted(configuration, arguments)
    output = arguments.last("--output")
    target = places.default_target(arguments.positional[0]) if output is None else Path(output)
    places.claim_for_fixed_points(
        target,
        _record(wanted),
        header + configuration.to_yaml(),
        overwrite="--overwrite" in arguments.flags,
    )
    try:
        dataset = wanted.run(target, progress=None)
        write_netcdf(target / places.FIXED_POINTS, dataset)
        said = _drawn(target, dataset)
        write_report(target, said)
    except KeyboardInterrupt:
        raise KeyboardInterrupt(
            f"the points that are finished are in {target}, and the same command with `--output "
            f"{target}` goes on from there"
        ) from None
    say(said)
    say(f"written to {target}")


def draw_again(run: Path) -> str:
    """Draw the figure of fixed points again.

    Args:
        run: the directory of a run with `--along` or `--starts`.

    Returns:
        The table.

    Raises:
        DataError: if it is none.
        OutputError: if the figure cannot be written.
    """
    return _drawn(run, load_fixed_points(run / places.FIXED_POINTS))


def _drawn(run: Path, dataset: xr.Dataset) -> str:
    if "pmse" in dataset and bool(np.isfinite(dataset["pmse"]).any()):
        from gmmdyn.plot import plot_fixed_points

        plot_fixed_points(dataset, run / places.FIXED_POINTS_FIGURE)
    return table(dataset)


def _wanted(configuration: Configuration, arguments: Arguments) -> Continuation | Multistart:
    """Read and check what is asked for, before anything is written."""
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
