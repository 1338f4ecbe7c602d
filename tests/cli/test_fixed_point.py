"""The command `fixed-point`."""

from __future__ import annotations

from gmmdyn import Trajectory, load_fixed_points
from gmmdyn.cli import main


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
    assert "use `gmmdyn fixed-point`" in capsys.readouterr().err
    words = ["fixed-point", "xor", "--theory.method=damped", "--theory.max_evaluations=5"]
    assert main([*words, f"--output={run}"]) == 1
    assert "stopped at the residual" in capsys.readouterr().err
    assert Trajectory.load(run / "theory.nc").metadata["solver"]["converged"] is False


def test_along_a_parameter_and_from_many_starts(tmp_path, capsys):
    common = ["--network.activation=linear", "--network.hidden=1", "--data_model.dim=50"]
    common += ["--data_model.name=ring", "--data_model.clusters_per_label=1"]
    run = tmp_path / "branch"
    words = ["fixed-point", "xor", *common, f"--output={run}"]
    assert main([*words, "--along", "weight_decay=0.05,0.1"]) == 0
    said = capsys.readouterr().out
    assert len([line for line in said.splitlines() if line.endswith("  stable")]) == 2
    names = ["config.yaml", "fixed_points.nc", "fixed_points.png", "report.html"]
    assert sorted(path.name for path in run.iterdir()) == names
    assert load_fixed_points(run / "fixed_points.nc")["weight_decay"].values.tolist() == [0.05, 0.1]
    words = ["fixed-point", "xor", *common, f"--output={run}", "--overwrite"]
    assert main([*words, "--starts=2", "--seed=1"]) == 0
    assert int(load_fixed_points(run / "fixed_points.nc")["starts"].sum()) == 2
    assert main([*words, "--starts=3", "--along=weight_decay=0.1,0.2"]) == 2
    assert "one of the two" in capsys.readouterr().err
    assert main([*words, "--starts=none"]) == 2
    assert "`--starts` is 'none'" in capsys.readouterr().err
