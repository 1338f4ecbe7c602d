"""Files of named arrays: NumPy's `.npz`, safetensors and NetCDF; never pickles."""

from __future__ import annotations

import io
import os
import zipfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from gmmdyn.errors import DataError, OutputError

Arrays = Mapping[str, np.ndarray[Any, Any]]

ENDINGS = (".npz", ".safetensors", ".nc")
_PICKLES = (".pt", ".pth", ".bin", ".ckpt", ".pkl", ".pickle", ".joblib")
_CONVERT = (
    "a pickle can run any code when it is read; load it yourself where you trust it, and save its "
    "arrays with `numpy.savez(path, means=..., labels=..., covariance=...)`."
)


def read_arrays(path: Path) -> dict[str, np.ndarray[Any, Any]]:
    """Read all arrays of a file.

    Args:
        path: ends in `.npz`, `.safetensors` or `.nc`.

    Returns:
        The arrays by name.

    Raises:
        DataError: if there is no such file, it is damaged or a pickle, or its ending is another.
    """
    ending = _ending(path)
    if not path.is_file():
        raise DataError(f"there is no file `{path}`.")
    try:
        if ending == ".npz":
            if not zipfile.is_zipfile(path):  # NumPy would try anything else as a pickle
                raise EOFError("it is no archive of arrays")
            with np.load(path, allow_pickle=False) as found:
                return {name: found[name] for name in found.files}
        if ending == ".safetensors":
            from safetensors.numpy import load_file

            return dict(load_file(path))
        import xarray as xr

        with xr.open_dataset(path, engine="h5netcdf") as dataset:
            return {str(name): values.to_numpy() for name, values in dataset.data_vars.items()}
    except ValueError as error:
        if "allow_pickle" in str(error) or "pickled data" in str(error):
            raise DataError(f"`{path}` holds Python objects as a pickle: {_CONVERT}") from None
        raise _damaged(path, ending, error) from None
    except Exception as error:
        # Each format has errors of its own; safetensors' is defined in its compiled part.
        known = isinstance(error, OSError | KeyError | TypeError | EOFError | zipfile.BadZipFile)
        if known or type(error).__name__ == "SafetensorError":
            raise _damaged(path, ending, error) from None
        raise


def write_arrays(path: Path, arrays: Arrays) -> Path:
    """Write arrays into one file, whole or not at all.

    Args:
        path: ends in `.npz`, `.safetensors` or `.nc`; an existing file is replaced.
        arrays: by name; for NetCDF the sizes name the dimensions.

    Returns:
        The path.

    Raises:
        DataError: if the ending is another.
        OutputError: if it cannot be written.
    """
    ending = _ending(path)
    if ending == ".npz":
        buffer = io.BytesIO()
        np.savez(buffer, **arrays)  # type: ignore[arg-type]
        content = buffer.getvalue()
    elif ending == ".safetensors":
        from safetensors.numpy import save

        content = save({name: np.ascontiguousarray(value) for name, value in arrays.items()})
    else:
        import xarray as xr

        variables = {
            name: (tuple(f"{name}_{axis}" for axis in range(value.ndim)), value)
            for name, value in arrays.items()
        }
        content = bytes(xr.Dataset(variables).to_netcdf(engine="h5netcdf"))
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_bytes(content)
        temporary.replace(path)
    except OSError as error:
        with suppress(OSError):
            temporary.unlink()
        raise OutputError(f"cannot write `{path}`: {error.strerror}.") from None
    return path


def _ending(path: Path) -> str:
    ending = path.suffix.lower()
    if ending in _PICKLES:
        raise DataError(f"`{path}` is not read, as {_CONVERT}")
    if ending not in ENDINGS:
        raise DataError(f"`{path}` ends in `{ending}`; give a file in {', '.join(ENDINGS)}.")
    return ending


def _damaged(path: Path, ending: str, error: Exception) -> DataError:
    reason = " ".join(str(error).split()) or type(error).__name__
    return DataError(f"`{path}` cannot be read as a {ending} file: {reason.rstrip('.')}.")
