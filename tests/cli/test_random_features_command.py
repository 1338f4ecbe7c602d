"""The command `random-features`, and the grid it computes."""

from __future__ import annotations

import html
import math

import numpy as np
import pytest
import xarray as xr

import gmmdyn as gd
from gmmdyn import feature_errors
from gmmdyn.cli import main
from gmmdyn.errors import IncompatibleError


def test_it_writes_one_directory_and_draws_it_again(tmp_path, capsys):
    run = tmp_path / "run"
    words = ["--sigma=0.2:0.6:log:3", "--dim=20,30", "--ratio=1.5,2", "--seeds=0,1"]
    words += ["--geometry=xor,three-clusters", f"--output={run}"]
    assert main(["random-features", *words]) == 0
    names = sorted(path.name for path in run.iterdir())
    assert names == ["config.yaml", "errors.png", "random_features.nc", "report.html"]
    out = capsys.readouterr().out
    assert len(out.splitlines()) == 1 + 2 * 2 * 2 * 3 + 1
    with xr.open_dataset(run / "random_features.nc", engine="h5netcdf") as found:
        assert dict(found.sizes) == {"geometry": 2, "dim": 2, "ratio": 2, "sigma": 3, "seed": 2}
        assert bool(found["classification_error"].notnull().all())
    (run / "errors.png").unlink()
    assert main(["plot", str(run)]) == 0
    assert capsys.readouterr().out == out
    assert (run / "errors.png").is_file()


def test_its_report_has_all_of_it(tmp_path, capsys):
    run = tmp_path / "run"
    assert main(["random-features", "--sigma=0.3", "--dim=20", f"--output={run}"]) == 0
    table = capsys.readouterr().out.partition("written to")[0].strip("\n")
    page = (run / "report.html").read_text()
    assert "<h1>gmmdyn: analytic errors of random features</h1>" in page
    assert html.escape(table) in page
    assert page.count("data:image/png;base64,") == 1
    assert "gmmdyn random-features --sigma=0.3" in page
    (run / "report.html").unlink()
    assert main(["report", str(run)]) == 0
    assert (run / "report.html").read_text() == page


def test_each_point_is_the_theory_of_that_experiment():
    grid = feature_errors(sigma=[0.2, 0.5], ratio=[2, 3], dim=[25], seeds=[4, 1], ridge=0.01)
    mixture = gd.data_model("xor", dim=25, variance=0.25)
    network = gd.network("random-features", dim=25, ratio=3, seed=1, bias=True, dtype="float64")
    experiment = gd.Experiment(mixture, network, gd.OnlineSGD(1.0, 0.01))
    point = grid.sel(geometry="xor", dim=25, ratio=3, sigma=0.5)
    solved = experiment.solve("random-features")
    for name in ("pmse", "classification_error"):
        assert float(point[name].sel(seed=1)) == pytest.approx(solved[name][0], rel=1e-9)
        assert float(point[name].sel(seed=1)) != float(point[name].sel(seed=4))
    assert float(point["bayes_error"]) == pytest.approx(mixture.bayes_error().value)


def test_the_limit_is_that_of_the_reproduction_page():
    """Error Phi(-sqrt(gamma k/(D sigma^4))/2) with k = 1.076 for ReLU at gamma = 2."""
    mixture = gd.data_model("xor", dim=1500, variance=0.5**2)
    network = gd.network("random-features", dim=1500, features=3000, seed=0)
    found = gd.Experiment(mixture, network, gd.OnlineSGD(1.0)).solve("random-features-limit")
    strength = 2 * 1.076 / (1500 * 0.5**4)
    wanted = 0.5 * math.erfc(0.5 * math.sqrt(strength) / math.sqrt(2))
    assert found.classification_error[0] == pytest.approx(wanted, abs=2e-4)
    assert found.pmse[0] == pytest.approx(0.5 / (1 + strength / 4), abs=2e-4)


def test_finite_sizes_tend_to_the_limit():
    grid = feature_errors(sigma=[0.9], dim=[50, 400], seeds=[0, 1, 2, 3])
    gap = abs(grid["classification_error"] - grid["limit_classification_error"]).mean("seed")
    small, large = np.asarray(gap.values).ravel()
    assert large < 0.5 * small
    assert large < 2e-3


def test_there_is_no_limit_beyond_low_snr():
    grid = feature_errors(sigma=[0.2], dim=[30], snr="high")
    assert not np.isfinite(grid["limit_pmse"]).any()
    assert float(grid["classification_error"].max()) < 1e-6
    mixture = gd.data_model("xor", dim=30, snr="high")
    network = gd.network("random-features", dim=30, ratio=2)
    with pytest.raises(IncompatibleError, match="of order one, and it is 30 here"):
        gd.Experiment(mixture, network, gd.OnlineSGD(1.0)).solve("random-features-limit")


@pytest.mark.parametrize(
    ("words", "match"),
    [
        (["--sigma=0"], "`sigma` is 0"),
        (["--sigma=0.1,nan"], "`sigma` is"),
        (["--sigma=,"], "sigma"),
        (["--sigma=0.1,0.1"], "`sigma` lists a value twice"),
        (["--ratio=-1"], "`ratio` is -1"),
        (["--dim=0"], "`dim` is 0"),
        (["--dim=12.5"], "`dim` is 12.5"),
        (["--seeds=-1"], "`seeds` is -1"),
        (["--geometry=cubes"], "no data model is called `cubes`"),
        (["--geometry=isotropic"], "the geometry `isotropic` has no option `dim`"),
        (["--geometry=ring", "--snr=high"], "has no option `snr`"),
        (["--snr=loud"], "`snr` is 'loud'"),
        (["--activation=softmax"], "no activation is called `softmax`"),
        (["--ridge=-1"], "`ridge` is -1"),
        (["--ridge=much"], "`--ridge` is `much`; give a number"),
        (["--bias=2"], "`--bias` is `2`; give true or false"),
        (["--order=second"], "`order` is 'second'"),
        (["--sigmas=0.1"], "did you mean `--sigma`"),
        (["--sigma=0.1", "--sigma=0.2"], "given twice"),
        (["xor"], "has no use for `xor`"),
    ],
)
def test_bad_input_is_one_sentence_and_writes_nothing(tmp_path, capsys, words, match):
    assert main(["random-features", *words, f"--output={tmp_path / 'run'}"]) == 2
    message = capsys.readouterr().err
    assert match in message
    assert message.count("\n") == 1
    assert not list(tmp_path.iterdir())
