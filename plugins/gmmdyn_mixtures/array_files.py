"""Files of named arrays: NumPy's `.npz`, safetensors and NetCDF; never pickles.

A file is not believed: its names are looked at before its arrays are read, and nothing is allocated
that it claims and cannot hold. What is written carries a checksum where the format has none.
"""

from __future__ import annotations

import hashlib
import io
import json
import math
import zipfile
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from gmmdyn.errors import DataError
from gmmdyn.trajectory.files import open_netcdf, written_whole

Array = np.ndarray[Any, Any]
Arrays = Mapping[str, Array]
# Looks at the names before anything is read; raises `DataError` if it does not like them.
NameCheck = Callable[[Iterable[str]], None]

ENDINGS = (".npz", ".safetensors", ".nc")
_PICKLES = (".pt", ".pth", ".bin", ".ckpt", ".pkl", ".pickle", ".joblib")
_CONVERT = (
    "a pickle can run any code when it is read; load it yourself where you trust it, and save its "
    "arrays with `numpy.savez(path, means=..., labels=..., covariance=...)`."
)
# Bytes of all arrays beyond which a file is not read, and the most that compression gains (zlib's
# technical notes).
_MOST_BYTES, _INFLATED = 2**33, 1032
_CHECKSUM = "gmmdyn_sha256"


def read_arrays(path: Path, check_names: NameCheck) -> dict[str, Array]:
    """Read all arrays of a file.

    Args:
        path: ends in `.npz`, `.safetensors` or `.nc`.
        check_names: sees the names of the arrays before they are read.

    Returns:
        The arrays by name.

    Raises:
        DataError: if there is no such file, it is damaged, too large or a pickle, or its ending is
            another.
    """
    ending = _ending(path)
    if not path.is_file():
        raise DataError(f"there is no file `{path}`.")
    read = {".npz": _read_npz, ".safetensors": _read_safetensors, ".nc": _read_netcdf}[ending]
    try:
        return read(path, check_names)
    except DataError:
        raise
    except ValueError as error:
        if "allow_pickle" in str(error) or "pickled data" in str(error):
            raise DataError(f"`{path}` holds Python objects as a pickle: {_CONVERT}") from None
        raise _damaged(path, ending, error) from None
    except Exception as error:
        # Each format has errors of its own; safetensors' is defined in its compiled part.
        known = OSError | KeyError | TypeError | EOFError | zipfile.BadZipFile | MemoryError
        if isinstance(error, known) or type(error).__name__ == "SafetensorError":
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
    arrays = {name: np.ascontiguousarray(value) for name, value in arrays.items()}
    if ending == ".npz":
        buffer = io.BytesIO()
        np.savez(buffer, **arrays)  # type: ignore[arg-type]
        content = buffer.getvalue()
    elif ending == ".safetensors":
        from safetensors.numpy import save

        content = save(dict(arrays), metadata={_CHECKSUM: _checksum(arrays)})
    else:
        import xarray as xr

        variables = {
            name: (tuple(f"{name}_{axis}" for axis in range(value.ndim)), value)
            for name, value in arrays.items()
        }
        dataset = xr.Dataset(variables, attrs={_CHECKSUM: _checksum(arrays)})
        content = bytes(dataset.to_netcdf(engine="h5netcdf"))
    with written_whole(path) as temporary:
        temporary.write_bytes(content)
    return path


def _read_npz(path: Path, check_names: NameCheck) -> dict[str, Array]:
    """Read an archive; its own checksums guard the bytes."""
    if not zipfile.is_zipfile(path):  # NumPy would try anything else as a pickle
        raise EOFError("it is no archive of arrays")
    with zipfile.ZipFile(path) as archive:
        members = archive.infolist()
        for member in members:
            with archive.open(member) as file:
                _check_header(file, member.file_size)
        check_names(member.filename.removesuffix(".npy") for member in members)
        _bounded(path, sum(member.file_size for member in members))
    with np.load(path, allow_pickle=False) as found:
        return {name: found[name] for name in found.files}


def _check_header(file: Any, size: int) -> None:
    """Refuse an array whose header claims another number of bytes than follow it."""
    version = np.lib.format.read_magic(file)
    if version == (1, 0):
        shape, _, dtype = np.lib.format.read_array_header_1_0(file)
    else:
        shape, _, dtype = np.lib.format.read_array_header_2_0(file)
    if dtype.hasobject:
        raise ValueError("pickled data")
    if file.tell() + math.prod(shape) * dtype.itemsize != size:
        raise ValueError("the header of an array claims another size than it has")


def _read_safetensors(path: Path, check_names: NameCheck) -> dict[str, Array]:
    from safetensors import safe_open

    _bounded(path, path.stat().st_size)
    with safe_open(path, framework="numpy") as file:
        check_names(file.keys())
        arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 # no mapping
        wanted = (file.metadata() or {}).get(_CHECKSUM)
    _check_sum(path, arrays, wanted)
    return arrays


def _read_netcdf(path: Path, check_names: NameCheck) -> dict[str, Array]:
    with open_netcdf(path) as dataset:
        check_names(map(str, dataset.data_vars))
        _bounded(path, dataset.nbytes)
        arrays = {str(name): values.to_numpy() for name, values in dataset.data_vars.items()}
        wanted = dataset.attrs.get(_CHECKSUM)
    _check_sum(path, arrays, wanted)
    return arrays


def _bounded(path: Path, claimed: int) -> None:
    """Refuse what the file cannot hold, or no memory."""
    if claimed > _INFLATED * path.stat().st_size:
        raise ValueError(f"it claims {claimed:.3g} bytes of arrays, more than it can hold")
    if claimed > _MOST_BYTES:
        raise DataError(
            f"`{path}` holds {claimed:.3g} bytes of arrays; at most {_MOST_BYTES:.3g} are read."
        )


def _checksum(arrays: Arrays) -> str:
    """Return a digest of names, shapes, types and numbers."""
    digest = hashlib.sha256()
    for name in sorted(arrays):
        value = np.ascontiguousarray(arrays[name])
        kind = value.dtype.newbyteorder("<")
        digest.update(json.dumps([name, value.shape, kind.str]).encode())
        digest.update(value.astype(kind, copy=False).tobytes())
    return digest.hexdigest()


def _check_sum(path: Path, arrays: Arrays, wanted: str | None) -> None:
    """Refuse numbers that are not those that were written; files of others have no checksum."""
    if wanted is not None and wanted != _checksum(arrays):
        raise DataError(f"`{path}` is damaged: its numbers do not fit its checksum.")


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
