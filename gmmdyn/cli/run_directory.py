"""A directory of results that is there complete, or not at all."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path

from gmmdyn.errors import ConfigError, OutputError
from gmmdyn.fixed_points.kept import POINTS
from gmmdyn.trajectory.files import write_text

CONFIG = "config.yaml"
SIMULATION = "simulation.nc"
THEORY = "theory.nc"
ERRORS = "errors.png"
ORDER_PARAMETERS = "order_parameters.png"
REPORT = "report.html"
FEATURE_ERRORS = "random_features.nc"
FIXED_POINTS = "fixed_points.nc"
FIXED_POINTS_FIGURE = "fixed_points.png"
FIXED_POINTS_RECORD = "fixed_points.yaml"
SWEEP = "sweep.yaml"
SWEEP_RESULT = "sweep.nc"
PHASE_DIAGRAM = "phase_diagram.png"
_OURS = {
    CONFIG,
    SIMULATION,
    THEORY,
    ERRORS,
    ORDER_PARAMETERS,
    REPORT,
    FEATURE_ERRORS,
    FIXED_POINTS,
    FIXED_POINTS_FIGURE,
    FIXED_POINTS_RECORD,
}


def default_target(source: str) -> Path:
    """Return a fresh place for the results of a run.

    Args:
        source: the preset or YAML file of the run.

    Returns:
        `runs/<name>-<time>`, with a number after it if that exists.
    """
    first = Path("runs", f"{Path(source).stem}-{datetime.now():%Y%m%d-%H%M%S}")
    target, count = first, 1
    while target.exists():
        count += 1
        target = first.with_name(f"{first.name}-{count}")
    return target


@contextmanager
def run_directory(target: Path, overwrite: bool) -> Iterator[Path]:
    """Give a folder that becomes the target if all goes well.

    Args:
        target: the directory to write.
        overwrite: whether to replace an earlier run; anything else is never replaced.

    Yields:
        The folder to write into, beside the target, so that the last step is one rename.

    Raises:
        ConfigError: if the target is there and may not be replaced.
        OutputError: if it cannot be written, which is found before the work begins.
    """
    _check(target, overwrite)
    made: list[Path] = []
    temporary: Path | None = None
    try:
        try:
            made = _make_parents(target)
            temporary = Path(tempfile.mkdtemp(dir=target.parent, prefix=f".{target.name}-"))
        except OSError as error:
            raise OutputError(f"cannot write `{target}`: {error.strerror}.") from None
        try:
            yield temporary
        except OutputError as error:
            # The user knows the target, not the folder beside it.
            message = str(error).replace(str(temporary), str(target))
            raise OutputError(message) from None
        # mkdtemp makes folders private; results are as readable as any other.
        umask = os.umask(0)
        os.umask(umask)
        try:
            temporary.chmod(0o777 & ~umask)
            _check(target, overwrite)  # again: the run may have taken hours
            _replace(target, temporary)
        except OSError as error:
            raise OutputError(f"cannot write `{target}`: {error.strerror}.") from None
    finally:
        if temporary is not None:
            shutil.rmtree(temporary, ignore_errors=True)
        for folder in reversed(made):
            with suppress(OSError):  # not empty: the run is in it
                folder.rmdir()


def claim_for_fixed_points(target: Path, record: str, config: str, *, overwrite: bool) -> None:
    """Make a directory that keeps fixed points as they are found, or see that it holds the same.

    Args:
        target: the directory to write.
        record: what fixed points; a directory with the same record is gone on with.
        config: for the configuration file.
        overwrite: whether to replace an earlier run; anything else is never replaced.

    Raises:
        ConfigError: if the target is there and may not be replaced.
        OutputError: if it cannot be written.
    """
    known = target / FIXED_POINTS_RECORD
    try:
        if not (known.is_file() and known.read_text(encoding="utf-8") == record):
            _check(target, overwrite)
            # The record goes last: it says that the points are ours.
            for name in sorted(_ours(target), key=lambda name: name == FIXED_POINTS_RECORD):
                if (target / name).is_dir():
                    shutil.rmtree(target / name)
                else:
                    (target / name).unlink(missing_ok=True)
    except UnicodeDecodeError:
        raise ConfigError(f"`{known}` is not one of ours; give another `--output`.") from None
    except OSError as error:
        if isinstance(error, OutputError):
            raise
        raise OutputError(f"cannot write `{target}`: {error.strerror}.") from None
    write_text(known, record)
    write_text(target / CONFIG, config)


def _ours(target: Path) -> set[str]:
    """Return the names of what a run writes into a directory."""
    return _OURS | ({POINTS} if (target / FIXED_POINTS_RECORD).is_file() else set())


def _check(target: Path, overwrite: bool) -> None:
    if not target.is_dir():
        if target.exists():
            raise ConfigError(f"`--output` is `{target}`, which is no directory; give another.")
        return
    try:
        names = {entry.name for entry in target.iterdir()}
    except OSError as error:
        raise OutputError(f"cannot read `{target}`: {error.strerror}.") from None
    if names and not overwrite:
        raise ConfigError(
            f"`--output` is `{target}`, which is not empty; give another, or `--overwrite`."
        )
    others = names - _ours(target)
    if others:
        raise ConfigError(
            f"`--output` is `{target}`, which holds `{min(others)}`, no result of a run; "
            "it will not be overwritten."
        )


def _replace(target: Path, new: Path) -> None:
    """Put the new folder in the place of the target, which stays if that fails."""
    if not target.is_dir():
        new.rename(target)
        return
    old = new.with_name(f"{new.name}-old")
    target.rename(old)
    try:
        new.rename(target)
    except OSError:
        old.rename(target)
        raise
    shutil.rmtree(old, ignore_errors=True)


def _make_parents(target: Path) -> list[Path]:
    missing = [folder for folder in target.parents if not folder.exists()]
    target.parent.mkdir(parents=True, exist_ok=True)
    return list(reversed(missing))
