"""Digests of what objects hold, and components that were made without the registry."""

from __future__ import annotations

import functools
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch

import gmmdyn as gd
from gmmdyn.errors import IncompatibleError
from gmmdyn.experiment.plain_values import describe, plain
from gmmdyn.experiment.state_digest import state_digest


class Teacher(gd.DataModel):
    """Labels of a random plane: no mixture, and of no registered name."""

    def __init__(self, dim=10, seed=0, flip=False, law=None):
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.register_buffer("_plane", torch.randn(dim, generator=generator, dtype=torch.float64))
        self.flip = flip
        self.law = law

    @property
    def dim(self):
        return len(self._plane)

    @functools.cached_property
    def length(self):
        return float(self._plane.norm())

    def sample(self, count, generator, dtype):
        inputs = torch.randn(count, self.dim, generator=generator, dtype=dtype)
        labels = torch.where(inputs @ self._plane.to(dtype) > 0, 1.0, -1.0).to(dtype)
        return gd.Batch(inputs, -labels if self.flip else labels, torch.zeros(count).long())


@dataclass
class Noise:
    level: float
    kind: str = "white"


class Slotted:
    __slots__ = ("value",)

    def __init__(self, value):
        self.value = value


def doubled(x):
    return 2 * x


def tripled(x):
    return 3 * x


def scaled(by):
    return lambda x: by * x


def values():
    """Values that differ, each made anew at every call."""
    circle = [1]
    circle.append(circle)
    return [
        None,
        True,
        1,
        2,
        0.5,
        float("nan"),
        float("inf"),
        "1",
        b"1",
        2**60,
        2**60 + 1,
        [],
        [1],
        [[1]],
        (1,),
        {},
        {"a": 1},
        {"a": 2},
        {"b": 1},
        {1: "a", (2, 3): "b"},
        {1, 2},
        {1, 3},
        np.zeros(2),
        np.zeros(3),
        np.zeros((1, 2)),
        np.zeros(2, dtype=np.float32),
        np.array([0.0, 1e-300]),
        np.array(["a", "b"]),
        torch.tensor([0.0, 1.0]),
        torch.tensor(0.0),
        torch.zeros(2, dtype=torch.bfloat16),
        torch.zeros(0, 3),
        torch.eye(2).to_sparse(),
        torch.float32,
        doubled,
        tripled,
        scaled(2),
        scaled(3),
        functools.partial(doubled, 1),
        functools.partial(doubled, 2),
        Noise(0.1),
        Noise(0.2),
        Noise(0.1, "pink"),
        Slotted(1),
        Slotted(2),
        Path("a"),
        Path("b"),
        Noise,
        torch.Generator().manual_seed(0),
        torch.Generator().manual_seed(1),
        np.random.default_rng(0),
        np.random.default_rng(1),
        circle,
        Teacher(),
        Teacher(seed=7),
        Teacher(dim=11),
        Teacher(flip=True),
        Teacher(law=doubled),
        Teacher(law=Noise(0.1)),
        torch.nn.ReLU(),
        gd.data_model("xor", dim=10),
        gd.data_model("xor", dim=12),
    ]


def test_equal_values_have_one_digest_and_different_ones_have_two():
    first = [state_digest(value) for value in values()]
    assert [state_digest(value) for value in values()] == first
    assert len(set(first)) == len(first)


def test_a_number_is_a_number_and_order_matters_in_sequences_only():
    assert state_digest(1) == state_digest(1.0)
    assert state_digest(0.0) == state_digest(-0.0)
    assert state_digest(True) != state_digest(1)
    assert state_digest({"a": 1, "b": 2}) == state_digest({"b": 2, "a": 1})
    assert state_digest([1, 2]) != state_digest([2, 1])
    assert state_digest(torch.ones(2)) == state_digest(np.ones(2, dtype=np.float32))


def test_a_digest_is_the_same_in_every_process():
    """Hashes of strings, and with them the order of sets, differ between processes."""
    code = (
        "from core.test_state_digest import values\n"
        "from gmmdyn.experiment.state_digest import state_digest\n"
        "print([state_digest(value) for value in values()])"
    )
    path = os.pathsep.join([str(Path(__file__).parents[1]), *sys.path])
    found = set()
    for seed in ("1", "2"):
        environment = {**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": path}
        found.add(subprocess.check_output([sys.executable, "-c", code], env=environment, text=True))
    assert len(found) == 1


def test_what_is_no_state_is_left_out():
    teacher = Teacher()
    before = state_digest(teacher)
    assert teacher.length > 0
    teacher.eval()
    assert state_digest(teacher) == before
    mixture = gd.data_model("three-clusters", dim=10)
    spec, mixture.spec = mixture.spec, None
    before = state_digest(mixture)
    mixture.bayes_error(samples=100)
    assert state_digest(mixture) == before
    mixture.spec = spec
    parameter = torch.nn.Parameter(torch.ones(2), requires_grad=False)
    assert state_digest(parameter) == state_digest(torch.ones(2))


def test_two_views_of_the_same_numbers_are_the_same():
    numbers = np.arange(6.0).reshape(2, 3)
    assert state_digest(numbers.T) == state_digest(np.ascontiguousarray(numbers.T))
    assert state_digest(torch.from_numpy(numbers).T) == state_digest(numbers.T)


def test_a_large_array_is_hashed_by_its_bytes():
    array = np.zeros((5000, 5000))
    begin = time.perf_counter()
    first = state_digest(array)
    assert time.perf_counter() - begin < 5  # 200 MB; as text it would take minutes
    array[4999, 4999] = 1e-12
    assert state_digest(array) != first


def test_a_component_without_a_name_is_described_by_class_and_state():
    described = describe(Teacher(seed=7))
    assert described["class"].endswith("test_state_digest.Teacher")
    assert described == describe(Teacher(seed=7))
    assert described != describe(Teacher(seed=0))
    assert describe(gd.data_model("xor", dim=10)) == {"name": "xor", "dim": 10}
    assert plain(Noise(0.1)) == {"level": 0.1, "kind": "white"}
    # An option without a text of its own.
    assert plain(Slotted(1)) == plain(Slotted(1)) != plain(Slotted(2))


def test_a_simulation_of_one_teacher_is_not_compared_with_a_theory_of_another():
    class Exact(gd.Theory):
        def check(self, data_model, network, algorithm):
            pass

        def solve(self, data_model, network, algorithm, *, times, initial=None):
            return gd.Trajectory(times, {"pmse": np.ones(len(times))}, "theory")

        def derivative(self, data_model, network, algorithm, state=None, *, time=0.0):
            raise NotImplementedError

    def experiment(seed, scale=1.0):
        network = gd.network("committee", dim=10, hidden=2, init_scale=scale, seed=0)
        network.spec = None
        return gd.Experiment(Teacher(seed=seed), network, gd.OnlineSGD(0.1))

    simulated = experiment(0).simulate(times=[0, 1], replicas=2, test_size=10)
    gd.compare(simulated, experiment(0).solve(Exact(), times=[0, 1]))
    with pytest.raises(IncompatibleError, match="differ in `data_model`, in what it holds"):
        gd.compare(simulated, experiment(7).solve(Exact(), times=[0, 1]))
    with pytest.raises(IncompatibleError, match="differ in `network`, in what it holds"):
        gd.compare(simulated, experiment(0, scale=2.0).solve(Exact(), times=[0, 1]))
