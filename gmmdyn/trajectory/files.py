"""Files that are written whole or not at all, and NetCDF files that are read again."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from gmmdyn.errors import DataError, OutputError

if TYPE_CHECKING:
    import xarray as xr


@contextmanager
def written_whole(target: Path) -> Iterator[Path]:
    """Give a temporary file that takes the place of the target if all goes well.

    Args:
        target: the file to write.

    Yields:
        The temporary path, in the same folder (so that the last step is atomic) and with the same
        ending (which tells some writers the format).

    Raises:
        OutputError: if writing fails; the target is then as it was.
    """
    temporary: Path | None = None
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=target.parent, prefix=".", suffix=target.suffix)
        os.close(handle)
        temporary = Path(name)
        yield temporary
        # mkstemp makes files private; results are as readable as any other file.
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o666 & ~umask)
        temporary.replace(target)
    except OSError as error:
        reason = error.strerror or str(error)
        raise OutputError(f"cannot write `{target}`: {reason}.") from error
    finally:
        if temporary is not None:
            with suppress(OSError):
                temporary.unlink()


def write_text(target: Path, text: str) -> Path:
    """Write a text file, whole or not at all.

    Args:
        target: the file to write; an existing one is replaced.
        text: what to write.

    Returns:
        The target.

    Raises:
        OutputError: if it cannot be written.
    """
    with written_whole(target) as temporary:
        temporary.write_text(text, encoding="utf-8")
    return target


def write_netcdf(target: Path, dataset: xr.Dataset) -> Path:
    """Write a compressed NetCDF file, whole or not at all.

    Args:
        target: the file to write; an existing one is replaced.
        dataset: what to write.

    Returns:
        The target.

    Raises:
        OutputError: if it cannot be written.
    """
    encoding = {
        str(name): {"zlib": True, "complevel": 4}
        for name, values in dataset.data_vars.items()
        if values.dtype.kind == "f" and values.size
    }
    with written_whole(target) as temporary:
        # In memory first: HDF5 itself crashes when a full disk makes its last write fail.
        temporary.write_bytes(bytes(dataset.to_netcdf(engine="h5netcdf", encoding=encoding)))
    return target


def read_netcdf(path: Path, what: str) -> xr.Dataset:
    """Read a NetCDF file into memory.

    Args:
        path: the file.
        what: it should hold, for messages: a plural.

    Returns:
        The dataset.

    Raises:
        DataError: if there is no such file or it cannot be read.
    """
    import xarray as xr

    if path.is_dir():
        raise DataError(f"`{path}` is a folder; give a file with {what} saved by gmmdyn.")
    if not path.exists():
        raise DataError(f"there is no file `{path}`; give one with {what} saved by gmmdyn.")
    try:
        with xr.open_dataset(path, engine="h5netcdf") as dataset:
            return dataset.load()
    except PermissionError:
        raise DataError(f"`{path}` may not be read; change its permissions.") from None
    except (OSError, KeyError, ValueError, TypeError, RuntimeError, AttributeError):
        # HDF5 says where it stumbled, which tells nobody anything.
        raise DataError(
            f"`{path}` holds no {what} saved by gmmdyn: it is damaged or no NetCDF file."
        ) from None
