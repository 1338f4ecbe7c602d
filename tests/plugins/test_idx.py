import contextlib
import gzip
import struct
import tracemalloc

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gmmdyn.errors import DataError
from gmmdyn_mixtures.idx import find_idx, read_idx

CODES = {"u1": 8, "i1": 9, ">i2": 11, ">i4": 12, ">f4": 13, ">f8": 14}


def idx_bytes(array, code="u1"):
    """Write the format by hand, as its description says."""
    header = struct.pack(">HBB", 0, CODES[code], array.ndim)
    return header + struct.pack(f">{array.ndim}I", *array.shape) + array.astype(code).tobytes()


IMAGES = np.arange(2 * 3 * 4).reshape(2, 3, 4)
GOOD = idx_bytes(IMAGES)


def write(folder, data, name="file"):
    path = folder / name
    path.write_bytes(data)
    return path


def refusal(path):
    with pytest.raises(DataError) as caught:
        read_idx(path)
    message = str(caught.value)
    assert path.name in message
    assert message.endswith(".")
    return message


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("code", CODES)
def test_reads_every_type_plain_or_packed(tmp_path, code, packed):
    data = idx_bytes(IMAGES, code)
    result = read_idx(write(tmp_path, gzip.compress(data) if packed else data))
    np.testing.assert_array_equal(result, IMAGES)
    assert result.dtype == np.dtype(code).newbyteorder("=")
    result[0] = 0  # writable


def test_reads_bytes_written_by_hand(tmp_path):
    data = bytes.fromhex("00000801 00000003 07ff00")
    assert read_idx(write(tmp_path, data)).tolist() == [7, 255, 0]
    data = bytes.fromhex("00000b02 00000001 00000002 0102 ffff")
    assert read_idx(str(write(tmp_path, data))).tolist() == [[258, -1]]


@pytest.mark.parametrize(
    ("data", "fault"),
    [
        (b"", "no IDX file"),
        (b"\x00\x00\x08", "no IDX file"),
        (b"\x89PNG" + GOOD[4:], "no IDX file"),
        (b"\x00\x01\x08\x03" + GOOD[4:], "no IDX file"),
        (b"\x00\x00\x07\x03" + GOOD[4:], "no IDX file"),
        (b"\x00\x00\x08\x00" + GOOD[4:], "0 dimensions"),
        (b"\x00\x00\x08\xff" + GOOD[4:], "255 dimensions"),
        (GOOD[:10], "within its header"),
        (GOOD[:4] + struct.pack(">3I", 2, 0, 4), "empty array"),
    ],
)
@pytest.mark.parametrize("packed", [False, True])
def test_corrupt_headers_are_refused(tmp_path, data, fault, packed):
    assert fault in refusal(write(tmp_path, gzip.compress(data) if packed else data))


def test_data_cut_short_or_too_long_is_refused(tmp_path):
    assert "cut short" in refusal(write(tmp_path, GOOD[:-1]))
    assert "too long" in refusal(write(tmp_path, GOOD + b"\0"))
    assert "cut short, with 23" in refusal(write(tmp_path, gzip.compress(GOOD[:-1])))
    assert "too long" in refusal(write(tmp_path, gzip.compress(GOOD + b"\0")))


def test_broken_gzip_files_are_refused(tmp_path):
    packed = gzip.compress(GOOD)
    assert "corrupt gzip" in refusal(write(tmp_path, packed[:-9]))
    assert "corrupt gzip" in refusal(write(tmp_path, packed[:2]))
    assert "corrupt gzip" in refusal(write(tmp_path, packed[:-8] + b"\0" * 8))
    assert "no gzip file" in refusal(write(tmp_path, GOOD, "file.gz"))


def test_missing_files_and_folders_are_refused(tmp_path):
    assert "No such file" in refusal(tmp_path / "nothing")
    assert "directory" in refusal(tmp_path)


@pytest.mark.parametrize("packed", [False, True])
def test_a_header_that_claims_too_much_allocates_nothing(tmp_path, packed):
    # 3 GB claimed; with deflate's best ratio the packed file might hold 3 MB.
    data = GOOD[:4] + struct.pack(">3I", 3000, 1000, 1000) + bytes(1000)
    path = write(tmp_path, gzip.compress(data) if packed else data)
    tracemalloc.start()
    try:
        assert "more than the file can hold" in refusal(path)
        assert tracemalloc.get_traced_memory()[1] < 2e6
    finally:
        tracemalloc.stop()


def test_a_packed_file_longer_than_its_header_is_not_unpacked_whole(tmp_path):
    path = write(tmp_path, gzip.compress(GOOD + bytes(50_000_000), compresslevel=1))
    tracemalloc.start()
    try:
        assert "too long" in refusal(path)
        assert tracemalloc.get_traced_memory()[1] < 5e6
    finally:
        tracemalloc.stop()


FUZZ = settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def read_or_refuse(path):
    with contextlib.suppress(DataError):
        assert read_idx(path).nbytes <= 1032 * path.stat().st_size


@FUZZ
@given(head=st.sampled_from([b"", b"\0\0", b"\0\0\x08", GOOD[:4], b"\x1f\x8b"]), tail=st.binary())
def test_any_bytes_are_read_or_refused(tmp_path, head, tail):
    read_or_refuse(write(tmp_path, head + tail))
    read_or_refuse(write(tmp_path, gzip.compress(head + tail)))


@FUZZ
@given(place=st.integers(0, 200), byte=st.integers(0, 255), packed=st.booleans())
def test_any_byte_overwritten_is_read_or_refused(tmp_path, place, byte, packed):
    data = bytearray(gzip.compress(GOOD) if packed else GOOD)
    data[place % len(data)] = byte
    read_or_refuse(write(tmp_path, bytes(data)))


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        ("train-images", "train-images-idx3-ubyte"),
        ("train-images", "train-images-idx3-ubyte.gz"),
        ("train-images", "train-images.idx3-ubyte"),
        ("train-labels", "train-labels-idx1-ubyte"),
        ("t10k-labels", "t10k-labels.idx1-ubyte.gz"),
    ],
)
def test_finds_the_usual_names(tmp_path, kind, name):
    path = write(tmp_path, GOOD, name)
    assert find_idx(tmp_path, kind) == path
    assert find_idx(str(tmp_path), kind) == path


def test_a_file_that_is_not_there_is_named_with_its_folder(tmp_path):
    with pytest.raises(DataError, match="train-labels-idx1-ubyte") as caught:
        find_idx(tmp_path, "train-labels")
    assert str(tmp_path) in str(caught.value)


def test_no_folder_at_all_says_how_to_give_one():
    with pytest.raises(DataError, match=r"give `folder`, or set \$GMMDYN_DATA"):
        find_idx(None, "train-images")
