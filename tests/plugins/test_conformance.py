"""Every registered component passes the checks that plugin authors use."""

from __future__ import annotations

import dataclasses
import re

import numpy as np
import pytest
import torch

import gmmdyn as gd
from gmmdyn import registry, testing
from gmmdyn.errors import IncompatibleError
from gmmdyn.training import PlainEngine

# What a component needs beyond its name; a new one is tested by being registered.
NEEDED = {
    "isotropic": {
        "means": torch.randn(3, 20, generator=torch.Generator().manual_seed(0)) * 3,
        "labels": [-1, 1, 1],
        "priors": [0.5, 0.5, 0.0],
        "variance": 0.3,
    },
    "random-covariance": {
        "means": torch.eye(3, 20) * 5,
        "labels": [-1, -1, 1],
        "per_cluster": True,
    },
    "from-data": {"covariance": "per-class"},
    "xor": {"dim": 30, "rho": 0.3},
    "ring": {"dim": 30, "clusters_per_label": 3},
    "three-clusters": {"dim": 30, "snr": "mixed"},
    "random-means": {"dim": 30},
}
POINTS = {
    "monte-carlo": {"samples": 200_000},
    "sobol": {"log2_samples": 16},
    "preintegrated": {"log2_lines": 12},
}


@pytest.mark.parametrize("name", registry.available("activation"))
def test_activations(name):
    testing.check_activation(gd.activation(name))


@pytest.mark.parametrize("name", registry.available("data_model"))
def test_data_models(name, tmp_path):
    options = NEEDED.get(name, {})
    if name == "from-file":
        options = {"path": str(tmp_path / "mixture.npz")}
        scales = np.array([0.5, 1.0])[:, None] + np.arange(20) / 20
        np.savez(options["path"], means=np.eye(2, 20), labels=[-1, 1], variance=scales)
    testing.check_data_model(gd.data_model(name, **options))


@pytest.mark.parametrize("name", registry.available("loss"))
def test_losses(name):
    testing.check_loss(gd.loss(name))


@pytest.mark.parametrize("name", registry.available("network"))
def test_networks(name):
    sizes = {"committee": {"hidden": 3, "bias": True}, "random-features": {"features": 7}}
    testing.check_network(gd.network(name, dim=10, dtype="float64", **sizes[name]))


def small(features):
    mixture = gd.data_model("xor", dim=12, variance=0.3)
    options = {"dim": 12, "activation": "erf", "dtype": "float64", "seed": 0}
    if features:
        return mixture, gd.network("random-features", features=8, **options)
    return mixture, gd.network("committee", hidden=2, init_scale=1.0, **options)


@pytest.mark.parametrize("name", registry.available("engine"))
def test_engines(name):
    parts = small(name == "features")
    testing.check_engine(registry.get("engine", name), *parts, gd.OnlineSGD(0.4, label_noise=0.1))


@pytest.mark.parametrize("name", registry.available("theory"))
def test_theories(name):
    testing.check_theory(
        gd.theory(name), *small(name.startswith("random-features")), gd.OnlineSGD(0.4, 0.2)
    )


def check(name, activation, outputs=1):
    """An integrator describes an activation, or refuses it with the sentence of `obstacle`."""
    integrator = gd.integrator(name, **POINTS.get(name, {}))
    obstacle = integrator.refusal(activation, gd.OnlineSGD(0.1).loss_function, 2, outputs)
    if obstacle is None:
        testing.check_integrator(integrator, activation, tolerance=5e-3, outputs=outputs)
        return
    assert f"`{name}`" in obstacle
    with pytest.raises(IncompatibleError, match=re.escape(obstacle)):
        testing.check_integrator(integrator, activation, tolerance=5e-3, outputs=outputs)


@pytest.mark.parametrize("outputs", [1, 3])
@pytest.mark.parametrize("activation", ["relu", "erf", "linear"])
@pytest.mark.parametrize("name", registry.available("integrator"))
def test_integrators(name, activation, outputs):
    check(name, gd.activation(activation), outputs)


@pytest.mark.parametrize("activation", ["leaky-relu", "hard-tanh", "abs"])
def test_lines_describe_every_piecewise_linear_activation(activation):
    check("preintegrated", gd.activation(activation))


def test_a_leaky_rectifier_has_the_slope_of_its_option():
    activation = gd.activation("leaky-relu", slope=-0.3)
    testing.check_activation(activation)
    assert activation.slopes == (-0.3, 1.0)
    check("preintegrated", activation)


class Leaky(gd.Activation):
    """Two kinks, slopes of both signs: what a user may bring."""

    kinks = (-1.0, 0.5)
    slopes = (0.1, 1.0, -0.5)

    def forward(self, x):
        left, right = (x < -1).to(x.dtype), (x > 0.5).to(x.dtype)
        middle = 1 - left - right
        return left * (-1 + 0.1 * (x + 1)) + middle * x + right * (0.5 - 0.5 * (x - 0.5))

    def derivative(self, x):
        left, right = (x < -1).to(x.dtype), (x > 0.5).to(x.dtype)
        return 0.1 * left + (1 - left - right) - 0.5 * right


class Swish(gd.Activation):
    """Smooth, without a second derivative of its own."""

    def forward(self, x):
        return x * torch.sigmoid(x)

    def derivative(self, x):
        s = torch.sigmoid(x)
        return s + x * s * (1 - s)


