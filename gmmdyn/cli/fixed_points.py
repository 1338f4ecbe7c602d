"""The command `fixed-point` with `--along` or `--starts`: many fixed points, one directory."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from gmmdyn import checks, find_fixed_points, follow_fixed_point
from gmmdyn.cli import run_directory as places
from gmmdyn.cli.arguments import Arguments
from gmmdyn.cli.console import say
from gmmdyn.config import Configuration
from gmmdyn.errors import ConfigError
from gmmdyn.files import write_netcdf, write_text
from gmmdyn.fixed_points.dataset import table
from gmmdyn.sweeping import read_axis

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

    Args:
        configuration: resolved.
        arguments: the words after the command.
        header: comment lines for the configuration file.

    Raises:
        GmmdynError: if the input is bad, no start converges, or nothing can be written.
    """
    along, starts = arguments.last("--along"), arguments.last("--starts")
    if (along is None) == (starts is None):
        raise ConfigError("`gmmdyn fixed-point` takes `--along` or `--starts`, one of the two.")
    seed = arguments.last("--seed")
    if along is not None and seed is not None:
        raise ConfigError("`--seed` is that of `--starts`; drop it.")
    axis = None if along is None else read_axis(along)
    count = None if starts is None else checks.whole("--starts", _number(starts))
    output = arguments.last("--output")
    target = places.default_target(arguments.positional[0]) if output is None else Path(output)
    with places.run_directory(target, "--overwrite" in arguments.flags) as folder:
        write_text(folder / places.CONFIG, header + configuration.to_yaml())
        if axis is not None:
            dataset = follow_fixed_point(configuration, axis.name, axis.values)
        else:
            assert count is not None
            chosen = checks.whole("--seed", _number(seed or "0"), at_least=0)
            dataset = find_fixed_points(configuration, count, seed=chosen)
        write_netcdf(folder / places.FIXED_POINTS, dataset)
        if "pmse" in dataset and bool(np.isfinite(dataset["pmse"]).any()):
            from gmmdyn.plot import plot_fixed_points

            plot_fixed_points(dataset, folder / places.FIXED_POINTS_FIGURE)
        said = table(dataset)
        from gmmdyn.report import write_report

        write_report(folder, said)
    say(said)
    say(f"written to {target}")


def _number(text: str) -> int | str:
    return int(text) if text.isdigit() else text
