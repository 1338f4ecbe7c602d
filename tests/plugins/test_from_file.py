"""Mixtures from files."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
import torch
import xarray as xr
from safetensors.numpy import save_file

import gmmdyn as gd
from gmmdyn.cli import main
from gmmdyn.errors import DataError, NotPositiveError, OutputError, RangeError, ShapeError
from gmmdyn_mixtures import save_mixture

MEANS = np.array([[1.0, 2.0, 0.0], [-1.0, 0.5, 3.0]])
LABELS = np.array([-1.0, 1.0])
COVARIANCES = np.array([np.diag([1.0, 2.0, 3.0]), np.full((3, 3), 0.5) + np.eye(3)])


def good(**changes):
    arrays = {"means": MEANS, "labels": LABELS, "covariance": COVARIANCES, **changes}
    return {name: value for name, value in arrays.items() if value is not None}


def write(path, arrays):
    if path.suffix == ".npz":
        np.savez(path, **arrays)
    elif path.suffix == ".safetensors":
        save_file(arrays, path)
    else:
        named = {
            key: (tuple(f"{key}{axis}" for axis in range(np.ndim(value))), value)
            for key, value in arrays.items()
        }
        xr.Dataset(named).to_netcdf(path, engine="h5netcdf")
    return str(path)


@pytest.mark.parametrize("ending", [".npz", ".safetensors", ".nc"])
def test_all_formats_hold_the_same_mixture(tmp_path, ending):
    path = write(tmp_path / f"mixture{ending}", good(priors=np.array([0.3, 0.7])))
    mixture = gd.data_model("from-file", path=path)
    np.testing.assert_array_equal(mixture.means, MEANS)
    np.testing.assert_array_equal(mixture.labels, LABELS)
    np.testing.assert_allclose(mixture.priors, [0.3, 0.7])
    product = mixture.covariance_product(torch.eye(3, dtype=torch.float64))
    np.testing.assert_allclose(product, COVARIANCES, atol=1e-14)
    assert mixture.covariance_structure == "general"


@pytest.mark.parametrize(
    ("variance", "wanted"),
    [
        (np.float64(2.0), [np.eye(3) * 2]),
        (np.array([1.0, 4.0]), [np.eye(3), 4 * np.eye(3)]),
        (np.array([[1.0, 2.0, 3.0], [0.0, 0.0, 1.0]]), [np.diag([1, 2, 3]), np.diag([0, 0, 1])]),
    ],
    ids=["one", "each cluster", "each coordinate"],
)
def test_variances_are_diagonal_covariances(tmp_path, variance, wanted):
    path = write(tmp_path / "mixture.npz", good(covariance=None, variance=variance))
    mixture = gd.data_model("from-file", path=path)
    product = mixture.covariance_product(torch.eye(3, dtype=torch.float64))
    np.testing.assert_allclose(product, wanted, atol=1e-14)
    np.testing.assert_allclose(mixture.priors, [0.5, 0.5])


@pytest.mark.parametrize("ending", [".npz", ".safetensors", ".nc"])
@pytest.mark.parametrize("name", ["xor", "from-data"])
def test_what_is_saved_is_read_again(tmp_path, name, ending):
    options = {"dim": 12, "rho": 0.3} if name == "xor" else {"covariance": "per-class"}
    mixture = gd.data_model(name, **options)
    path = save_mixture(mixture, tmp_path / "deep" / f"mixture{ending}")
    again = gd.data_model("from-file", path=str(path))
    assert torch.equal(again.means, mixture.means)
    assert torch.equal(again.labels, mixture.labels)
    torch.testing.assert_close(again.priors, mixture.priors)
    probes = torch.randn(4, mixture.dim, generator=torch.Generator().manual_seed(0)).double()
    torch.testing.assert_close(
        again.covariance_product(probes), mixture.covariance_product(probes), atol=1e-10, rtol=0
    )
    assert [entry.name for entry in (tmp_path / "deep").iterdir()] == [path.name]


@pytest.mark.parametrize("ending", [".npz", ".safetensors", ".nc"])
@pytest.mark.parametrize(
    ("changes", "error", "match"),
    [
        ({"means": None}, DataError, "has no `means`; it has `covariance`, `labels`"),
        ({"labels": None}, DataError, "has no `labels`"),
        ({"covariance": None}, DataError, "has no `covariance`"),
        ({"prior": LABELS}, DataError, "unknown key `prior`; did you mean `priors`"),
        ({"variance": np.ones(2)}, DataError, "both `covariance` and `variance`"),
        ({"means": MEANS[0]}, ShapeError, r"`means` has shape \(3,\)"),
        ({"means": MEANS[:, :0]}, DataError, "at least one entry"),
        ({"labels": np.ones(3)}, ShapeError, r"`labels` has shape \(3,\)"),
        ({"labels": np.array([0.0, 1.0])}, RangeError, "-1 or \\+1"),
        ({"priors": np.array([0.9, 0.9])}, RangeError, "sum to one"),
        ({"covariance": COVARIANCES[:1]}, ShapeError, r"give shape \(2, 3, 3\)"),
        ({"covariance": np.eye(4)}, ShapeError, r"give shape \(3, 3\)"),
        ({"covariance": np.ones(3)}, ShapeError, r"give shape \(3, 3\)"),
        ({"covariance": -np.eye(3)}, NotPositiveError, "negative eigenvalue -1"),
        ({"covariance": np.triu(np.ones((3, 3)))}, NotPositiveError, "not symmetric"),
        ({"covariance": np.eye(3) * np.nan}, RangeError, "infinite or not a number"),
        ({"covariance": None, "variance": -LABELS}, NotPositiveError, "negative entry"),
        ({"covariance": None, "variance": np.ones(3)}, ShapeError, r"give shape \(2\)"),
    ],
)
def test_a_bad_file_is_one_sentence(tmp_path, changes, error, match, ending):
    path = write(tmp_path / f"mixture{ending}", good(**changes))
    with pytest.raises(error, match=match) as caught:
        gd.data_model("from-file", path=path)
    assert path in str(caught.value)


def test_pickles_are_refused_with_a_way_out(tmp_path):
    class Bomb:
        def __reduce__(self):
            return pytest.fail, ("it was unpickled",)

    for name in ("mixture.pkl", "mixture.pt", "mixture.pth"):
        (tmp_path / name).write_bytes(pickle.dumps(Bomb()))
        with pytest.raises(DataError, match=r"run any code.*numpy\.savez"):
            gd.data_model("from-file", path=str(tmp_path / name))
    objects = np.array([Bomb(), None], dtype=object)
    np.savez(tmp_path / "objects.npz", allow_pickle=True, means=objects, labels=LABELS)
    with pytest.raises(DataError, match=r"pickle.*numpy\.savez"):
        gd.data_model("from-file", path=str(tmp_path / "objects.npz"))


@pytest.mark.parametrize("ending", [".npz", ".safetensors", ".nc"])
def test_a_damaged_or_missing_file_is_one_sentence(tmp_path, ending):
    path = tmp_path / f"mixture{ending}"
    with pytest.raises(DataError, match="there is no file"):
        gd.data_model("from-file", path=str(path))
    for content in (b"", b"nonsense", b"PK\x03\x04" + bytes(50)):
        path.write_bytes(content)
        with pytest.raises(DataError, match="cannot be read"):
            gd.data_model("from-file", path=str(path))
    write(path, good())
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(DataError, match="cannot be read"):
        gd.data_model("from-file", path=str(path))


def test_other_endings_and_folders_are_refused(tmp_path):
    with pytest.raises(DataError, match=r"ends in `.csv`; give a file in .npz"):
        gd.data_model("from-file", path="mixture.csv")
    with pytest.raises(DataError, match=r"ends in `.csv`"):
        save_mixture(gd.data_model("xor", dim=4), tmp_path / "mixture.csv")
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot write"):
        save_mixture(gd.data_model("xor", dim=4), tmp_path / "file" / "mixture.npz")


def test_the_command_line_takes_a_file_and_writes_nothing_for_a_bad_one(tmp_path, capsys):
    path = write(tmp_path / "mixture.npz", good(means=None))
    words = ["simulate", "xor", "--data_model.name=from-file", f"--output={tmp_path / 'run'}"]
    words += ["--simulation.times=[0,1]", "--simulation.replicas=2"]
    assert main([*words, f"--data_model.path={path}"]) == 2
    assert "has no `means`" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
    path = write(tmp_path / "mixture.npz", good())
    assert main([*words, f"--data_model.path={path}"]) == 0
    assert (tmp_path / "run" / "simulation.nc").is_file()
