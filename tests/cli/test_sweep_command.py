"""The command `sweep`."""

from __future__ import annotations

import socket
import threading
import time

import pytest
import xarray as xr

from gmmdyn.cli import main

WORDS = ["sweep", "xor", "--over=lr=0.5,1", "--over=variance=0.05:0.4:2", "--workers=1"]
WORDS += ["--simulation.duration=1", "--data_model.dim=50", "--network.activation=linear"]


def test_it_writes_one_directory_and_goes_on_with_it(tmp_path, capsys):
    target = tmp_path / "grid"
    assert main([*WORDS, f"--output={target}"]) == 0
    said = capsys.readouterr().out
    assert "4 points, 0 of them failed" in said
    assert "lowest pmse: " in said
    names = sorted(path.name for path in target.iterdir())
    assert names == ["phase_diagram.png", "points", "sweep.nc", "sweep.yaml"]
    points = sorted((target / "points").iterdir())
    assert len(points) == 4
    with xr.open_dataset(target / "sweep.nc", engine="h5netcdf") as dataset:
        assert dict(dataset["pmse"].sizes)["learning_rate"] == 2
    stamps = [path.stat().st_mtime_ns for path in points]
    (target / "sweep.nc").unlink()
    assert main([*WORDS, f"--output={target}"]) == 0
    assert (target / "sweep.nc").is_file()
    assert [path.stat().st_mtime_ns for path in points] == stamps


def test_another_sweep_is_not_overwritten(tmp_path, capsys):
    target = tmp_path / "grid"
    few = ["sweep", "xor", "--workers=1", "--simulation.times=[0, 1]", "--data_model.dim=50"]
    few += ["--network.activation=linear", f"--output={target}"]
    assert main([*few, "--over=lr=0.5"]) == 0
    assert main([*few, "--over=lr=0.6"]) == 2
    assert "holds another sweep" in capsys.readouterr().err
    assert main([*few, "--over=lr=0.6", "--overwrite"]) == 0
    other = tmp_path / "other"
    other.mkdir()
    (other / "thesis.tex").write_text("x")
    assert main([*few[:-1], "--over=lr=0.6", f"--output={other}"]) == 2
    assert [path.name for path in other.iterdir()] == ["thesis.tex"]


@pytest.mark.parametrize(
    ("words", "match"),
    [
        ([], "needs `--over NAME=VALUES`"),
        (["--over=lr"], "is no axis"),
        (["--over=lr=1", "--over=lr=2"], "twice"),
        (["--over=rate=1"], "no option `rate`"),
        (["--over=lr=1", "--run=paint"], "`--run` is 'paint'"),
        (["--over=lr=1", "--workers=none"], "`--workers` is 'none'"),
        (["--over=lr=1", "--theory.name=nothing"], "no theory is called"),
        (["--over=lr=1", "--scheduler=tcp://127.0.0.1:1", "--workers=2"], "not several"),
    ],
)
def test_bad_input_is_a_sentence_and_writes_nothing(tmp_path, capsys, words, match):
    target = tmp_path / "grid"
    assert main(["sweep", "xor", *words, f"--output={target}"]) == 2
    assert match in capsys.readouterr().err
    assert not (target / "sweep.nc").exists()


def test_points_that_fail_are_counted_and_explained(tmp_path, capsys):
    target = tmp_path / "grid"
    few = ["sweep", "xor", "--workers=1", "--simulation.times=[0, 1]", "--data_model.dim=50"]
    few += ["--network.activation=linear", f"--output={target}"]
    assert main([*few, "--over=variance=0.1,-1"]) == 0
    said = capsys.readouterr().out
    last = said.splitlines()[-1]
    assert last == f"1 of 2 points failed; `message` of {target / 'sweep.nc'} says why"
    assert "failed: `variance` is -1" in said


def test_a_sweep_of_which_nothing_is_left_fails(tmp_path, capsys):
    target = tmp_path / "grid"
    few = ["sweep", "xor", "--workers=1", "--simulation.times=[0, 1]", "--data_model.dim=50"]
    assert main([*few, f"--output={target}", "--over=variance=-2,-1"]) == 1
    error = capsys.readouterr().err
    assert f"all 2 points failed; `message` of {target / 'sweep.nc'} says why." in error
    with xr.open_dataset(target / "sweep.nc", engine="h5netcdf") as dataset:
        assert "`variance` is -2" in str(dataset["message"].to_numpy()[0])


def test_a_scheduler_that_is_not_there_is_given_up_soon(tmp_path, capsys):
    pytest.importorskip("distributed")
    words = ["sweep", "xor", "--over=lr=0.5,1", "--scheduler=tcp://127.0.0.1:1"]
    start = time.monotonic()
    assert main([*words, f"--output={tmp_path / 'grid'}"]) == 2
    assert time.monotonic() - start < 15  # of which 5 to connect
    error = capsys.readouterr().err
    assert error.startswith("gmmdyn: error: there is no Dask scheduler at `tcp://127.0.0.1:1`: ")


def test_a_server_of_another_kind_is_no_scheduler(tmp_path, capsys):
    pytest.importorskip("distributed")
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer():
            connection, _ = server.accept()
            with connection:
                connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

        thread = threading.Thread(target=answer)
        thread.start()
        address = f"tcp://127.0.0.1:{server.getsockname()[1]}"
        words = ["sweep", "xor", "--over=lr=0.5,1", f"--scheduler={address}"]
        assert main([*words, f"--output={tmp_path / 'grid'}"]) == 2
        thread.join()
    assert f"there is no Dask scheduler at `{address}`" in capsys.readouterr().err


def test_help_names_every_form_of_an_axis(capsys):
    assert main(["sweep", "--help"]) == 0
    said = " ".join(capsys.readouterr().out.split())
    for form in ("FIRST:LAST:lin:COUNT", "FIRST:LAST:log:COUNT", "VALUE,VALUE"):
        assert form in said
