import subprocess
import sys

import pytest
import yaml

from gmmdyn import Comparison, Trajectory, __version__, presets, registry
from gmmdyn.cli import main
from gmmdyn.errors import IncompatibleError
from gmmdyn.experiment.configuration import Configuration

TINY = [
    "--data_model.dim=50",
    "--simulation.duration=1",
    "--simulation.replicas=2",
    "--simulation.test_size=100",
    "--theory.integrator={name: sobol, log2_samples: 6}",
]
FIGURES = {"errors.png", "order_parameters.png"}
RESULTS = {"config.yaml", "simulation.nc", "theory.nc", "report.html", *FIGURES}


def names(folder):
    return {entry.name for entry in folder.iterdir()}


def test_compare_writes_one_directory_and_says_where(tmp_path, capsys):
    target = tmp_path / "deep" / "run"
    assert main(["compare", "xor", *TINY, "--output", str(target)]) == 0
    out = capsys.readouterr().out
    assert f"written to {target}" in out
    assert "pmse" in out
    assert names(target) == RESULTS
    assert names(target.parent) == {"run"}
    assert (target / "errors.png").read_bytes().startswith(b"\x89PNG")
    simulated = Trajectory.load(target / "simulation.nc")
    assert simulated.replicas == 2
    assert simulated.times[-1] == 1
    assert (Trajectory.load(target / "theory.nc").times == simulated.times).all()
    assert simulated.metadata["versions"]["gmmdyn"] == __version__


def test_the_configuration_that_a_run_writes_repeats_it(tmp_path):
    first, second = tmp_path / "first", tmp_path / "second"
    words = ["--simulation.seed=7", "--network.activation=erf", "--network.hidden=3"]
    assert main(["simulate", "xor", *TINY, *words, f"--output={first}"]) == 0
    assert main(["simulate", str(first / "config.yaml"), f"--output={second}"]) == 0
    runs = [Trajectory.load(run / "simulation.nc") for run in (first, second)]
    assert (runs[0].pmse == runs[1].pmse).all()
    assert runs[0].metadata["experiment"] == runs[1].metadata["experiment"]
    text = (first / "config.yaml").read_text()
    assert f"gmmdyn {__version__}" in text
    assert yaml.safe_load(text)["simulation"]["seed"] == 7


def test_simulate_leaves_the_theory_out(tmp_path, capsys):
    assert main(["simulate", "xor", *TINY, f"--output={tmp_path / 'run'}"]) == 0
    assert names(tmp_path / "run") == RESULTS - {"theory.nc"}


def test_solve_needs_no_simulation(tmp_path, capsys):
    assert main(["solve", "xor", *TINY, f"--output={tmp_path / 'run'}"]) == 0
    assert names(tmp_path / "run") == {"config.yaml", "theory.nc", "errors.png", "report.html"}
    assert "classification error" in capsys.readouterr().out


def test_where_no_theory_applies_compare_says_so_and_simulates(tmp_path, capsys, monkeypatch):
    def refuse(self, *experiment):
        raise IncompatibleError("the theory `ode` describes something else.")

    monkeypatch.setattr(registry.get("theory", "ode"), "check", refuse)
    assert main(["compare", "xor", *TINY, f"--output={tmp_path / 'run'}"]) == 0
    captured = capsys.readouterr()
    expected = "gmmdyn: simulation only: the theory `ode` describes something else.\n"
    assert captured.err == expected
    assert names(tmp_path / "run") == RESULTS - {"theory.nc"}
    assert main(["solve", "xor", *TINY, f"--output={tmp_path / 'other'}"]) == 2
    assert names(tmp_path) == {"run"}


def test_plot_draws_again(tmp_path, capsys):
    run = tmp_path / "run"
    assert main(["compare", "xor", *TINY, f"--output={run}"]) == 0
    table = capsys.readouterr().out
    (run / "errors.png").unlink()
    assert main(["plot", str(run)]) == 0
    assert names(run) == RESULTS
    assert capsys.readouterr().out == table


def test_the_unit_of_time_of_the_figures_is_part_of_a_run(tmp_path, monkeypatch):
    units = []
    drawn = Comparison.plot

    def plot(self, path=None, time_unit="t"):
        units.append(time_unit)
        return drawn(self, path, time_unit)

    monkeypatch.setattr(Comparison, "plot", plot)
    run = tmp_path / "run"
    assert main(["simulate", "xor-high-snr", *TINY, f"--output={run}"]) == 0
    assert Configuration.load(run / "config.yaml").figures == {"time_unit": "t*sqrt(D)"}
    assert main(["plot", str(run)]) == 0
    assert main(["plot", str(run), "--time-unit", "t*D"]) == 0
    other = tmp_path / "other"
    words = ["--time-unit=t*D", f"--output={other}"]
    assert main(["simulate", "xor", *TINY, *words]) == 0
    assert main(["plot", str(other)]) == 0
    assert units == ["t*sqrt(D)", "t*sqrt(D)", "t*D", "t*D", "t*D"]


def test_a_unit_of_time_that_there_is_not_costs_no_run(tmp_path, capsys):
    target = tmp_path / "run"
    for option in ("--time-unit=hours", "--figures.time_unit=hours"):
        assert main(["compare", "xor", *TINY, option, f"--output={target}"]) == 2
        assert "`time_unit` is 'hours'" in capsys.readouterr().err
    assert not target.exists()


