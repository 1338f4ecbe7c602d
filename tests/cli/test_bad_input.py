"""Bad input and failing runs: one sentence, an exit status, and nothing half-written."""

import errno
import gzip
import os
import resource
import signal
import subprocess
import sys

import pytest

import gmmdyn.training
from gmmdyn import Trajectory
from gmmdyn.cli import main

TINY = [
    "--data_model.dim=50",
    "--simulation.duration=1",
    "--simulation.replicas=2",
    "--simulation.test_size=100",
    "--theory.integrator={name: sobol, log2_samples: 6}",
]
PROGRAM = [sys.executable, "-c", "import sys; from gmmdyn.cli import main; sys.exit(main())"]


def refusal(words, capsys, status=2):
    """Run, and return the one line of the message."""
    assert main(words) == status
    error = capsys.readouterr().err
    assert error.startswith("gmmdyn: error: ")
    assert error.count("\n") == 1
    assert error.endswith((".\n", ")\n"))
    assert "Traceback" not in error
    return error


def test_options_of_one_section_are_not_alike_because_they_begin_alike(capsys):
    """`--algorithm.momentum` was once answered with `--algorithm.loss`."""
    message = refusal(["solve", "xor", "--algorithm.momentum=0.9"], capsys)
    assert "there is no option `--algorithm.momentum`; `--help` lists them." in message
    message = refusal(["solve", "xor", "--algoritm.loss=square"], capsys)
    assert "did you mean `--algorithm.loss`?" in message


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--algorithm.learning_rate=-0.1"], "`learning_rate` is -0.1"),
        (["--algorithm.learning_rate", "-1e-3"], "`learning_rate` is -0.001"),
        (["--algorithm.weight_decay=nan"], "`--algorithm.weight_decay` is `nan`"),
        (["--algorithm.learning_rate=fast"], "give a number or a mapping"),
        (["--algorithm.learning_rate={times: [0]}"], "or `times` and `rates`"),
        (["--algorithm.learning_rate={times: [1, 0], rates: [1, 1]}"], "`times` of a schedule"),
        (["--algorithm.loss=logistics"], "did you mean `logistic`"),
        (["--algorithm.batch_size=0"], "`batch_size` is 0"),
        (["--algorithm.label_noise=0.7"], "`label_noise` is 0.7"),
        (["--data_model.variance=-1"], "`variance` is -1"),
        (["--data_model.variance=wide"], "`--data_model.variance` is `wide`; give a number"),
        (["--data_model.dim=1.5"], "`--data_model.dim` is `1.5`; give a whole number"),
        (["--data_model.snr=loud"], "give `low` or `high` or `mixed`"),
        (["--data_model.name=xorr"], "no data model is called `xorr`; did you mean `xor`?"),
        (["--data_model.varience=1"], "did you mean `--data_model.variance`?"),
        (["--variance=1"], "did you mean `--data_model.variance`?"),
        (["--data_model.clusters_per_label=1"], "no option `--data_model.clusters_per_label`"),
        (["--network.name=comittee"], "did you mean `committee`?"),
        (["--network.hidden=0"], "`hidden` is 0"),
        (["--network.activation=rel"], "no activation is called `rel`; did you mean `relu`?"),
        (["--network.dim=60"], "`dim`"),
        (["--network.bias=perhaps"], "`--network.bias` is `perhaps`"),
        (["--simulation.replicas=0"], "`replicas` is 0"),
        (["--simulation.duration=0"], "`duration` is 0"),
        (["--simulation.engine=fast"], "no engine is called `fast`"),
        (["--simulation.seed=-1"], "`seed` is -1"),
        (["--simulation.resume=nowhere.ckpt"], "no checkpoint `nowhere.ckpt`"),
        (["--simulation.times=[1, 0]"], "`times`"),
        (["--theory.name=odd"], "did you mean `ode`?"),
        (["--theory.integrator=sobolev"], "did you mean `sobol`?"),
        (["--theory.integrator={name: sobol, samples: 3}"], "takes no keyword `samples`"),
        (["--theory.rtol=0"], "`rtol` is 0"),
        (["--data=."], "`--data` is for data sets in files, and `xor` reads none"),
        (["--simulation.duration"], "`--simulation.duration` is no option, or one that needs"),
        (["-x"], "`-x`"),
        (["-x=3"], "no option `-x`"),
        (["second"], "no use for `second`"),
        (["--version"], "no option `--version`"),
    ],
)
def test_a_bad_argument_is_named(words, message, tmp_path, capsys):
    target = tmp_path / "deep" / "run"
    error = refusal(["compare", "xor", *TINY, f"--output={target}", *words], capsys)
    assert message in error
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["compear"], "did you mean `compare`?"),
        (["--output=x"], "no option `--output=x` before a command"),
        (["compare"], "`gmmdyn compare` needs `config`"),
        (["compare", "xorr"], "did you mean `xor`?"),
        (["compare", "nowhere.yaml"], "neither a preset nor a YAML file"),
        (["compare", "xorr", "--help"], "did you mean `xor`?"),
        (["presets", "xor"], "no use for `xor`"),
        (["plugins", "--data=x"], "no option `--data`"),
        (["plot"], "`gmmdyn plot` needs `run`"),
        (["plot", "nowhere"], "`nowhere` has no `simulation.nc`"),
    ],
)
def test_a_bad_command_is_named(words, message, capsys):
    assert message in refusal(words, capsys)


