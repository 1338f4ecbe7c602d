"""Conformance checks for plugin authors: what gmmdyn's own components must pass too.

Each check raises AssertionError with a sentence. Use them in the tests of a plugin:

    gmmdyn.testing.check_activation(Softplus())
"""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass

import numpy as np
import torch

from gmmdyn.algorithm import Loss, OnlineSGD, Schedule
from gmmdyn.errors import IncompatibleError
from gmmdyn.interfaces import (
    Activation,
    Batch,
    DataModel,
    Engine,
    Fields,
    GaussianMixture,
    Integrator,
    IsotropicMixture,
    Network,
    Segment,
    Theory,
    TwoLayerNetwork,
)
from gmmdyn.trajectory import Trajectory


def check_activation(activation: Activation) -> None:
    """Check that the parts of an activation agree with each other.

    Args:
        activation: to check.

    Raises:
        AssertionError: saying what disagrees.
    """
    x = torch.linspace(-4, 4, 801, dtype=torch.float64)
    for kink in activation.kinks:
        x = x[(x - kink).abs() > 1e-3]
    step = 1e-5
    slope = (activation(x + step) - activation(x - step)) / (2 * step)
    _close("derivative", activation.derivative(x), slope, 1e-6)
    curvature = (activation.derivative(x + step) - activation.derivative(x - step)) / (2 * step)
    _close("second_derivative", activation.second_derivative(x), curvature, 1e-6)
    for dtype in (torch.float32, torch.float64):
        functions = (activation.forward, activation.derivative, activation.second_derivative)
        for function in functions:
            value = function(x.to(dtype).view(-1, 1))
            assert value.dtype == dtype, f"given {dtype} it returns {value.dtype}"
            assert value.shape == (len(x), 1), "it must keep the shape of its input"
    if activation.slopes:
        pieces = len(activation.slopes)
        assert pieces == len(activation.kinks) + 1, "give one more slope than kinks"
        edges = [-4.0, *activation.kinks, 4.0]
        for i, declared in enumerate(activation.slopes):
            middle = torch.tensor([(edges[i] + edges[i + 1]) / 2], dtype=torch.float64)
            found = float(activation.derivative(middle))
            assert math.isclose(found, declared, abs_tol=1e-9), (
                f"the slope on piece {i} is {found}, declared as {declared}"
            )
    scalars = activation.scalar_functions()
    if scalars is not None:
        for scalar, wanted in zip(scalars, (activation(x), activation.derivative(x)), strict=True):
            ours = torch.tensor([scalar(float(value)) for value in x], dtype=torch.float64)
            _close("scalar_functions", ours, wanted, 1e-12)


def check_data_model(data_model: DataModel) -> None:
    """Check that samples have the promised shapes, types and statistics.

    Means and covariances of a Gaussian mixture are compared with samples in standard errors along
    a few random directions.

    Args:
        data_model: to check, on the CPU, of moderate dimension.

    Raises:
        AssertionError: saying what is wrong.
    """
    for dtype in (torch.float32, torch.float64):
        batch = data_model.sample(7, torch.Generator().manual_seed(1), dtype)
        assert batch.inputs.shape == (7, data_model.dim), "inputs have shape (n, D)"
        assert batch.labels.shape == batch.clusters.shape == (7,), "labels have shape (n,)"
        assert batch.inputs.dtype == batch.labels.dtype == dtype, "the dtype asked for"
        assert batch.clusters.dtype == torch.int64, "clusters are whole numbers"
        again = data_model.sample(7, torch.Generator().manual_seed(1), dtype)
        assert torch.equal(batch.inputs, again.inputs), "one seed gives one sample"
    if isinstance(data_model, GaussianMixture):
        _check_mixture(data_model)


