"""Every registered component passes the checks that plugin authors use."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch

import gmmdyn as gd
from gmmdyn import registry, testing
from gmmdyn.errors import IncompatibleError

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
