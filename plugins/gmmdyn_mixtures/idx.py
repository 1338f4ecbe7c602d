"""IDX files, the format in which MNIST and its kin are handed round.

Layout: two zero bytes, one byte for the type, one for the number of dimensions, the dimensions as
big-endian 32-bit integers, then the entries, big-endian. Source: Y. LeCun, C. Cortes,
C. J. C. Burges, "The MNIST database of handwritten digits", last section.
"""

from __future__ import annotations

import gzip
import math
import os
import zlib
from pathlib import Path
from typing import IO, Any

import numpy as np

from gmmdyn.errors import DataError

_TYPES = {0x08: "u1", 0x09: "i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
_MAX_DIMENSIONS = 32  # NumPy's limit before 2.0
_CHUNK = 1 << 20
_DEFLATE_LIMIT = 1032  # deflate never shrinks further: zlib's technical notes


def read_idx(path: str | os.PathLike[str]) -> np.ndarray[Any, Any]:
    """Read one IDX file, plain or compressed with gzip.

    Memory grows with what is read, not with what the header claims.

    Args:
        path: the file; gzip is recognised by its content.

    Returns:
        The array in the machine's byte order, writable.

    Raises:
        DataError: if the file is missing, unreadable, corrupt, cut short, too long, or of
            another format.
    """
    path = Path(path)
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            packed = file.read(2) == b"\x1f\x8b"
            file.seek(0)
            if packed:
                with gzip.open(file) as unpacked:
                    return _read(unpacked, path, size * _DEFLATE_LIMIT)
            if path.suffix == ".gz":
                raise DataError(f"`{path}` is no gzip file, though its name says so.")
            return _read(file, path, size)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise DataError(f"`{path}` is a corrupt gzip file: {error}.") from None
    except OSError as error:
        raise DataError(f"`{path}` cannot be read: {error.strerror}.") from None


def find_idx(folder: str | os.PathLike[str] | None, kind: str) -> Path:
    """Find one of MNIST's files under any of its usual names.

    Args:
        folder: where to look, or None, which is an error that says how to give it.
        kind: `"train-images"`, `"train-labels"`, `"t10k-images"` or `"t10k-labels"`.

    Returns:
        The path of the file.

    Raises:
        DataError: if there is no folder or no such file in it.
    """
    rank = 3 if kind.endswith("images") else 1
    name = f"{kind}-idx{rank}-ubyte"
    if folder is None:
        raise DataError(
            f"no folder to look for `{name}` in; give `folder`, or set $GMMDYN_DATA to a folder "
            "with one subfolder for each source."
        )
    for stem in (name, f"{kind}.idx{rank}-ubyte"):
        for candidate in (Path(folder, stem), Path(folder, stem + ".gz")):
            if candidate.is_file():
                return candidate
    raise DataError(f"`{folder}` has no file `{name}` or `{name}.gz`; give another `folder`.")


def _read(file: IO[bytes] | gzip.GzipFile, path: Path, capacity: int) -> np.ndarray[Any, Any]:
    """Read header and entries; `capacity` is the most bytes that the file can yield."""
    magic = file.read(4)
    if len(magic) < 4 or magic[:2] != b"\0\0" or magic[2] not in _TYPES:
        raise DataError(f"`{path}` is no IDX file: it starts with the bytes `{magic.hex()}`.")
    rank = magic[3]
    if not 1 <= rank <= _MAX_DIMENSIONS:
        raise DataError(f"`{path}` claims {rank} dimensions; an array has 1 to {_MAX_DIMENSIONS}.")
    header = file.read(4 * rank)
    if len(header) < 4 * rank:
        raise DataError(f"`{path}` is cut short: it ends within its header.")
    shape = tuple(int(n) for n in np.frombuffer(header, ">u4"))
    dtype = np.dtype(_TYPES[magic[2]])
    wanted = math.prod(shape) * dtype.itemsize
    if wanted == 0:
        raise DataError(f"`{path}` holds an empty array, of shape {shape}.")
    if wanted > capacity:
        raise DataError(
            f"`{path}` is cut short or corrupt: its header claims {wanted} bytes of data, more "
            "than the file can hold."
        )
    data = bytearray()
    while len(data) <= wanted:  # one byte too many shows that the file is too long
        chunk = file.read(min(_CHUNK, wanted + 1 - len(data)))
        if not chunk:
            break
        data += chunk
    if len(data) != wanted:
        fault = "too long" if len(data) > wanted else f"cut short, with {len(data)} of them"
        raise DataError(f"`{path}` is {fault}: its header claims {wanted} bytes of data.")
    result = np.frombuffer(data, dtype).reshape(shape)
    return result.astype(dtype.newbyteorder("="), copy=False)
