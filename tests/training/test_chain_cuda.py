"""The chain on a GPU: its code compiled for the CPU, run in the simulator, and made into PTX."""

from __future__ import annotations

import os
import subprocess
import sys
import warnings

import numpy as np
import pytest
import torch
from numba import njit
from scipy import stats

import gmmdyn as gd
from gmmdyn.algorithm.losses import LOSSES
from gmmdyn.errors import IncompatibleError
from gmmdyn.training import ChainEngine, Segment
from gmmdyn.training.chain import launches
from gmmdyn.training.chain.cpu import Noise, mover
from gmmdyn.training.chain.points import Point
from gmmdyn.training.compiled import _philox, cuda
from gmmdyn.training.compiled.scalars import scalar_functions_of

SCHEDULE = gd.Schedule([0, 0.5, 2], [0.2, 0.9, 0.4])
LONG = pytest.mark.science
# Each is a compilation of its own, of some seconds.
CASES = [
    pytest.param(12, 3, "relu", False, {}, marks=LONG),
    pytest.param(12, 4, "erf", True, {"train_readout": False}, marks=LONG),
    pytest.param(12, 3, "relu", False, {"label_noise": 0.3}, marks=LONG),
    (12, 3, "erf", True, {"loss": "logistic", "learning_rate": SCHEDULE}),
    (5, 3, "erf", False, {"label_noise": 0.2}),  # D = r + s
    pytest.param(6, 3, "relu", True, {}, marks=LONG),  # D = r + s + 1
    pytest.param(2, 2, "erf", False, {}, marks=LONG),  # s = 0
]


def build(dim, hidden=3, activation="relu", bias=False, variance=0.3, seed=3, **settings):
    options = {"init_scale": 1.0, "bias": bias, "dtype": "float64", "seed": seed}
    return (
        gd.data_model("xor", dim=dim, variance=variance, rho=0.4),
        gd.network("committee", dim=dim, hidden=hidden, activation=activation, **options),
        gd.OnlineSGD(**{"learning_rate": 0.7, "weight_decay": 0.6, **settings}),
    )


def launched(engine):
    """What an engine hands to a kernel: sizes, functions, and the arguments after the updates."""
    seen = {}

    def capture(start, stop, sizes, scalars, algorithms, keys, points, parameters, states):
        rates = launches.learning_rates(algorithms, start, stop, sizes[0])
        seen.update(sizes=sizes, scalars=scalars)
        seen["arguments"] = (rates, keys, points, *parameters, *states)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("gmmdyn.training.chain.engine.advance_chains", capture)
        engine._advance_on_gpu(0, 200)
    return seen


def compiled_for_the_cpu(engine, updates):
    """Move all chains by the code of the kernel, one after the other; return the states."""
    from gmmdyn.training.chain import _cuda

    seen = launched(engine)
    sizes = _cuda.Sizes(*seen["sizes"])
    move = _cuda.mover(sizes, seen["scalars"])
    one, directions, inside, span, rest, hidden = _cuda.shapes_of(sizes)

    @njit
    def everything(stop, rates, keys, points, parameters, states):
        for chain in range(len(keys)):
            noise = (
                np.empty(one),
                np.empty(one),
                np.empty(directions),
                np.empty(one),
                np.empty(one),
            )
            state = np.empty(span), np.empty(rest), np.empty(hidden), np.empty(hidden)
            work = (
                np.empty(inside),
                np.empty(hidden),
                np.empty(hidden),
                np.empty(hidden),
                np.empty(hidden),
                np.empty(rest),
            )
            move(chain, 0, stop, rates, keys, points, parameters, states, (noise, state, work))

    rates, keys, points, *arrays = (tensor.numpy().copy() for tensor in seen["arguments"])
    states = tuple(arrays[4:])
    everything(updates, rates[:, :updates], keys, points, tuple(arrays[:4]), states)
    return states


@njit
def noise_of(key, updates, directions, freedom):
    """Draw what the kernel draws, into the arrays of the loop on a CPU."""
    zero = np.uint64(0)
    pairs = (directions + 1) // 2
    uniform = np.empty((updates, 2))
    normal = np.empty((updates, 2 * pairs))
    beyond = np.empty(updates)
    for i in range(updates):
        low = np.uint64(i)
        uniform[i] = _philox.uniforms((low, zero, zero, zero), key)
        for pair in range(pairs):
            two = _philox.normals((low, zero, np.uint64(pair + 1), zero), key)
            normal[i, 2 * pair : 2 * pair + 2] = two
        if freedom > 0:
            beyond[i] = _philox.chi_squared(freedom, low, zero, np.uint64(pairs + 1), key)
    return uniform, normal, beyond