@pytest.mark.parametrize("activation", [Leaky(), Swish()], ids=["kinks", "smooth"])
@pytest.mark.parametrize("name", registry.available("integrator"))
def test_activations_of_a_user(name, activation):
    testing.check_activation(activation)
    check(name, activation)


class WrongSlope(Swish):
    def derivative(self, x):
        return torch.sigmoid(x)


class WrongKink(Leaky):
    slopes = (0.2, 1.0, -0.5)


def test_the_checks_can_fail():
    with pytest.raises(AssertionError, match="`derivative` is off"):
        testing.check_activation(WrongSlope())
    with pytest.raises(AssertionError, match=r"declared as 0\.2"):
        testing.check_activation(WrongKink())
    with pytest.raises(AssertionError, match="`stein` is off"):
        testing.check_integrator(gd.integrator("sobol"), WrongKink(), tolerance=5e-3)


class WrongSignal(gd.Loss):
    """Half of its error signal is missing."""

    def value(self, output, label):
        return (label - output) ** 2

    def signal(self, output, label):
        return label - output

    def curvature(self, output, label):
        return torch.ones_like(label - output)


class SaysSquare(WrongSignal):
    quadratic = True

    def signal(self, output, label):
        return 2 * (label - output)

    def curvature(self, output, label):
        return 2 * torch.ones_like(label - output)


def test_the_checks_of_losses_can_fail():
    with pytest.raises(AssertionError, match="`signal` is off"):
        testing.check_loss(WrongSignal())
    with pytest.raises(AssertionError, match="says it is quadratic"):
        testing.check_loss(SaysSquare())


class Wrapped(gd.Engine):
    """The plain engine with something wrong in it."""

    name, describes = "wrapped", PlainEngine.describes

    def __init__(self, data_model, network, algorithm, **settings):
        super().__init__(data_model.dim, settings["block_size"])
        algorithm = self.spoilt(algorithm)
        self.inner = [PlainEngine(data_model, network, algorithm, **settings)]
        for name, state in self.inner[0].named_parameters(recurse=False):
            self.register_parameter(name, state)

    def spoilt(self, algorithm):
        return algorithm

    @classmethod
    def obstacle_of_parts(cls, data_model, network, algorithm):
        return None

    @property
    def finite(self):
        return self.inner[0].finite

    def groups(self):
        return self.inner[0].groups()

    def advance(self, segment, stops=(), observe=lambda step, replicas: None):
        self.inner[0].advance(segment, stops, observe)

    def measure(self, step, replicas, test_size):
        return self.inner[0].measure(step, replicas, test_size)


class OtherRate(Wrapped):
    def spoilt(self, algorithm):
        return dataclasses.replace(algorithm, learning_rate=4 * algorithm.learning_rate)


class Blind(Wrapped):
    def advance(self, segment, stops=(), observe=None):
        super().advance(segment)


class Restless(Wrapped):
    """Its samples depend on how often it is called."""

    def advance(self, segment, stops=(), observe=lambda step, replicas: None):
        self.inner[0].seed += 1
        super().advance(segment, stops, observe)


@pytest.mark.parametrize(
    ("cls", "reason"),
    [
        (OtherRate, "is not that of the plain engine"),
        (Blind, "is observed once at each stop"),
        (Restless, "how a block is cut changes nothing"),
    ],
)
def test_the_checks_of_engines_can_fail(cls, reason):
    parts = *small(False), gd.OnlineSGD(0.8)
    testing.check_engine(Wrapped, *parts)
    with pytest.raises(AssertionError, match=reason):
        testing.check_engine(cls, *parts)


class Still(gd.Theory):
    """Nothing moves, which is wrong, and its derivative says so."""

    def check(self, data_model, network, algorithm):
        pass

    def solve(self, data_model, network, algorithm, *, times, initial=None):
        now = network.order_parameters(data_model)
        curves = {k: np.stack([getattr(now, k).numpy()] * len(times)) for k in ("Q", "R", "v")}
        return gd.Trajectory(np.array(times), curves, "theory")


class Moving(Still):
    def derivative(self, data_model, network, algorithm, state=None, *, time=0.0):
        return gd.theory("ode").derivative(data_model, network, algorithm, state, time=time)


def test_the_checks_of_theories_can_fail():
    parts = *small(False), gd.OnlineSGD(0.4)
    testing.check_theory(Still(), *parts)
    with pytest.raises(AssertionError, match="`the derivative of Q` is off"):
        testing.check_theory(Moving(), *parts)


class Fast(gd.Network):
    """One linear unit whose rate is not that of the algorithm."""

    def __init__(self):
        super().__init__()
        self.weights = torch.nn.Parameter(torch.ones(6))

    @property
    def dim(self):
        return 6

    def forward(self, inputs):
        return inputs @ self.weights

    def parameter_groups(self, algorithm, time=0.0):
        rate = float(algorithm.rate(time)) ** 2
        return [{"params": [self.weights], "lr": rate, "weight_decay": 0.0}]


def test_the_checks_of_networks_can_fail():
    with pytest.raises(AssertionError, match="proportional to the learning rate"):
        testing.check_network(Fast())