def test_output_is_by_default_a_fresh_directory_below_runs(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for _ in range(2):
        assert main(["solve", "xor", *TINY]) == 0
    runs = names(tmp_path / "runs")
    assert len(runs) == 2
    assert all(name.startswith("xor-") for name in runs)


def test_overwrite_replaces_an_earlier_run(tmp_path):
    run = f"--output={tmp_path / 'run'}"
    assert main(["simulate", "xor", *TINY, run]) == 0
    assert main(["solve", "xor", *TINY, run, "--overwrite"]) == 0
    assert "simulation.nc" not in names(tmp_path / "run")
    assert names(tmp_path) == {"run"}


def test_an_option_may_come_before_the_configuration_and_with_or_without_equals(tmp_path):
    run = str(tmp_path / "run")
    assert main(["solve", "--output", run, *TINY, "--network.init_scale", "1e-1", "xor"]) == 0
    resolved = yaml.safe_load((tmp_path / "run" / "config.yaml").read_text())
    assert resolved["network"]["init_scale"] == 0.1


def test_another_component_may_be_named(tmp_path):
    words = ["--data_model.name=ring", "--data_model.clusters_per_label=3", *TINY]
    words += [f"--output={tmp_path / 'run'}"]
    assert main(["solve", "xor", *words]) == 0
    assert Trajectory.load(tmp_path / "run" / "theory.nc")["R"].shape[1] == 6


def test_lists_are_read_as_lists(tmp_path):
    words = ["--simulation.times=[0, 0.5, 1]", "--network.readout=[1, -1, 1, -1]", *TINY[:1]]
    words += ["--theory.integrator=sobol", f"--output={tmp_path / 'run'}"]
    assert main(["solve", "xor", *words]) == 0
    theory = Trajectory.load(tmp_path / "run" / "theory.nc")
    assert theory.times.tolist() == [0, 0.5, 1]
    assert theory["v"][0].tolist() == [1, -1, 1, -1]


def test_variations_of_the_algorithm_are_options(tmp_path):
    words = [
        "--algorithm.loss=logistic",
        "--algorithm.learning_rate={times: [0, 10], rates: [0.2, 0.05]}",
        "--algorithm.batch_size=2",
        "--algorithm.label_noise=0.1",
    ]
    first, second = tmp_path / "first", tmp_path / "second"
    assert main(["simulate", "xor", *TINY, *words, f"--output={first}"]) == 0
    assert main(["simulate", str(first / "config.yaml"), f"--output={second}"]) == 0
    runs = [Trajectory.load(run / "simulation.nc") for run in (first, second)]
    assert (runs[0]["loss"] == runs[1]["loss"]).all()
    described = runs[0].metadata["experiment"]["algorithm"]
    assert described == {
        "learning_rate": {"times": [0.0, 10.0], "rates": [0.2, 0.05]},
        "weight_decay": 0.01,
        "train_readout": True,
        "loss": "logistic",
        "batch_size": 2,
        "label_noise": 0.1,
    }
    assert yaml.safe_load((first / "config.yaml").read_text())["algorithm"] == described


def test_plugins_are_listed_with_their_origin(capsys):
    assert main(["plugins"]) == 0
    head, *lines = capsys.readouterr().out.splitlines()
    assert head.split() == ["NAME", "KIND", "CLASS", "DISTRIBUTION", "VERSION"]
    assert len(lines) == len(registry.registrations())
    row = next(line.split() for line in lines if line.startswith("xor "))
    assert row[:3] == ["xor", "data_model", "gmmdyn_mixtures.geometries.XOR"]
    assert row[3:] == ["gmmdyn", __version__]


def test_presets_are_listed_with_what_they_show(capsys):
    assert main(["presets"]) == 0
    out = capsys.readouterr().out
    for name in presets.available():
        assert name in out
        assert presets.summary(name) in out


def test_the_version_is_printed(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"gmmdyn {__version__}\n"


def test_help_of_a_configuration_has_the_docstrings(capsys):
    assert main(["compare", "xor", "--data_model.name=ring", "--help"]) == 0
    text = " ".join(capsys.readouterr().out.split())
    assert "--data_model.clusters_per_label" in text
    assert "σ², the noise variance in each coordinate, at least 0. (default: 0.05)" in text
    assert "--theory.rtol" in text
    assert "--data_model.snr" not in text


@pytest.mark.parametrize("name", presets.available())
def test_every_option_of_a_preset_is_on_the_command_line(name, capsys):
    assert main(["compare", name, "--help"]) == 0
    out = capsys.readouterr().out
    configuration = Configuration.load(name).to_mapping()
    for section, values in configuration.items():
        for key in values or ():
            assert f"--{section}.{key} " in out


@pytest.mark.parametrize(
    "words", [[], ["--help"], ["compare", "--help"], ["-h"], ["presets"], ["plot", "--help"]]
)
def test_help_imports_nothing_slow(words):
    heavy = ["torch", "pytorch_lightning", "lightning", "matplotlib", "numpy", "xarray", "scipy"]
    code = (
        "import sys; from gmmdyn.cli import main; "
        f"status = main({words!r}); "
        f"print([m for m in {heavy!r} if m in sys.modules], file=sys.stderr); sys.exit(status)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0
    assert done.stderr == "[]\n"
    assert "xor" in done.stdout or "usage: gmmdyn" in done.stdout


def test_networks_without_order_parameters_run_too(tmp_path, capsys):
    words = ["--data_model.dim=30", "--simulation.duration=2", "--simulation.test_size=50"]
    words += ["--network.ratio=1.5", "--simulation.replicas=2"]
    first, second = tmp_path / "first", tmp_path / "second"
    assert main(["simulate", "xor-random-features", *words, f"--output={first}"]) == 0
    assert names(first) == {"config.yaml", "simulation.nc", "errors.png", "report.html"}
    assert main(["plot", str(first)]) == 0
    theory = "--theory.name=random-features"
    assert main(["solve", "xor-random-features", theory, *words, f"--output={second}"]) == 0
    assert "classification error" in capsys.readouterr().out
    assert names(second) == {"config.yaml", "theory.nc", "report.html"}
