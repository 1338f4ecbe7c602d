"""Replicas divided among two real processes are the replicas of one process."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import pytorch_lightning as pl
from listeners import Memory

import gmmdyn as gd
from gmmdyn.errors import DivergenceError, IncompatibleError
from gmmdyn.training.distributed import ReplicaStrategy, share

TWO = {"strategy": "ddp", "devices": 2, "accelerator": "cpu"}


def experiment(rate=0.3):
    mixture = gd.data_model("xor", dim=30, variance=0.2)
    network = gd.network("committee", dim=30, hidden=4, init_scale=0.7, seed=1)
    return gd.Experiment(mixture, network, gd.OnlineSGD(rate, 0.01))


def runs(trainer, folder):
    """Several simulations one after the other, as a script would have them."""
    found = {}
    options = {"replicas": 5, "seed": 3, "block_size": 25, "trainer": trainer}
    for engine in ("chain", "dense"):
        found[engine] = experiment().simulate(times=[0, 0.5, 2.0], engine=engine, **options)
    half = folder / "half.ckpt"
    experiment().simulate(times=[0, 0.5], checkpoint=half, **options)
    found["resumed"] = experiment().simulate(times=[0, 0.5, 2.0], resume=half, **options)
    memory, stop = Memory(), pl.callbacks.EarlyStopping("pmse", patience=1, mode="max")
    heard = {**options, "trainer": {**trainer, "logger": memory, "callbacks": [stop]}}
    found["stopped"] = experiment().simulate(times=[0, 0.5, 1.0, 2.0], **heard)
    try:
        experiment(40.0).simulate(times=[0, 0.1, 400.0], **options)
    except DivergenceError as error:
        found["partial"] = error.partial
    arrays = {
        f"{run}/{name}": value for run, t in found.items() for name, value in t.curves.items()
    }
    return {**arrays, "logged": np.array([[step, row["pmse"]] for step, row in memory.rows])}


def main(folder):
    """What each of the two processes does."""
    arrays = runs(TWO, folder)
    np.savez(folder / f"rank{os.environ['LOCAL_RANK']}.npz", **arrays)
    experiment().simulate(0.5, replicas=1, trainer=TWO)


def test_two_processes_return_what_one_does_bit_for_bit(tmp_path):
    alone = tmp_path / "alone"
    alone.mkdir()
    expected = runs({"accelerator": "cpu"}, alone)
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    for name in ("LOCAL_RANK", "WORLD_SIZE", "NODE_RANK", "MASTER_ADDR", "MASTER_PORT"):
        environment.pop(name, None)
    # pytest's `pythonpath` is its own.
    paths = [str(Path(__file__).parents[1]), *filter(None, [environment.get("PYTHONPATH")])]
    environment["PYTHONPATH"] = os.pathsep.join(paths)
    done = subprocess.run(
        [sys.executable, __file__, str(tmp_path)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=200,
    )
    # The last simulation has fewer replicas than processes.
    assert "1 replicas cannot be divided among 2 processes" in done.stderr
    for rank in (0, 1):
        with np.load(tmp_path / f"rank{rank}.npz") as found:
            assert set(found) == set(expected)
            for name, value in expected.items():
                # A mean over processes is summed in another order.
                tolerance = 1e-14 if name == "logged" else 0
                np.testing.assert_allclose(found[name], value, tolerance, err_msg=name)
    assert len(expected["stopped/pmse"]) == len(expected["logged"]) == 2
    assert expected["chain/Q"].shape == (3, 5, 4, 4)
    np.testing.assert_array_equal(expected["resumed/Q"], expected["chain/Q"])
    assert len(expected["partial/Q"]) in (1, 2)
    # A checkpoint of two processes is one of one process.
    resumed = experiment().simulate(
        times=[0, 0.5, 2.0], replicas=5, seed=3, block_size=25, resume=tmp_path / "half.ckpt"
    )
    np.testing.assert_array_equal(resumed["Q"], expected["chain/Q"])


@pytest.mark.science
def test_on_the_command_line_the_first_process_writes(tmp_path):
    words = ["simulate", "xor", "--data_model.dim=40", "--simulation.duration=1"]
    words += ["--simulation.replicas=5", f"--output={tmp_path / 'run'}"]
    words += ["--simulation.trainer={strategy: ddp, devices: 2, accelerator: cpu}"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [str(Path(sys.executable).with_name("gmmdyn")), *words],
        env=environment,
        capture_output=True,
        text=True,
        timeout=200,
        check=True,
    )
    assert done.stdout.count("written to") == 1
    assert gd.Trajectory.load(tmp_path / "run" / "simulation.nc").replicas == 5
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_shares_are_all_replicas_and_differ_by_one_at_most():
    for total, processes in [(5, 2), (7, 7), (100, 8)]:
        parts = [share(total, rank, processes) for rank in range(processes)]
        assert [number for part in parts for number in part] == list(range(total))
        assert max(map(len, parts)) - min(map(len, parts)) <= 1


def test_strategies_that_average_gradients_are_refused():
    with pytest.raises(IncompatibleError, match="use the strategy `ddp`"):
        experiment().simulate(1, trainer={**TWO, "strategy": "ddp_spawn"})


def test_our_strategy_overrides_what_lightning_calls():
    assert hasattr(pl.strategies.DDPStrategy, "configure_ddp")
    assert "configure_ddp" in vars(ReplicaStrategy)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
