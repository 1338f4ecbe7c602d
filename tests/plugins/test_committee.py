"""The committee: initial weights, explicit arrays, the network function."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

import gmmdyn as gd
from gmmdyn.errors import ArgumentError, RangeError, ShapeError, UnknownComponentError


def test_the_output_is_the_formula():
    rng = np.random.default_rng(0)
    W, v, b = rng.normal(size=(3, 20)), rng.normal(size=3), rng.normal(size=3)
    network = gd.network(
        "committee", first_layer=W, readout=v, bias=b, activation="erf", dtype="float64"
    )
    x = rng.normal(size=(5, 20))
    expected = [
        sum(v[k] * math.erf((W[k] @ row / math.sqrt(20) + b[k]) / math.sqrt(2)) for k in range(3))
        for row in x
    ]
    np.testing.assert_allclose(network(torch.tensor(x)).detach().numpy(), expected)


def test_order_parameters_are_overlaps():
    mixture = gd.data_model("random-means", dim=30, seed=1, variance=0.4)
    network = gd.network("committee", dim=30, hidden=3, seed=2, bias=True, dtype="float64")
    state = network.order_parameters(mixture)
    W = network.first_layer.detach()
    torch.testing.assert_close(state.Q, W @ W.T / 30)
    torch.testing.assert_close(state.R, mixture.means @ W.T / 30)
    torch.testing.assert_close(state.covariance, 0.4 * (W @ W.T / 30)[None])
    torch.testing.assert_close(state.b, torch.zeros(3, dtype=torch.float64))


def test_initial_weights():
    options = {"dim": 4000, "hidden": 4, "init_scale": 0.3}
    network = gd.network("committee", **options, seed=1)
    assert abs(float(network.first_layer.detach().std()) - 0.3) < 4 * 0.3 / math.sqrt(2 * 16000)
    again = gd.network("committee", **options, seed=1)
    assert torch.equal(network.first_layer, again.first_layer)
    other = gd.network("committee", **options, seed=2)
    assert not torch.equal(network.first_layer, other.first_layer)
    assert gd.network("committee", **options, readout="ones").readout.tolist() == [1, 1, 1, 1]


def test_an_informed_start_lies_along_the_means():
    mixture = gd.data_model("xor", dim=100)
    network = gd.network("committee", hidden=4, init="informed", mixture=mixture, init_scale=0)
    torch.testing.assert_close(network.first_layer.data, mixture.means.float())
    assert network.readout.tolist() == [-1, -1, 1, 1]
    state = network.order_parameters(mixture)
    torch.testing.assert_close(state.R, mixture.mean_overlaps)
    six = gd.network("committee", hidden=6, init="informed", mixture=mixture, init_scale=0)
    torch.testing.assert_close(six.first_layer[4:].data, mixture.means[:2].float())


@pytest.mark.parametrize(
    ("options", "error", "word"),
    [
        ({"dim": 10}, ArgumentError, "`dim` and `hidden`"),
        ({"hidden": 3}, ArgumentError, "`dim` and `hidden`"),
        ({"dim": 10, "hidden": 0}, RangeError, "`hidden`"),
        ({"dim": 10, "hidden": 2, "init_scale": -1}, RangeError, "`init_scale`"),
        ({"dim": 10, "hidden": 2, "init": "informd"}, RangeError, "`init`"),
        ({"dim": 10, "hidden": 2, "init": "informed"}, ArgumentError, "`mixture`"),
        ({"dim": 10, "hidden": 2, "readout": [1.0]}, ShapeError, "`readout`"),
        ({"dim": 10, "hidden": 2, "readout": "one"}, RangeError, "`readout`"),
        ({"dim": 10, "hidden": 2, "bias": [1.0]}, ShapeError, "`bias`"),
        ({"dim": 10, "hidden": 2, "activation": "rellu"}, UnknownComponentError, "did you mean"),
        ({"first_layer": np.ones((2, 5)), "hidden": 3}, RangeError, "`hidden` is 3"),
        ({"first_layer": np.ones((2, 5)), "dim": 6}, RangeError, "6 .`dim`. and 5"),
        ({"first_layer": np.ones(5)}, ShapeError, "`first_layer`"),
        ({"dim": 10, "hidden": 2, "dtype": "float16"}, RangeError, "`dtype`"),
    ],
)
def test_bad_arguments_are_named(options, error, word):
    with pytest.raises(error, match=word):
        gd.network("committee", **options)


def test_experiments_fit_together_or_say_so():
    mixture = gd.data_model("xor", dim=20)
    network = gd.network("committee", dim=30, hidden=2)
    with pytest.raises(ShapeError, match="30 but the data model has 20"):
        gd.Experiment(mixture, network, gd.OnlineSGD(0.1))
    with pytest.raises(ArgumentError, match="`algorithm` is a float"):
        gd.Experiment(mixture, network, 0.1)
    with pytest.raises(ShapeError, match="30 but the mixture has 20"):
        network.order_parameters(mixture)