def _check_mixture(mixture: GaussianMixture) -> None:
    count, directions = 40_000, 3
    generator = torch.Generator().manual_seed(2)
    batch = mixture.sample(count, generator, torch.float64)
    clusters = len(mixture.labels)
    assert bool((mixture.labels.abs() == 1).all()), "labels are -1 or +1"
    assert abs(float(mixture.priors.sum()) - 1) < 1e-9, "priors sum to one"
    assert torch.equal(batch.labels, mixture.labels[batch.clusters]), "labels follow clusters"
    probes = torch.randn(directions, mixture.dim, generator=generator, dtype=torch.float64)
    probes /= probes.norm(dim=1, keepdim=True)
    products = mixture.covariance_product(probes)
    assert products.shape in {(size, directions, mixture.dim) for size in (1, clusters)}, (
        "covariance_product returns (C, N, D) or (1, N, D)"
    )
    axes = mixture.principal_axes()
    if axes is not None:
        rotation = torch.eye(mixture.dim) if axes.rotation is None else axes.rotation
        rotation = rotation.to(probes)
        assert torch.allclose(rotation.T @ rotation, torch.eye(mixture.dim).to(probes)), (
            "the rotation of principal_axes is orthogonal"
        )
        assert bool((axes.scale >= 0).all()), "the scales of principal_axes are not negative"
        turned = (probes @ rotation * axes.scale**2) @ rotation.T
        assert torch.allclose(turned.expand_as(products), products, atol=1e-8), (
            "the noise in principal_axes is not that of covariance_product"
        )
        assert torch.allclose(axes.centres @ rotation.T * math.sqrt(mixture.dim), mixture.means), (
            "the centres of principal_axes are not the rotated means / sqrt(D)"
        )
    variances = (products * probes).sum(-1).expand(clusters, -1)
    centres = mixture.means @ probes.T / math.sqrt(mixture.dim)
    for cluster, prior in enumerate(mixture.priors.tolist()):
        mine = batch.inputs[batch.clusters == cluster] @ probes.T
        spread = math.sqrt(prior * (1 - prior) * count)
        assert abs(len(mine) - prior * count) <= 5 * spread, "clusters follow their priors"
        if len(mine) < 100:
            continue
        variance = variances[cluster]
        error = 5 * (variance / len(mine)).sqrt() + 1e-9
        assert bool(((mine.mean(0) - centres[cluster]).abs() < error).all()), (
            f"inputs of cluster {cluster} are not centred on means / sqrt(D)"
        )
        error = 5 * variance * math.sqrt(2 / len(mine)) + 1e-9
        assert bool(((mine.var(0) - variance).abs() < error).all()), (
            f"the noise of cluster {cluster} is not that of covariance_product"
        )
    if isinstance(mixture, IsotropicMixture):
        assert mixture.covariance_structure == "isotropic"


def check_integrator(integrator: Integrator, activation: Activation, tolerance: float) -> None:
    """Check an integrator against brute force on a small problem, and that it is deterministic.

    Args:
        integrator: to check.
        activation: one that the integrator describes.
        tolerance: the largest error allowed in any moment; brute force itself is good to 5e-3.

    Raises:
        AssertionError: saying which moment is off.
    """
    generator = torch.Generator().manual_seed(3)
    root = torch.randn(2, 2, 2, generator=generator, dtype=torch.float64)
    fields = Fields(
        mean=torch.tensor([[0.5, -0.3], [0.1, 0.8]], dtype=torch.float64),
        covariance=root @ root.mT / 2,
        readout=torch.tensor([0.7, -0.4], dtype=torch.float64),
        labels=torch.tensor([-1.0, 1.0], dtype=torch.float64),
        activation=activation,
    )
    integrator.prepare(2)
    moments, errors = integrator.moments(fields), integrator.errors(fields)
    for one, two in zip(moments, integrator.moments(fields), strict=True):
        assert torch.equal(one, two), "the same arguments must give the same numbers"
    tolerance += 5e-3
    for cluster in range(2):
        z = torch.randn(1_000_000, 2, generator=generator, dtype=torch.float64)
        lam = fields.mean[cluster] + z @ torch.linalg.cholesky(fields.covariance[cluster]).T
        g, dg = activation(lam), activation.derivative(lam)
        delta = (fields.labels[cluster] - g @ fields.readout).unsqueeze(1)
        _close("drive", moments.drive[cluster], (dg * delta).mean(0), tolerance)
        _close("readout", moments.readout[cluster], (g * delta).mean(0), tolerance)
        signal = dg * delta
        _close("noise", moments.noise[cluster], signal.T @ signal / len(z), tolerance)
        # Stein: E[signal_k (lam_i - m_i)] = sum_j E[d signal_k / d lam_j] Cov_ji
        with_fields = signal.T @ (lam - fields.mean[cluster]) / len(z)
        ours = moments.stein[cluster] @ fields.covariance[cluster]
        _close("stein", ours, with_fields, tolerance)
        output = g @ fields.readout
        tie = (output == 0).double()
        wrong = (fields.labels[cluster] * output < 0).double() + 0.5 * tie
        _close("pmse", errors.pmse[cluster], 0.5 * (delta**2).mean(), tolerance)
        rate = errors.classification_error[cluster]
        _close("classification_error", rate, wrong.mean(), tolerance)
        ties = torch.zeros(()) if errors.tie_rate is None else errors.tie_rate[cluster]
        _close("tie_rate", ties, tie.mean(), tolerance)