def test_a_broken_file_is_named_with_its_line(tmp_path, capsys):
    path = tmp_path / "run.yaml"
    path.write_text("data_model: {name: xor}\nnetwork: {name: [\n")
    error = refusal(["compare", str(path)], capsys)
    assert "run.yaml` is not valid YAML" in error
    assert "line 3" in error


def test_a_missing_data_folder_is_named(tmp_path, capsys):
    words = [f"--data={tmp_path / 'nowhere'}", f"--output={tmp_path / 'run'}"]
    error = refusal(["compare", "fashion-mnist", *words], capsys)
    assert f"`{tmp_path / 'nowhere'}`" in error
    assert "`folder`" in error
    assert not list(tmp_path.iterdir())


def test_a_corrupt_idx_file_is_named(tmp_path, capsys):
    data = tmp_path / "data"
    data.mkdir()
    for kind, rank in (("images", 3), ("labels", 1)):
        name = data / f"train-{kind}-idx{rank}-ubyte.gz"
        name.write_bytes(gzip.compress(bytes([0, 0, 8, rank]) + bytes([0, 0, 0, 2]) * rank))
    words = [f"--data={data}", f"--output={tmp_path / 'run'}"]
    error = refusal(["compare", "fashion-mnist", *words], capsys)
    assert "train-images-idx3-ubyte.gz` is cut short" in error
    assert {entry.name for entry in tmp_path.iterdir()} == {"data"}


def test_a_plot_of_another_file_is_refused(tmp_path, capsys):
    (tmp_path / "simulation.nc").write_text("no trajectory")
    assert "holds no curves of a trajectory saved by gmmdyn" in refusal(
        ["plot", str(tmp_path)], capsys
    )


def never(*args, **kwargs):
    raise AssertionError("the simulation started")


def test_earlier_results_are_not_overwritten_unasked(tmp_path, capsys, monkeypatch):
    (tmp_path / "theory.nc").write_text("precious")
    monkeypatch.setattr(gmmdyn.training, "simulate", never)
    words = ["compare", "xor", *TINY, f"--output={tmp_path}"]
    assert "`--output` is" in refusal(words, capsys)
    (tmp_path / "thesis.tex").write_text("precious")
    assert "`thesis.tex`, no result of a run" in refusal([*words, "--overwrite"], capsys)
    assert {entry.name for entry in tmp_path.iterdir()} == {"theory.nc", "thesis.tex"}


def test_an_output_that_cannot_be_written_is_found_before_the_simulation(
    tmp_path, capsys, monkeypatch
):
    monkeypatch.setattr(gmmdyn.training, "simulate", never)
    (tmp_path / "file").touch()
    below = f"--output={tmp_path / 'file' / 'run'}"
    assert "cannot write" in refusal(["compare", "xor", *TINY, below], capsys, status=1)
    itself = f"--output={tmp_path / 'file'}"
    assert "no directory" in refusal(["compare", "xor", *TINY, itself], capsys)