@pytest.mark.parametrize(("dim", "hidden", "activation", "bias", "settings"), CASES)
def test_it_moves_a_chain_as_the_loop_on_a_cpu_does(dim, hidden, activation, bias, settings):
    updates = 150
    engine = ChainEngine(*build(dim, hidden, activation, bias, **settings), replicas=2, seed=5)
    found = compiled_for_the_cpu(engine, updates)
    seen = launched(engine)
    rates, keys, _, *parameters = seen["arguments"]
    directions = engine.span.shape[1] + engine.rest.shape[1]
    for replica in range(2):
        key = tuple(np.uint64(word) for word in keys[replica].tolist())
        uniform, normal, beyond = noise_of(key, updates, directions, float(dim - directions))
        noise = Noise(
            np.broadcast_to(rates[0].numpy(), (200,))[:updates].copy(),
            uniform[:, 0].copy(),
            normal[:, :directions].copy(),
            beyond if dim > directions else np.empty(0),
            uniform[:, 1].copy(),
        )
        state = [tensor[replica].numpy().copy() for tensor in engine._states()]
        before = [array.copy() for array in state]
        mover(seen["scalars"], [array[0].numpy() for array in parameters[:4]], state)(noise)
        for mine, theirs in zip(found, state, strict=True):
            np.testing.assert_allclose(mine[replica], theirs, rtol=1e-8, atol=1e-10)
        assert np.abs(state[0] - before[0]).max() > 0.01  # it moved


SIMULATOR = """
import sys, torch
sys.path.insert(0, sys.argv[1])
from test_chain_cuda import simulated_engine
from gmmdyn.training import Segment
from gmmdyn.training.compiled import cuda
assert cuda.simulated()
engine = simulated_engine()
engine.advance(Segment(0, 0, 7), [3])
engine.advance(Segment(0, 7, 9))
torch.save([state.contiguous() for state in engine._states()], sys.argv[2])
"""


def simulated_engine():
    """Two experiments of two chains each, which run by the kernel wherever they are."""
    import gmmdyn.training.chain.engine as module

    module.usable = lambda device: True
    one = build(9, 3, "erf", True, label_noise=0.2)
    other = build(9, 3, "erf", True, variance=0.1, seed=4, learning_rate=SCHEDULE)
    return ChainEngine(*one, replicas=2, seed=8, others=[other])


