"""Files that are written whole or not at all, and NetCDF files that are read again."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from gmmdyn.errors import DataError, GmmdynError, OutputError

if TYPE_CHECKING:
    import xarray as xr


# Compression makes numbers no smaller than this share (zlib's technical notes).
_INFLATED = 1032


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


@contextmanager
def open_netcdf(path: Path) -> Iterator[xr.Dataset]:
    """Open a NetCDF file that is not to be believed.

    Args:
        path: the file.

    Yields:
        The dataset; its arrays are read when they are asked for.

    Raises:
        PermissionError: if the file may not be read.
        OSError: if it is damaged, no NetCDF file, or claims more than it can hold, whatever HDF5
            itself says, which tells nobody anything.
    """
    import h5py
    import xarray as xr

    try:
        # Where h5netcdf meets damage here it leaves an object that cannot be closed.
        with h5py.File(path) as probe:
            probe.attrs.get("_nc3_strict")
        with xr.open_dataset(path, engine="h5netcdf") as dataset:
            # Chunks that were never written take no place in the file, and all of it in memory.
            if dataset.nbytes > _INFLATED * path.stat().st_size:
                raise OSError
            yield dataset
    except (PermissionError, GmmdynError):
        raise
    except (OSError, KeyError, ValueError, TypeError, RuntimeError, AttributeError) as error:
        raise OSError("it is damaged or no NetCDF file") from error


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
    if path.is_dir():
        raise DataError(f"`{path}` is a folder; give a file with {what} saved by gmmdyn.")
    if not path.exists():
        raise DataError(f"there is no file `{path}`; give one with {what} saved by gmmdyn.")
    try:
        with open_netcdf(path) as dataset:
            return dataset.load()
    except PermissionError:
        raise DataError(f"`{path}` may not be read; change its permissions.") from None
    except OSError as error:
        raise DataError(f"`{path}` holds no {what} saved by gmmdyn: {error}.") from None
