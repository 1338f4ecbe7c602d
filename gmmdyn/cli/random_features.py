"""The command `random-features`."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gmmdyn.cli import run_directory as places
from gmmdyn.cli.arguments import Arguments
from gmmdyn.cli.commands import COMMANDS
from gmmdyn.cli.console import say
from gmmdyn.cli.header import header
from gmmdyn.cli.report import write_report
from gmmdyn.errors import ConfigError, DataError
from gmmdyn.experiment.yaml_text import read_yaml, write_yaml
from gmmdyn.feature_errors import feature_errors
from gmmdyn.sweeping import read_axis
from gmmdyn.trajectory.files import read_netcdf, write_netcdf, write_text

if TYPE_CHECKING:
    import xarray as xr

_LISTS = ("sigma", "ratio", "dim", "seeds", "geometry")
_SINGLE: Mapping[str, type[Any] | tuple[type[Any], ...]] = {
    "snr": str,
    "activation": str,
    "ridge": (int, float),
    "bias": bool,
    "order": str,
}


def run_random_features(arguments: Arguments) -> None:
    """Compute analytic errors over a grid and write one directory.

    Args:
        arguments: the words after the command.

    Raises:
        GmmdynError: if the input is bad; nothing is written then.
    """
    arguments.check_known([*COMMANDS["random-features"].options])
    settings = _settings(arguments)
    output = arguments.last("--output")
    target = places.default_target("random-features") if output is None else Path(output)
    with places.run_directory(target, "--overwrite" in arguments.flags) as folder:
        dataset = feature_errors(**settings, done=_Counter(settings))
        record = header("random-features", arguments) + write_yaml({"random_features": settings})
        write_text(folder / places.CONFIG, record)
        write_netcdf(folder / places.FEATURE_ERRORS, dataset)
        from gmmdyn.plot import plot_feature_errors

        plot_feature_errors(dataset, folder / places.ERRORS)
        table = _table(dataset)
        write_report(folder, table)
    say(table)
    say(f"written to {target}")


def draw_again(run: Path) -> None:
    """Draw the figure of a run again and print its table.

    Args:
        run: the directory of a run of `random-features`.

    Raises:
        DataError: if its results cannot be read.
        OutputError: if the figure cannot be written.
    """
    from gmmdyn.plot import plot_feature_errors

    dataset, table = _read(run)
    plot_feature_errors(dataset, run / places.ERRORS)
    say(table)
    say(f"written to {run}")


def table_of(run: Path) -> str:
    """Return the table of a run.

    Args:
        run: the directory of a run of `random-features`.

    Returns:
        One line for each point, averaged over seeds.

    Raises:
        DataError: if its results cannot be read.
    """
    return _read(run)[1]


def _read(run: Path) -> tuple[xr.Dataset, str]:
    path = run / places.FEATURE_ERRORS
    dataset = read_netcdf(path, "errors of random features")
    try:
        return dataset, _table(dataset)
    except (KeyError, ValueError) as error:
        raise DataError(
            f"`{path}` holds no errors of random features saved by gmmdyn: {error}."
        ) from None


class _Counter:
    """Counts points on a terminal."""

    def __init__(self, settings: Mapping[str, Any]) -> None:
        self._total = 1
        for name in _LISTS:
            self._total *= len(settings.get(name, (None,)))
        if "sigma" not in settings:
            self._total *= 5
        self._done = 0

    def __call__(self) -> None:
        self._done += 1
        if sys.stderr.isatty():
            end = "\n" if self._done == self._total else ""
            print(f"\r{self._done} of {self._total} points", end=end, file=sys.stderr, flush=True)


def _settings(arguments: Arguments) -> dict[str, Any]:
    """Read the options; those that are not given have the defaults of `feature_errors`."""
    settings: dict[str, Any] = {}
    for option, text in arguments.values:
        name = option.removeprefix("--")
        if name in settings:
            raise ConfigError(f"`{option}` is given twice; put its values in one list.")
        if name in _LISTS:
            settings[name] = read_axis(f"{name}={text}").values
        elif name in _SINGLE:
            value = read_yaml(text, f"`{option}`")
            if not isinstance(value, _SINGLE[name]) or (isinstance(value, bool) and name != "bias"):
                words = {"ridge": "a number", "bias": "true or false"}
                raise ConfigError(f"`{option}` is `{text}`; give {words.get(name, 'a word')}.")
            settings[name] = value
    return settings


def _table(dataset: xr.Dataset) -> str:
    """Return one line for each point, averaged over seeds."""
    head = ("geometry", "D", "P/D", "sigma", "x", "pmse", "error", "+-", "large D", "Bayes")
    rows = [head]
    mean = dataset.mean("seed")
    for name in dataset["geometry"].to_numpy():
        for dim in dataset["dim"].to_numpy():
            for ratio in dataset["ratio"].to_numpy():
                for sigma in dataset["sigma"].to_numpy():
                    one = mean.sel(geometry=name, dim=dim, ratio=ratio, sigma=sigma)
                    x, limit = (
                        float(one[name]) for name in ("scaled_noise", "limit_classification_error")
                    )
                    rows.append(
                        (
                            str(name),
                            str(dim),
                            f"{ratio:g}",
                            f"{sigma:g}",
                            "-" if x != x else f"{x:.3f}",
                            f"{float(one['pmse']):.5f}",
                            f"{float(one['classification_error']):.5f}",
                            f"{float(one['classification_error_se']):.0e}",
                            "-" if limit != limit else f"{limit:.5f}",
                            f"{float(one['bayes_error']):.5f}",
                        )
                    )
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True))
        for row in rows
    )
