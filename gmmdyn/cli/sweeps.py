"""The command `sweep`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from gmmdyn import checks, sweep
from gmmdyn.cli import run_directory as places
from gmmdyn.cli.arguments import Arguments
from gmmdyn.cli.console import say
from gmmdyn.cli.overrides import configured
from gmmdyn.errors import ConfigError, ConvergenceError, OutputError
from gmmdyn.experiment.yaml_text import write_yaml
from gmmdyn.sweeping import Axis, read_axis
from gmmdyn.sweeping.dataset import final_values
from gmmdyn.trajectory.files import write_netcdf, write_text

if TYPE_CHECKING:
    import xarray as xr


def run_sweep(arguments: Arguments) -> None:
    """Sweep, and write one directory; one that holds the same sweep is gone on with.

    Args:
        arguments: the words after the command.

    Raises:
        GmmdynError: if the input is bad, the workers die or every point failed.
        KeyboardInterrupt: if it is interrupted; the message says what is left.
    """
    configuration = configured("sweep", arguments)
    if configuration is None:
        return
    configuration = replace(configuration.resolved(), figures={})
    axes = [read_axis(text) for option, text in arguments.values if option == "--over"]
    over = _over(axes)
    run = checks.choice("--run", arguments.last("--run") or "solve", ("solve", "simulate"))
    if run == "solve" and configuration.theory is None:
        raise ConfigError("the configuration has no `theory`; give `--theory.name`.")
    workers = arguments.last("--workers")
    output = arguments.last("--output")
    target = Path(output) if output else places.default_target(arguments.positional[0])
    record = {"run": run, "over": over, "configuration": configuration.to_mapping()}
    _claim(target, write_yaml(record), "--overwrite" in arguments.flags)
    try:
        dataset = sweep(
            configuration,
            over,
            run=run,  # type: ignore[arg-type] # checked above
            folder=target,
            workers=None if workers is None else checks.whole("--workers", _number(workers)),
            scheduler=arguments.last("--scheduler"),
            retry_failed="--retry-failed" in arguments.flags,
            progress=None,
        )
        _write(target, dataset)
    except KeyboardInterrupt:
        raise KeyboardInterrupt(
            f"the points that are finished are in {target}, and the same command goes on from there"
        ) from None
    say(_summary(dataset))
    say(f"written to {target}")
    message = dataset["message"]
    failed = int((message != "").sum())
    if failed:
        where = f"`message` of {target / places.SWEEP_RESULT} says why"
        if failed == message.size:
            raise ConvergenceError(f"all {failed} points failed; {where}.")
        say(f"{failed} of {message.size} points failed; {where}")


def _over(axes: list[Axis]) -> dict[str, list[Any]]:
    if not axes:
        raise ConfigError("`gmmdyn sweep` needs `--over NAME=VALUES`, once for each parameter.")
    over: dict[str, list[Any]] = {}
    for axis in axes:
        if axis.name in over:
            raise ConfigError(f"`--over` names `{axis.name}` twice.")
        over[axis.name] = axis.values
    return over


def _number(text: str) -> Any:
    return int(text) if text.isdigit() else text


def _claim(target: Path, record: str, overwrite: bool) -> None:
    """Make the directory ours, or see that it holds the same sweep."""
    known = target / places.SWEEP
    try:
        if known.is_file():
            if known.read_text(encoding="utf-8") == record:
                return
            if not overwrite:
                raise ConfigError(
                    f"`--output` is `{target}`, which holds another sweep; give another "
                    "directory, or `--overwrite`."
                )
        elif target.exists() and (not target.is_dir() or any(target.iterdir())):
            raise ConfigError(f"`--output` is `{target}`, which holds no sweep; give another.")
    except OSError as error:
        raise OutputError(f"cannot read `{target}`: {error.strerror}.") from None
    write_text(known, record)


def _write(target: Path, dataset: xr.Dataset) -> None:
    write_netcdf(target / places.SWEEP_RESULT, dataset)
    finished = bool((dataset["message"] == "").any())
    if finished and len(dataset["message"].dims) in (1, 2):
        from gmmdyn.plot import plot_sweep

        plot_sweep(dataset, target / places.PHASE_DIAGRAM)


def _summary(dataset: xr.Dataset) -> str:
    message = dataset["message"]
    failed = [str(text) for text in message.to_numpy().ravel() if text]
    lines = [f"{message.size} points, {len(failed)} of them failed"]
    lines += [f"failed: {text}" for text in dict.fromkeys(failed)][:5]
    for name in ("pmse", "classification_error"):
        if name not in dataset:
            continue
        values = final_values(dataset, name)
        if not bool(values.notnull().any()):
            continue
        best = np.unravel_index(int(np.nanargmin(values.to_numpy())), values.shape)
        where = ", ".join(
            f"{dim} = {values[dim].to_numpy()[i]}" for dim, i in zip(values.dims, best, strict=True)
        )
        lines.append(f"lowest {name.replace('_', ' ')}: {values.to_numpy()[best]:.5g} at {where}")
    return "\n".join(lines)
