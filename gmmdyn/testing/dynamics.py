"""Checks of what learns and what predicts it: networks, engines, theories."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

import numpy as np
import torch

from gmmdyn.algorithm import OnlineSGD, Schedule
from gmmdyn.errors import IncompatibleError
from gmmdyn.interfaces import (
    Batch,
    DataModel,
    Engine,
    GaussianMixture,
    Network,
    Segment,
    Theory,
    TwoLayerNetwork,
)
from gmmdyn.testing.parts import close
from gmmdyn.trajectory import Trajectory


def check_network(network: Network) -> None:
    """Check that a network is simulated by the plain engine, whatever the rates.

    Args:
        network: to check, on the CPU.

    Raises:
        AssertionError: saying what is wrong.
    """
    from gmmdyn.training import PlainEngine

    noise = _Noise(network.dim)
    schedule = Schedule([0, 1], [0.2, 0.1])
    plain, changing = OnlineSGD(0.2, 0.3), OnlineSGD(schedule, 0.3)
    frozen = OnlineSGD(0.2, train_readout=False)
    for algorithm in (plain, changing):
        reason = PlainEngine.obstacle(noise, network, algorithm)
        assert reason is None, f"the plain engine {reason}"
    if isinstance(network, TwoLayerNetwork):
        reason = PlainEngine.obstacle(noise, network, frozen)
        assert reason is None, f"the plain engine {reason}"
    groups = [network.parameter_groups(algorithm) for algorithm in (plain, OnlineSGD(0.4, 0.3))]
    for slow, fast in zip(*groups, strict=True):
        assert math.isclose(2 * slow["lr"], fast["lr"]), "`lr` is proportional to the learning rate"
        assert slow["weight_decay"] == fast["weight_decay"], "`weight_decay` is without the rate"
    engine = PlainEngine(noise, network, plain, block_size=20)
    before = copy.deepcopy(list(network.parameters()))
    engine.advance(Segment(0, 0, 20))
    assert engine.finite, "a few updates of a small rate leave all parameters finite"
    moved = zip(engine.network(0).parameters(), before, strict=True)
    assert any(not torch.equal(one, old) for one, old in moved), "no parameter moves"
    assert all(torch.equal(*pair) for pair in zip(network.parameters(), before, strict=True)), (
        "running leaves the network as it was; `copy.deepcopy` of it must not share parameters"
    )


def check_engine(
    engine: type[Engine], data_model: DataModel, network: Network, algorithm: OnlineSGD
) -> None:
    """Check that an engine keeps its promises, and that its law is that of the plain engine.

    The means of 200 replicas are compared with those of the plain engine in standard errors, at
    t = 1.

    Args:
        engine: the class to check.
        data_model: of an experiment that it describes, on the CPU, of small dimension.
        network: of that experiment.
        algorithm: of that experiment.

    Raises:
        AssertionError: saying what is wrong.
    """
    from gmmdyn.training import PlainEngine

    parts, size = (data_model, network, algorithm), max(4, data_model.dim)
    reason = engine.obstacle(*parts)
    assert reason is None, f"the {engine.name} engine {reason}"
    added = engine.obstacle(data_model, network, _Unheard(0.1))
    assert added is not None, "what it does not declare in `describes` it refuses"

    def build(replicas: int = 3, seed: int = 1, cls: Callable[..., Engine] = engine) -> Engine:
        return cls(*parts, replicas=replicas, seed=seed, block_size=size)

    def states(one: Engine) -> list[torch.Tensor]:
        return [state.detach().clone() for state in one.parameters(recurse=False)]

    def gap(ours: list[torch.Tensor], theirs: list[torch.Tensor]) -> float:
        return max(float((a - b).abs().max()) for a, b in zip(ours, theirs, strict=True))

    whole, cut = build(), build()
    assert (whole.dim, whole.block_size, whole.replicas) == (data_model.dim, size, 3)
    assert sorted(i for group in whole.groups() for i in group) == [0, 1, 2], (
        "each replica is in one of `groups`"
    )
    start = states(whole)
    whole.advance(Segment(0, 0, size))
    middle = states(whole)
    assert gap(start, middle) > 0, "a block of updates moves the state"
    seen: list[tuple[int, int]] = []
    cut.advance(Segment(0, 0, 3))
    stops = [size - 1, size]
    cut.advance(
        Segment(0, 3, size),
        stops,
        lambda step, replicas: seen.extend((i, step) for i in replicas),
    )
    assert sorted(seen) == [(i, step) for i in range(3) for step in stops], (
        "each group of replicas is observed once at each stop, in order"
    )
    scale = max(float(state.abs().max()) for state in middle)
    tolerance = 1e-4 * max(1.0, scale)
    assert gap(middle, states(cut)) < tolerance, "how a block is cut changes nothing"
    resumed = build()
    resumed.load_state_dict(whole.state_dict())
    for one in (whole, resumed):
        one.advance(Segment(1, size, 2 * size))
    assert gap(states(whole), states(resumed)) == 0, "a state that is loaded goes on as the same"
    few, other = build(2), build(seed=2)
    for one in (few, other):
        one.advance(Segment(0, 0, size))
    assert gap([state[:2] for state in middle], states(few)) < tolerance, (
        "replica i is the same run whatever the number of replicas"
    )
    assert gap(middle, states(other)) > 0, "another seed is another run"
    assert gap([middle[0][:1]], [middle[0][1:2]]) > 0, "replicas are independent runs"
    means: list[dict[str, tuple[np.ndarray, np.ndarray]]] = []
    for cls in (engine, PlainEngine):
        one = build(200, 3, cls)
        one.advance(Segment(0, 0, size))
        measured = [one.measure(size, group, 200) for group in one.groups()]
        curves = {name: np.concatenate([m[name] for m in measured]) for name in measured[0]}
        for name, value in curves.items():
            assert len(value) == 200, f"`{name}` is measured of each replica of a group"
        means.append({k: (v.mean(0), v.std(0, ddof=1) / 200**0.5) for k, v in curves.items()})
    for name in means[0].keys() & means[1].keys():
        (ours, error), (theirs, spread) = means[0][name], means[1][name]
        far = np.abs(ours - theirs) - 5 * np.hypot(error, spread) - 1e-6
        assert (far < 0).all(), f"`{name}` is not that of the plain engine"


def check_theory(
    theory: Theory, data_model: DataModel, network: Network, algorithm: OnlineSGD
) -> None:
    """Check that a theory keeps its promises; whether it is right, a simulation says.

    Args:
        theory: to check.
        data_model: of an experiment that it describes.
        network: of that experiment.
        algorithm: of that experiment.

    Raises:
        AssertionError: saying what is wrong.
    """
    parts = data_model, network, algorithm
    theory.check(*parts)
    unheard = _Unheard(0.1)
    for refuse in (theory.check, theory.derivative):
        said = ""
        with suppress(IncompatibleError):
            refuse(data_model, network, unheard)
            said = "nothing"
        assert not said, "what it does not declare in `describes` it refuses"
    before = copy.deepcopy(network.state_dict())
    step = 1e-2
    times = [0.0, step, 2 * step, 0.5] if theory.follows_time else [math.inf]
    found = theory.solve(*parts, times=times)
    assert isinstance(found, Trajectory), "`solve` returns a Trajectory"
    assert found.source == "theory", "the source of its trajectory is `theory`"
    again = theory.solve(*parts, times=times)
    for name, values in found.curves.items():
        assert np.array_equal(values, again[name]), f"`{name}` is the same when solved again"
    for name, value in network.state_dict().items():
        assert torch.equal(value, before[name]), "`solve` leaves the network as it was"
    if not theory.follows_time:
        return
    assert np.array_equal(found.times, times), "it is at the times asked for"
    if not isinstance(network, TwoLayerNetwork) or not isinstance(data_model, GaussianMixture):
        return
    now = network.order_parameters(data_model)
    for name in ("Q", "R", "v"):
        if name in found.curves:
            first = torch.from_numpy(found[name][0])
            close(f"the initial {name}", first, getattr(now, name), 1e-6)
    try:
        slope = theory.derivative(*parts)
    except IncompatibleError:
        return
    for name in ("Q", "R", "v"):
        if name in found.curves:
            first, second, third = torch.from_numpy(found[name][:3])
            rate = (4 * second - 3 * first - third) / (2 * step)
            wanted = getattr(slope, name)
            close(
                f"the derivative of {name}", rate, wanted, 2e-3 + 1e-2 * float(wanted.abs().max())
            )


@dataclass(frozen=True)
class _Unheard(OnlineSGD):
    """SGD with something that nobody declares."""

    momentum: float = 0.9


class _Noise(DataModel):
    """Standard normal inputs with labels of either sign."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self._dim = dim

    @property
    def dim(self) -> int:
        return self._dim

    def sample(self, n: int, generator: torch.Generator, dtype: torch.dtype) -> Batch:
        inputs = torch.randn(n, self._dim, generator=generator, dtype=dtype)
        clusters = torch.randint(2, (n,), generator=generator)
        return Batch(inputs, (2 * clusters - 1).to(dtype), clusters)
