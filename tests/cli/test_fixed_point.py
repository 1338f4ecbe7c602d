"""The command `fixed-point`."""

from __future__ import annotations

import numpy as np
import pytest

from gmmdyn import Trajectory, load_fixed_points
from gmmdyn.cli import main
from gmmdyn.experiment import Experiment

# One linear unit on two opposite clusters: found in no time.
SMALL = ["--network.activation=linear", "--network.hidden=1", "--data_model.dim=50"]
SMALL += ["--data_model.name=ring", "--data_model.clusters_per_label=1"]


def test_it_says_where_the_flow_ends_and_writes_it(tmp_path, capsys):
    run = tmp_path / "run"
    words = ["fixed-point", "xor", "--algorithm.weight_decay=0.1", f"--output={run}"]
    words += ["--network.init=informed", "--network.init_scale=0.1", "--data_model.dim=500"]
    assert main(words) == 0
    said = capsys.readouterr().out
    assert "pmse                  0.15" in said
    assert "stable: largest real part of an eigenvalue -0.01" in said
    assert str(run) in said
    assert {path.name for path in run.iterdir()} == {"config.yaml", "theory.nc", "report.html"}
    found = Trajectory.load(run / "theory.nc")
    assert found.times.tolist() == [float("inf")]
    assert "name: state-evolution" in (run / "config.yaml").read_text()


def test_what_it_cannot_do_is_one_sentence(tmp_path, capsys):
    run = tmp_path / "run"
    assert main(["fixed-point", "digits", f"--output={run}"]) == 2
    assert "isotropic" in capsys.readouterr().err
    words = ["compare", "xor", "--theory.name=state-evolution", f"--output={run}"]
    assert main(words) == 2
    assert "use `gmmdyn solve`" in capsys.readouterr().err
    words = ["fixed-point", "xor", "--theory.method=damped", "--theory.max_evaluations=5"]
    assert main([*words, f"--output={run}"]) == 1
    assert "stopped at the residual" in capsys.readouterr().err
    assert Trajectory.load(run / "theory.nc").metadata["solver"]["converged"] is False


