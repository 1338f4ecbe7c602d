"""Numbers and files that no experiment can be made of: a sentence, at once, and little memory."""

import io
import tracemalloc
import zipfile

import h5netcdf
import numpy as np
import pytest

import gmmdyn as gd
from gmmdyn.errors import ArgumentError, DataError, RangeError, UnknownComponentError
from gmmdyn_mixtures import save_mixture


@pytest.mark.parametrize(
    ("make", "named"),
    [
        (lambda: gd.data_model("ring", clusters_per_label=10**30), "the means"),
        (lambda: gd.data_model("random-means", clusters_per_label=10**9), "the means"),
        (lambda: gd.data_model("xor", dim=10**12), "the means"),
        (lambda: gd.network("committee", dim=10, hidden=1e300), "the weights"),
        (lambda: gd.network("random-features", dim=10**6, features=10**6), "the projections"),
        (
            lambda: gd.data_model(
                "random-covariance", means=np.ones((300, 10_000)), labels=[1] * 300, per_cluster=1
            ),
            "the covariances",
        ),
    ],
)
def test_arrays_that_no_memory_holds_are_refused_before_they_are_made(make, named):
    tracemalloc.start()
    with pytest.raises(RangeError, match=rf"{named} are .* numbers, and at most 2\^31 are held"):
        make()
    assert tracemalloc.get_traced_memory()[1] < 1e8
    tracemalloc.stop()


@pytest.mark.parametrize("variance", [1e300, 1e25, float("inf")])
def test_noise_that_overflows_single_precision_is_refused(variance):
    with pytest.raises(RangeError, match="`variance`"):
        gd.data_model("xor", dim=10, variance=variance)
    batch = gd.data_model("xor", dim=10, variance=1e24)
    assert np.isfinite(batch.bayes_error().value)


def test_a_word_that_reads_as_a_number_is_none():
    with pytest.raises(RangeError, match=r"`rho` is '0.5'; give a finite number"):
        gd.data_model("xor", rho="0.5")
    with pytest.raises(RangeError, match=r"`learning_rate` is '0.1'"):
        gd.OnlineSGD(learning_rate="0.1")


def test_components_of_the_wrong_type_are_refused_by_name():
    with pytest.raises(UnknownComponentError, match=r"no activation is called `\[1\]`"):
        gd.network("committee", dim=5, hidden=2, activation=[1])
    with pytest.raises(ArgumentError, match="`mixture` is 5; give a Gaussian mixture"):
        gd.network("committee", hidden=2, mixture=5)


def memory_of_refusing(path, match):
    tracemalloc.start()
    with pytest.raises(DataError, match=match):
        gd.data_model("from-file", path=str(path))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak


def test_an_archive_is_not_inflated_for_arrays_it_should_not_have(tmp_path):
    path = tmp_path / "x.npz"
    good = {"means": np.eye(2), "labels": [1, -1], "variance": 1.0}
    np.savez_compressed(path, **good, bomb=np.zeros(10**8))
    assert path.stat().st_size < 2e6
    assert memory_of_refusing(path, "unknown key `bomb`") < 1e7


def test_headers_that_claim_more_than_there_is_are_refused(tmp_path):
    path = tmp_path / "x.npz"
    np.savez(path, means=np.eye(2), labels=[1, -1], variance=1.0)
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    header = io.BytesIO()
    claim = {"descr": "<f8", "fortran_order": False, "shape": (2**20, 2**20)}
    np.lib.format.write_array_header_1_0(header, claim)
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, header.getvalue() if name == "means.npy" else content)
    assert memory_of_refusing(path, "another size") < 1e7

    sparse = tmp_path / "x.nc"
    with h5netcdf.File(sparse, "w") as file:
        file.dimensions = {"c": 2**20, "d": 2**20}
        file.create_variable("means", ("c", "d"), "f8", chunks=(1024, 1024))
        file.create_variable("labels", ("c",), "f8")
        file.create_variable("variance", (), "f8", data=1.0)
    assert memory_of_refusing(sparse, "damaged") < 1e8


@pytest.mark.parametrize("ending", ["npz", "safetensors", "nc"])
def test_no_flipped_bit_is_read_as_another_number(tmp_path, ending):
    path = save_mixture(gd.data_model("xor", dim=30), tmp_path / f"x.{ending}")
    good = path.read_bytes()
    rng = np.random.default_rng(0)
    wanted = gd.data_model("from-file", path=str(path))
    for bit in rng.integers(8 * len(good), size=30):
        damaged = bytearray(good)
        damaged[bit // 8] ^= 1 << (bit % 8)
        path.write_bytes(damaged)
        try:
            found = gd.data_model("from-file", path=str(path))
        except DataError:
            continue
        for name in ("means", "labels", "priors"):
            assert getattr(found, name).equal(getattr(wanted, name))
        unit = wanted.means.new_ones(1, 30)
        assert found.covariance_product(unit).equal(wanted.covariance_product(unit))


def test_a_trajectory_that_claims_more_than_its_file_holds_is_refused(tmp_path):
    path = tmp_path / "x.nc"
    with h5netcdf.File(path, "w") as file:
        file.dimensions = {"time": 2**40}
        file.create_variable("pmse", ("time",), "f8", chunks=(1024,))
    with pytest.raises(DataError, match="damaged"):
        gd.Trajectory.load(path)
