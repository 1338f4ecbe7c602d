"""The commands and what they take, apart from what depends on a configuration."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from jsonargparse import ArgumentParser


class Command(NamedTuple):
    """One command.

    Attributes:
        summary: one line for the help.
        positional: the name and help of its argument, or None.
        options: names and help of its own options; a help that starts with `flag:` takes no value.
    """

    summary: str
    positional: tuple[str, str] | None = None
    options: Mapping[str, str] = {}


_CONFIG = ("config", "a preset (`gmmdyn presets` lists them) or a YAML file")
_TIME_UNIT = {"--time-unit": "of the figures: t, t*sqrt(D) or t*D; the same as --figures.time_unit"}
_RUN_OPTIONS = {
    "--output": "the directory to write (default: runs/NAME-TIME)",
    "--overwrite": "flag: replace the directory if it holds an earlier run",
    "--data": "the folder with the data set's files; the same as --data_model.folder",
    **_TIME_UNIT,
}
_AXIS = (
    "NAME=FIRST:LAST:lin:COUNT (evenly spaced; `lin:` may be left out), NAME=FIRST:LAST:log:COUNT "
    "or NAME=VALUE,VALUE,…"
)
COMMANDS: Mapping[str, Command] = {
    "compare": Command("Simulate, predict, and put both on one plot.", _CONFIG, _RUN_OPTIONS),
    "simulate": Command("Simulate online SGD.", _CONFIG, _RUN_OPTIONS),
    "solve": Command("Predict by theory alone.", _CONFIG, _RUN_OPTIONS),
    "fixed-point": Command(
        "Find where the order parameters come to rest.",
        _CONFIG,
        {
            "--along": f"follow the fixed point along a parameter: {_AXIS}",
            "--starts": "search for all fixed points from this many starts",
            "--seed": "of those starts (default: 0)",
            **_RUN_OPTIONS,
        },
    ),
    "sweep": Command(
        "Solve or simulate at every point of a grid of parameters.",
        _CONFIG,
        {
            "--over": f"a parameter and its values: {_AXIS}; once for each parameter",
            "--run": "`solve` (default) or `simulate`",
            "--workers": "processes on this machine (default: one a core)",
            "--scheduler": "the address of a Dask scheduler, or `local` for a cluster here",
            "--retry-failed": "flag: run points again that failed before",
            "--output": "the directory to write, or one that holds the same sweep, to go on with",
            "--overwrite": "flag: replace another sweep in the directory",
            "--data": _RUN_OPTIONS["--data"],
        },
    ),
    "random-features": Command(
        "Tabulate and draw the analytic errors of random features.",
        None,
        {
            "--sigma": "standard deviations of the noise: VALUE,VALUE,…, FIRST:LAST:lin:COUNT or "
            "FIRST:LAST:log:COUNT (default: 0.1,0.15,0.2,0.3,0.5)",
            "--ratio": "features for each dimension, P/D, as a list (default: 2)",
            "--dim": "input dimensions D, as a list (default: 300)",
            "--seeds": "seeds of the projections, as a list (default: 0)",
            "--geometry": "mixtures, such as xor,three-clusters (default: xor)",
            "--snr": "low (default), mixed or high",
            "--activation": "a registered name (default: relu)",
            "--ridge": "what is added to the covariance of the features (default: 0)",
            "--bias": "whether the readout has an intercept: true (default) or false",
            "--order": "covariances of pairs of features: first (default) or exact",
            "--output": "the directory to write (default: runs/random-features-TIME)",
            "--overwrite": _RUN_OPTIONS["--overwrite"],
        },
    ),
    "plot": Command(
        "Draw the figures of a run again.",
        ("run", "the directory of the run"),
        {"--time-unit": "of the figures: t, t*sqrt(D) or t*D (default: that of the run)"},
    ),
    "report": Command("Write the report of a run again.", ("run", "the directory of the run")),
    "presets": Command("List the configurations that come with gmmdyn."),
    "plugins": Command("List the components that installed plugins provide."),
}
RUNS = ("compare", "simulate", "solve", "fixed-point", "sweep")
_OVERRIDES = (
    "Every number and choice of the configuration is an option too, such as --data_model.variance "
    "0.1; `gmmdyn {} CONFIG --help` lists them."
)


def command_parser(name: str) -> ArgumentParser:
    """Return the parser of a command, without the options that depend on a configuration.

    Args:
        name: one of `COMMANDS`.

    Returns:
        The parser.
    """
    command = COMMANDS[name]
    parser = ArgumentParser(
        prog=f"gmmdyn {name}",
        description=command.summary,
        epilog=_OVERRIDES.format(name) if name in RUNS else None,
        exit_on_error=False,
        allow_abbrev=False,
    )
    if command.positional is not None:
        parser.add_argument(command.positional[0], type=str, help=command.positional[1])
    for option, text in command.options.items():
        if text.startswith("flag:"):
            parser.add_argument(option, action="store_true", help=text.removeprefix("flag: "))
        else:
            parser.add_argument(option, type=str | None, help=text)
    return parser
