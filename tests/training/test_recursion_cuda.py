"""The kernel of the blocked form's recursion: run in numba's simulator, and made into PTX."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
import torch

import gmmdyn as gd
from gmmdyn.training import DenseEngine, Segment
from gmmdyn.training.rule import _recursion_cuda, recursion
from gmmdyn.training.rule.recursion_cuda import solver
from gmmdyn.training.rule.rule import Rule, functions_of

CASES = [
    # updates, batch, units, activation, loss, bias, train_readout, decay of the bias
    (6, 1, 3, "relu", "square", True, True, 0.3),
    (4, 3, 2, "erf", "logistic", False, True, 0.3),
    (3, 2, 4, "erf", "square", True, False, 0.0),
]


def chunk_of(updates, batch, hidden, bias, dtype=torch.float64, device="cpu"):
    generator = torch.Generator().manual_seed(0)

    def normals(*shape):
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    x = normals(2, updates * batch, 6).to(dtype)
    parts = {
        "fields": normals(2, updates * batch, hidden).to(dtype),
        "gram": x @ x.mT,
        "labels": normals(2, updates * batch, 1).sign().to(dtype),
        "readout": normals(2, 1, hidden),
        "bias": normals(2, hidden) if bias else None,
        "rates": normals(updates).abs() / 3,
    }
    parts = {name: None if part is None else part.to(device) for name, part in parts.items()}
    return recursion.Chunk(**parts)


def rule_of(activation="erf", loss="square", batch=1, train_readout=True, bias_decay=0.3):
    algorithm = gd.OnlineSGD(0.1, 0.3, train_readout, loss, batch)
    rule = Rule.of(gd.activation(activation), algorithm, compiled=False)
    return rule._replace(bias_decay=bias_decay, functions=functions_of(rule.activation, rule.loss))


def both(case, dtype=torch.float64, device="cpu"):
    """Solve by sweeps in torch, and by the kernel."""
    updates, batch, hidden, activation, loss, bias, train_readout, bias_decay = case
    chunk = chunk_of(updates, batch, hidden, bias, dtype, device)
    rule = rule_of(activation, loss, batch, train_readout, bias_decay)
    yield recursion.solve(chunk, rule)
    yield solver(rule, hidden, 1, dtype)(chunk)


def agree(case, dtype=torch.float64, device="cpu"):
    expected, found = both(case, dtype, device)
    moved = expected.steps.abs().max()
    assert moved > 1e-2
    for mine, theirs in zip(found, expected, strict=True):
        if theirs is not None:
            torch.testing.assert_close(mine, theirs, rtol=1e-12, atol=1e-12)


def blocked_engines_agree():
    """The engine by the kernel, as on a GPU, and by sweeps: the same weights."""
    mixture = gd.data_model("xor", dim=8, variance=0.3)
    network = gd.network(
        "committee", dim=8, hidden=3, activation="erf", init_scale=1.0, bias=True, seed=1
    )
    algorithm = gd.OnlineSGD(0.5, 0.7, batch_size=2, label_noise=0.1)
    layers = []
    for on_gpu in (False, True):
        engine = DenseEngine(mixture, network, algorithm, replicas=2, block_size=9)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(DenseEngine, "compiled", False)
            patch.setattr("gmmdyn.training.rule.blocked.usable", lambda device, on=on_gpu: on)
            engine.advance(Segment(0, 0, 9))
        layers.append(engine.first_layer)
    torch.testing.assert_close(*layers, rtol=0, atol=1e-5)
    assert (layers[0] - network.first_layer).abs().max() > 1e-2


@pytest.mark.parametrize(
    "which", ["engine", *(pytest.param(n, marks=pytest.mark.science) for n in "012")]
)
def test_it_solves_the_recursion_in_the_simulator(which):
    environment = {**os.environ, "NUMBA_ENABLE_CUDASIM": "1", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, __file__, which]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["agree"]


@pytest.mark.parametrize("itemsize", [4, 8])
def test_it_is_made_into_ptx(itemsize, pretended_device):
    from numba import cuda

    kernel = _recursion_cuda.kernel_of(4, 1, rule_of().functions)
    ptx, _ = cuda.compile_ptx(kernel, _recursion_cuda.SIGNATURES[itemsize], cc=(9, 0))
    assert ".target sm_90" in ptx
    assert "bar.sync" in ptx  # threads wait for each other


def test_more_units_than_fit_are_left_to_the_sweeps():
    assert solver(rule_of(), 1000, 1, torch.float32) is None


@pytest.mark.gpu
@pytest.mark.parametrize("case", [*CASES, (64, 1, 4, "relu", "square", True, True, 0.3)])
def test_it_solves_the_recursion_on_a_gpu(case):
    agree(case, device="cuda")


if __name__ == "__main__":
    if sys.argv[1] == "engine":
        blocked_engines_agree()
    else:
        agree(CASES[int(sys.argv[1])])
    print("agree")