@pytest.mark.parametrize("command", ["compare", "solve"])
def test_a_full_disk_leaves_nothing(command, tmp_path):
    # Every file of the process may have this many bytes: enough for the configuration, and less
    # than a figure or a NetCDF file needs.
    def small_files():
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))

    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1", "NUMBA_DISABLE_JIT": "1"}
    done = subprocess.run(
        [*PROGRAM, command, "xor", *TINY, "--output=deep/run"],
        capture_output=True, text=True, cwd=tmp_path, preexec_fn=small_files, env=environment,
    )  # fmt: skip
    assert done.returncode == 1
    assert done.stderr.startswith("gmmdyn: error: cannot write `deep/run/")
    assert done.stderr.count("\n") == 1
    assert os.strerror(errno.EFBIG) in done.stderr
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="there is no /dev/full")
def test_a_full_standard_output_is_an_error():
    with open("/dev/full", "w") as full:
        done = subprocess.run([*PROGRAM, "presets"], stdout=full, stderr=subprocess.PIPE, text=True)
    assert done.returncode == 1
    assert done.stderr == (
        "gmmdyn: error: cannot write to standard output: No space left on device.\n"
    )


def test_a_reader_that_goes_away_is_no_traceback():
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run([*PROGRAM, "presets"], stdout=writer, stderr=subprocess.PIPE, text=True)
    os.close(writer)
    assert done.returncode == 141
    assert done.stderr == ""


@pytest.mark.parametrize("command", ["compare", "simulate"])
def test_a_run_that_diverges_says_when_and_keeps_what_it_had(command, tmp_path, capsys):
    run = tmp_path / "run"
    words = [*TINY, "--simulation.duration=50", "--algorithm.learning_rate=50"]
    error = refusal([command, "xor", *words, f"--output={run}"], capsys, status=1)
    assert "t = " in error
    kept = Trajectory.load(run / "simulation.nc")
    assert kept.times.size >= 1
    assert kept.times[-1] < 50
    assert kept.metadata["experiment"]["algorithm"]["learning_rate"] == 50
    assert {entry.name for entry in tmp_path.iterdir()} == {"run"}
    assert (run / "errors.png").is_file()


def test_a_solver_that_gives_up_keeps_the_simulation(tmp_path, capsys):
    run = tmp_path / "run"
    words = [*TINY, "--theory.max_evaluations=9", f"--output={run}"]
    error = refusal(["compare", "xor", *words], capsys, status=1)
    assert "stopped at t = " in error
    assert Trajectory.load(run / "simulation.nc").times[-1] == 1
    assert Trajectory.load(run / "theory.nc").times[-1] < 1


def test_an_interrupted_run_leaves_nothing(tmp_path, capsys, monkeypatch):
    def interrupted(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr(gmmdyn.training, "simulate", interrupted)
    target = tmp_path / "deep" / "run"
    assert main(["compare", "xor", *TINY, f"--output={target}"]) == 130
    assert capsys.readouterr().err == "gmmdyn: interrupted; nothing was written.\n"
    assert not list(tmp_path.iterdir())


def test_an_interrupted_sweep_says_in_one_sentence_what_is_left(tmp_path, capsys, monkeypatch):
    def interrupted(*args, **kwargs):
        raise KeyboardInterrupt

    target = tmp_path / "sweep"
    words = ["sweep", "xor", "--over", "variance=0.1,0.2", f"--output={target}"]
    for place in ("gmmdyn.cli.sweeps.sweep", "gmmdyn.cli.sweeps.write_netcdf"):
        with monkeypatch.context() as patch:
            patch.setattr(place, interrupted)
            options = ["--simulation.times=[0,1]", "--workers=1", "--network.hidden=2"]
            assert main([*words, *options]) == 130
        assert capsys.readouterr().err == (
            f"gmmdyn: interrupted; the points that are finished are in {target}, and the same "
            "command goes on from there.\n"
        )


def test_an_interrupt_that_lightning_turns_into_an_exit_is_an_interrupt(tmp_path, monkeypatch):
    handler = signal.getsignal(signal.SIGINT)

    def interrupt(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr("gmmdyn.training.recorder.Recorder.observe", interrupt)
    try:
        assert main(["simulate", "xor", *TINY, f"--output={tmp_path / 'run'}"]) == 130
    finally:
        signal.signal(signal.SIGINT, handler)
    assert not list(tmp_path.iterdir())
