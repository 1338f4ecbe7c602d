"""The command `random-features`.

Imported whenever commands are listed, so it imports nothing heavy at its top.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, final

from gmmdyn import hookimpl
from gmmdyn.cli import OUTPUT, Arguments, Command
from gmmdyn.errors import ConfigError, DataError

if TYPE_CHECKING:
    import xarray as xr

_FOUND = "random_features.nc"
_LISTS = ("sigma", "ratio", "dim", "seeds", "geometry")
_SINGLE: Mapping[str, type[Any] | tuple[type[Any], ...]] = {
    "snr": str,
    "activation": str,
    "ridge": (int, float),
    "bias": bool,
    "order": str,
}


@final
class RandomFeaturesErrors(Command):
    """The command `random-features`."""

    summary = "Tabulate and draw the analytic errors of random features."
    options: ClassVar[Mapping[str, str]] = {
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
        **OUTPUT,
    }
    results = (_FOUND,)
    title = "analytic errors of random features"

    def run(self, arguments: Arguments) -> None:
        """Compute analytic errors over a grid and write one directory."""
        from gmmdyn.cli import CONFIG, header, run_directory, say, target_of, write_report
        from gmmdyn.experiment import write_yaml
        from gmmdyn.trajectory.files import write_netcdf, write_text
        from gmmdyn_random_features.grid import feature_errors

        settings = _settings(arguments)
        target = target_of(arguments, self.name)
        with run_directory(target, "--overwrite" in arguments.flags) as folder:
            dataset = feature_errors(**settings, done=_Counter(settings))
            record = header(self, arguments) + write_yaml({"random_features": settings})
            write_text(folder / CONFIG, record)
            write_netcdf(folder / _FOUND, dataset)
            self.draw(folder)
            table = _table(dataset)
            write_report(folder, table, self.title)
        say(table)
        say(f"written to {target}")

    def draw(self, run: Path) -> None:
        """Draw the figure again."""
        from gmmdyn.cli import ERRORS
        from gmmdyn_random_features.error_figure import plot_feature_errors

        plot_feature_errors(_read(run)[0], run / ERRORS)

    def table(self, run: Path) -> str:
        """Return one line for each point, averaged over seeds."""
        return _read(run)[1]


@hookimpl
def gmmdyn_commands() -> dict[str, type[Command]]:
    """Register the command."""
    return {"random-features": RandomFeaturesErrors}


def _read(run: Path) -> tuple[xr.Dataset, str]:
    from gmmdyn.trajectory.files import read_netcdf

    path = run / _FOUND
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
    from gmmdyn.experiment import read_yaml
    from gmmdyn.sweeping import read_axis

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