def check_loss(loss: Loss) -> None:
    """Check that the parts of a loss agree with each other.

    Args:
        loss: to check.

    Raises:
        AssertionError: saying what disagrees.
    """
    output = torch.linspace(-4.03, 4.01, 403, dtype=torch.float64).requires_grad_()
    label = torch.ones_like(output)
    label[::2] = -1
    value = loss.value(output, label)
    (slope,) = torch.autograd.grad(value.sum(), output)
    signal = loss.signal(output, label)
    _close("signal", signal.detach(), -slope, 1e-9)
    bent = torch.zeros_like(output)
    if signal.requires_grad:
        (bent,) = torch.autograd.grad(-signal.sum(), output)
    output = output.detach()
    _close("curvature", loss.curvature(output, label), bent, 1e-9)
    for dtype in (torch.float32, torch.float64):
        points, one = output.to(dtype).view(-1, 1), torch.ones(1, dtype=dtype)
        for function in (loss.value, loss.signal, loss.curvature):
            found = function(points, one)
            assert found.dtype == dtype, f"given {dtype} it returns {found.dtype}"
            assert found.shape == points.shape, "output and label are broadcast to one shape"
    square = 0.5 * (label - output) ** 2
    if loss.quadratic:
        _close("value of a loss that says it is quadratic", value.detach(), square, 1e-12)
    scalar = loss.scalar_signal()
    if scalar is not None:
        pairs = zip(output.tolist(), label.tolist(), strict=True)
        ours = torch.tensor([scalar(*pair) for pair in pairs], dtype=torch.float64)
        _close("scalar_signal", ours, signal.detach(), 1e-12)


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

    def build(replicas: int = 3, seed: int = 1) -> Engine:
        return engine(*parts, replicas=replicas, seed=seed, block_size=size)  # type: ignore[call-arg]

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
        one = cls(*parts, replicas=200, seed=3, block_size=size)  # type: ignore[call-arg]
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
        try:
            refuse(data_model, network, unheard)
        except IncompatibleError as error:
            assert "momentum" in str(error), "what it does not declare it refuses by its name"
        else:
            raise AssertionError("what it does not declare in `describes` it refuses")
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
            _close(f"the initial {name}", first, getattr(now, name), 1e-6)
    try:
        slope = theory.derivative(*parts)
    except IncompatibleError:
        return
    for name in ("Q", "R", "v"):
        if name in found.curves:
            first, second, third = torch.from_numpy(found[name][:3])
            rate = (4 * second - 3 * first - third) / (2 * step)
            wanted = getattr(slope, name)
            _close(f"the derivative of {name}", rate, wanted, 2e-3 + 1e-2 * float(wanted.abs().max()))


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


def _close(name: str, found: torch.Tensor, wanted: torch.Tensor, tolerance: float) -> None:
    gap = float((found - wanted).abs().max())
    assert gap <= tolerance, f"`{name}` is off by {gap:.3g}"