def test_along_a_parameter_and_from_many_starts(tmp_path, capsys):
    run = tmp_path / "branch"
    words = ["fixed-point", "xor", *SMALL, f"--output={run}"]
    assert main([*words, "--along", "weight_decay=0.05,0.1"]) == 0
    said = capsys.readouterr().out
    assert len([line for line in said.splitlines() if line.endswith("  stable")]) == 2
    names = ["config.yaml", "fixed_points.nc", "fixed_points.png", "fixed_points.yaml"]
    names += ["points", "report.html"]
    assert sorted(path.name for path in run.iterdir()) == names
    assert load_fixed_points(run / "fixed_points.nc")["weight_decay"].values.tolist() == [0.05, 0.1]
    words = ["fixed-point", "xor", *SMALL, f"--output={run}", "--overwrite"]
    assert main([*words, "--starts=2", "--seed=1"]) == 0
    assert len(list((run / "points").iterdir())) == 2  # those of the branch are gone
    assert int(load_fixed_points(run / "fixed_points.nc")["starts"].sum()) == 2


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--starts=2", "--along=weight_decay=0.1,0.2"], "one of the two"),
        (["--seed=3"], "one of the two"),
        (["--along=weight_decay=0.1,0.2", "--seed=3"], "`--seed` is that of `--starts`"),
        (["--starts=0"], "`--starts` is 0; give a whole number of at least 1"),
        (["--starts", "-3"], "`--starts` is -3"),
        (["--starts=2.5"], "`--starts` is '2.5'"),
        (["--starts=none"], "`--starts` is 'none'"),
        (["--starts="], "`--starts` is ''"),
        (["--starts=2", "--seed", "-1"], "`--seed` is -1; give a whole number of at least 0"),
        (["--starts=2", "--seed=x"], "`--seed` is 'x'"),
        (["--along=weight_decay"], "is no axis"),
        (["--along=weight_decay="], "is no axis"),
        (["--along=0.1,0.2"], "is no axis"),
        (["--along=weight_decay=0.1:0.2"], "is no axis"),
        (["--along=weight_decay=0.1:0.2:log:1"], "`count of weight_decay` is 1"),
        (["--along=weight_decay=0.1:0:log:3"], "has no logarithms"),
        (["--along=weight_decay=a,b"], "`weight_decay` is 'a'"),
        (["--along=weight_decay=0.1,-1"], "`weight_decay` is -1"),
        (["--along=weight_dekay=0.1,0.2"], "did you mean `weight_decay`"),
        (["--along=hidden=1,2"], "`hidden` changes how many units"),
        (["--along=theory.tolerance=1e-9,1e-8"], "no parameter of the experiment"),
        (["--along=learning_rate=0.1,0.2", "--along=weight_decay=1,2"], "takes one parameter"),
        (["--startz=3"], "did you mean `--starts`"),
        (["--starts=2", "--workers=2"], "no option `--workers`"),
        (["--along=weight_decay=0.1,0.2", "--theory.method=flow", "--theory.reduced=true"], "flow"),
    ],
)
def test_bad_input_is_one_sentence_and_leaves_the_directory_as_it_was(
    tmp_path, capsys, words, message
):
    run = tmp_path / "run"
    run.mkdir()
    (run / "config.yaml").write_text("old")
    assert main(["fixed-point", "xor", *SMALL, f"--output={run}", "--overwrite", *words]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.startswith("gmmdyn: error: ")
    assert error.count("\n") == 1
    assert [path.name for path in run.iterdir()] == ["config.yaml"]
    assert (run / "config.yaml").read_text() == "old"


def test_a_directory_of_other_fixed_points_or_of_anything_else_is_not_written_into(
    tmp_path, capsys
):
    run = tmp_path / "run"
    words = ["fixed-point", "xor", *SMALL, f"--output={run}"]
    assert main([*words, "--along=weight_decay=0.05,0.1"]) == 0
    before = (run / "fixed_points.yaml").read_text()
    capsys.readouterr()
    assert main([*words, "--along=weight_decay=0.05,0.2"]) == 2
    assert "which is not empty; give another, or `--overwrite`" in capsys.readouterr().err
    (run / "mine.txt").write_text("keep me")
    assert main([*words, "--starts=2", "--overwrite"]) == 2
    assert "holds `mine.txt`, no result of a run" in capsys.readouterr().err
    assert (run / "fixed_points.yaml").read_text() == before
    foreign = tmp_path / "foreign"
    (foreign / "points").mkdir(parents=True)
    words = ["fixed-point", "xor", *SMALL, f"--output={foreign}", "--overwrite", "--starts=2"]
    assert main(words) == 2
    assert "holds `points`, no result of a run" in capsys.readouterr().err


def test_an_interrupted_search_goes_on_with_the_same_command(tmp_path, capsys, monkeypatch):
    run = tmp_path / "run"
    words = ["fixed-point", "xor", *SMALL, "--along=weight_decay=0.05,0.1,0.2"]
    assert main([*words, f"--output={tmp_path / 'whole'}"]) == 0
    whole = capsys.readouterr().out.splitlines()[:-1]
    original = Experiment.described

    def interrupted(self, trajectory):
        if self.algorithm.weight_decay == 0.2:
            raise KeyboardInterrupt
        return original(self, trajectory)

    words += [f"--output={run}", "--overwrite"]
    with monkeypatch.context() as patch:
        patch.setattr(Experiment, "described", interrupted)
        assert main(words) == 130
    assert capsys.readouterr().err == (
        f"gmmdyn: interrupted; the points that are finished are in {run}, and the same command "
        f"with `--output {run}` goes on from there.\n"
    )
    kept = {path: path.stat().st_mtime_ns for path in (run / "points").iterdir()}
    assert len(kept) == 2
    assert main(words) == 0
    assert capsys.readouterr().out.splitlines()[:-1] == whole
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
    ours = load_fixed_points(run / "fixed_points.nc")
    assert ours.identical(load_fixed_points(tmp_path / "whole" / "fixed_points.nc"))


def test_a_branch_is_drawn_and_reported_again(tmp_path, capsys):
    run = tmp_path / "run"
    words = ["fixed-point", "xor", *SMALL, f"--output={run}", "--along=weight_decay=0.05,0.1"]
    assert main(words) == 0
    said = capsys.readouterr().out
    for command, name in (("plot", "fixed_points.png"), ("report", "report.html")):
        (run / name).unlink()
        assert main([command, str(run)]) == 0
        assert (run / name).stat().st_size > 1000
        again = capsys.readouterr().out
        assert command == "report" or again == said


def test_the_reduced_equations_have_no_stability(tmp_path, capsys):
    words = ["fixed-point", "xor", "--network.init=informed", "--data_model.dim=100"]
    words += ["--theory.method=newton", "--theory.reduced=true"]
    assert main([*words, f"--output={tmp_path / 'one'}"]) == 0
    said = capsys.readouterr().out
    assert "stability: not computed for the reduced equations\n" in said
    assert "nan" not in said
    assert "eigenvalue" not in said
    along = ["--along=weight_decay=0.1,0.05", f"--output={tmp_path / 'branch'}"]
    assert main([*words, *along]) == 0
    said = capsys.readouterr().out
    assert "stability: not computed for the reduced equations\n" in said
    assert [line.split()[-2:] for line in said.splitlines()[1:3]] == [["-", "-"]] * 2
    assert "nan" not in said
    assert "nan" not in (tmp_path / "branch" / "report.html").read_text()
    found = load_fixed_points(tmp_path / "branch" / "fixed_points.nc")
    assert np.isfinite(found["pmse"]).all()


def test_a_network_without_weights_is_stable_and_has_no_eigenvalues(tmp_path, capsys):
    words = ["fixed-point", "xor", *SMALL, "--algorithm.weight_decay=2"]
    assert main([*words, f"--output={tmp_path / 'run'}"]) == 0
    said = capsys.readouterr().out
    assert "\nstable\n" in said
    assert "nan" not in said