def test_the_simulator_runs_the_kernel(tmp_path):
    """With no GPU: the kernel and its launches, cut anywhere, equal the code for the CPU."""
    environment = {**os.environ, "NUMBA_ENABLE_CUDASIM": "1", "OMP_NUM_THREADS": "1"}
    path = tmp_path / "states.pt"
    here = os.path.dirname(__file__)
    subprocess.run(
        [sys.executable, "-c", SIMULATOR, here, path], env=environment, check=True, timeout=120
    )
    engine = ChainEngine(
        *build(9, 3, "erf", True, label_noise=0.2),
        replicas=2,
        seed=8,
        others=[build(9, 3, "erf", True, variance=0.1, seed=4, learning_rate=SCHEDULE)],
    )
    expected = compiled_for_the_cpu(engine, 9)
    for mine, theirs in zip(torch.load(path), expected, strict=True):
        np.testing.assert_allclose(mine.numpy(), theirs, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize(
    ("activation", "loss"),
    [
        ("hard-tanh", "square"),
        pytest.param("relu", "square", marks=LONG),
        pytest.param("erf", "logistic", marks=LONG),
        pytest.param("leaky-relu", "square", marks=LONG),
        pytest.param("abs", "square", marks=LONG),
        pytest.param("tanh", "logistic", marks=LONG),
        pytest.param("linear", "square", marks=LONG),
    ],
)
def test_it_compiles_for_a_gpu(activation, loss, pretended_device):
    from numba import cuda as numba_cuda

    from gmmdyn.training.chain import _cuda

    functions = scalar_functions_of(gd.activation(activation)).functions
    scalars = (*functions, LOSSES[loss].scalar_signal())
    kernel = _cuda.kernel_of(_cuda.Sizes(1000, 2, 4, 4, 4, False), scalars)
    code, _ = numba_cuda.compile_ptx(kernel, _cuda.SIGNATURE.args, cc=(9, 0))
    assert ".target sm_90" in code
    assert ".entry" in code


def _sorted_value(x):
    return np.sort(np.array([x, 0.0]))[1]


def test_what_cuda_cannot_compile_is_refused_in_a_sentence(pretended_device):
    scalars = (_sorted_value, _sorted_value, LOSSES["square"].scalar_signal())
    with pytest.raises(IncompatibleError, match=r"cannot compile the scalar functions.*`dense`"):
        launches._compiled((1000, 2, 4, 4, 4, False), scalars)


def test_a_gpu_that_numba_cannot_use_is_named_once(monkeypatch):
    device = torch.device("cuda")
    monkeypatch.setattr(cuda, "obstacle", lambda: "numba finds no CUDA toolkit")
    cuda._complaint.cache_clear()
    with pytest.warns(UserWarning, match=r"finds no CUDA toolkit.*gmmdyn\[cuda13\]"):
        assert not cuda.usable(device)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert not cuda.usable(device)
    cuda._complaint.cache_clear()
    assert not cuda.usable(torch.device("cpu"))


def test_several_experiments_must_differ_in_numbers_only():
    one = build(12)
    for other in (
        build(12, hidden=4),
        build(13),
        build(12, activation="erf"),
        build(12, bias=True),
    ):
        with pytest.raises(IncompatibleError, match="differ in numbers only"):
            ChainEngine(*one, others=[other])
    kinds = {Point.of(*parts).kind for parts in (one, build(12, variance=0.1, seed=5))}
    assert len(kinds) == 1


def test_groups_on_a_gpu_are_measured_as_parts_of_whole_blocks(monkeypatch):
    """Here on the CPU, where each replica has a seed: every one finds its own place."""
    one, other = build(12, loss="logistic"), build(12, loss="logistic", variance=0.1, seed=4)
    engine = ChainEngine(*one, replicas=70, seed=3, others=[other])
    engine.advance(Segment(0, 0, 10))
    engine.keep(range(5, 138))  # the share of a process
    expected = {group.start: engine.measure(4, group, 50) for group in engine.groups()}
    assert len(expected) == 133
    monkeypatch.setattr("gmmdyn.training.chain.engine.usable", lambda device: True)
    assert engine.groups() == [range(59), range(59, 65), range(65, 129), range(129, 133)]
    for group in engine.groups():
        found = engine.measure(4, group, 50)
        assert set(found) == {
            *("Q", "R", "v", "pmse", "classification_error", "tie_rate", "loss"),
        }
        for name, value in found.items():
            alone = [expected[replica][name][0] for replica in group]
            np.testing.assert_allclose(value, alone, rtol=1e-12, err_msg=name)


@pytest.mark.gpu
@pytest.mark.parametrize(("dim", "hidden", "activation", "bias", "settings"), CASES)
def test_on_a_gpu_it_equals_the_code_for_the_cpu(dim, hidden, activation, bias, settings):
    parts = build(dim, hidden, activation, bias, **settings)
    expected = compiled_for_the_cpu(ChainEngine(*parts, replicas=3, seed=5), 150)
    engine = ChainEngine(*parts, replicas=3, seed=5).to("cuda")
    assert cuda.usable(engine.span.device)
    engine.advance(Segment(0, 0, 150), [10, 11])
    for mine, theirs in zip(engine._states(), expected, strict=True):
        np.testing.assert_allclose(mine.cpu().numpy(), theirs, rtol=1e-8, atol=1e-10)


@pytest.mark.gpu
def test_on_a_gpu_cuts_replicas_and_a_resume_change_nothing(tmp_path):
    experiment = gd.Experiment(*build(30, 4))
    options = {"engine": "chain", "seed": 2, "trainer": {"accelerator": "gpu"}, "test_size": 100}
    whole = experiment.simulate(times=[1, 2, 50], replicas=100, **options)
    path = tmp_path / "half.ckpt"
    experiment.simulate(times=[1, 2], replicas=20, checkpoint=path, **options)
    rest = experiment.simulate(
        times=[1, 2, 50], replicas=20, resume=path, block_size=777, **options
    )
    for name in ("Q", "R", "v"):
        np.testing.assert_array_equal(whole[name][:, :20], rest[name])
    np.testing.assert_allclose(whole.pmse[:, :20], rest.pmse, rtol=1e-9)


@pytest.mark.gpu
def test_on_a_gpu_it_has_the_law_of_the_chain_on_a_cpu():
    experiment = gd.Experiment(*build(40, 4))
    options = {"times": [1.0, 4.0], "engine": "chain", "replicas": 2000, "test_size": 500}
    ours = experiment.simulate(**options, trainer={"accelerator": "gpu"}, seed=0)
    theirs = experiment.simulate(**options, trainer={"accelerator": "cpu"}, seed=1)
    chances = []
    for name in ours.curves:
        one, other = (run[name].reshape(2, 2000, -1) for run in (ours, theirs))
        for row in range(2):
            for entry in range(one.shape[2]):
                found = stats.ks_2samp(one[row, :, entry], other[row, :, entry])
                chances.append(found.pvalue)
    assert min(chances) > 1e-3 / len(chances)
