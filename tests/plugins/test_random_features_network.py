"""The network `random-features`."""

from __future__ import annotations

import math

import pytest
import torch

import gmmdyn as gd
from gmmdyn.errors import ArgumentError, RangeError, ShapeError


def test_its_features_are_those_of_the_formula():
    projection = torch.randn(5, 7, generator=torch.Generator().manual_seed(0)).double()
    centre, weights = torch.arange(7.0), torch.arange(7.0) - 3
    network = gd.network(
        "random-features",
        projection=projection,
        activation="erf",
        centring=centre,
        readout=weights,
        bias=0.25,
        dtype="float64",
    )
    assert (network.dim, network.size) == (5, 7)
    x = torch.randn(3, 5, generator=torch.Generator().manual_seed(1)).double()
    for n in range(3):
        total = 0.25
        for i in range(7):
            field = sum(float(projection[d, i] * x[n, d]) for d in range(5)) / math.sqrt(5)
            total += float(weights[i]) * (math.erf(field / math.sqrt(2)) - i) / math.sqrt(7)
        assert float(network(x)[n].detach()) == pytest.approx(total, abs=1e-12)


def test_columns_have_norm_root_d_unless_they_are_raw():
    network = gd.network("random-features", dim=50, ratio=4, dtype="float64")
    assert network.size == 200
    torch.testing.assert_close(network.projection.norm(dim=0), torch.full((200,), 50**0.5).double())
    raw = gd.network("random-features", dim=50, features=200, normalised=False, dtype="float64")
    norms = raw.projection.norm(dim=0) ** 2 / 50
    assert norms.std() > 0.1  # sqrt(2/50) = 0.2
    assert abs(norms.mean() - 1) < 5 * 0.2 / 200**0.5
    # The same draw, scaled.
    torch.testing.assert_close(raw.projection / norms.sqrt(), network.projection)


def test_both_precisions_have_the_same_features():
    single, double = (
        gd.network("random-features", dim=30, features=10, readout="random", dtype=dtype)
        for dtype in ("float32", "float64")
    )
    torch.testing.assert_close(single.projection.double(), double.projection, atol=1e-6, rtol=0)
    torch.testing.assert_close(single.readout.double(), double.readout, atol=1e-6, rtol=0)
    assert single.readout.dtype == torch.float32


class Tanh(gd.Activation):
    def forward(self, x):
        return torch.tanh(x)

    def derivative(self, x):
        return 1 - torch.tanh(x) ** 2


class HardTanh(gd.Activation):
    kinks = (-1.0, 1.0)
    slopes = (0.0, 1.0, 0.0)

    def forward(self, x):
        return x.clamp(-1, 1)

    def derivative(self, x):
        return ((x > -1) & (x < 1)).to(x.dtype)


@pytest.mark.parametrize("activation", ["relu", "erf", "linear", Tanh(), HardTanh()], ids=str)
@pytest.mark.parametrize("kind", ["isotropic", "general"])
def test_centring_on_a_mixture_makes_the_mean_feature_vanish(kind, activation):
    generator = torch.Generator().manual_seed(4)
    means = 4 * torch.randn(3, 6, generator=generator)
    about = {"means": means, "labels": [-1, 1, 1], "priors": [0.5, 0.2, 0.3], "variance": 2.0}
    name = "isotropic" if kind == "isotropic" else "random-covariance"
    if kind == "general":
        about["per_cluster"] = True
    mixture = gd.data_model(name, **about)
    network = gd.network(
        "random-features",
        features=9,
        activation=activation,
        centring="mixture",
        mixture=mixture,
        dtype="float64",
    )
    z = network.features(mixture.sample(400_000, generator, torch.float64).inputs)
    errors = z.std(0) / 400_000**0.5
    assert ((z.mean(0)).abs() < 4.5 * errors).all()
    assert (network.centre.abs() > 10 * errors).sum() >= 4  # there was something to subtract


def test_centring_of_erf_is_exact_for_any_noise():
    """E[erf((m + s xi)/sqrt 2)] = erf(m/sqrt(2 (1 + s^2)))."""
    for variance in (0.0, 1e-4, 1.0, 400.0):
        mixture = gd.data_model("xor", dim=40, variance=variance, rho=0.9)
        network = gd.network(
            "random-features",
            features=20,
            activation="erf",
            centring="mixture",
            mixture=mixture,
            dtype="float64",
        )
        mean = mixture.means @ network.projection / 40
        wanted = mixture.priors @ torch.erf(mean / math.sqrt(2 * (1 + variance)))
        torch.testing.assert_close(network.centre, wanted, rtol=0, atol=1e-10)


def test_an_experiment_in_a_file_centres_on_its_mixture(tmp_path):
    text = """
data_model: {name: three-clusters, dim: 30, variance: 0.2}
network: {name: random-features, ratio: 2, centring: mixture, bias: true}
algorithm: {learning_rate: 0.5}
"""
    path = tmp_path / "experiment.yaml"
    path.write_text(text)
    experiment = gd.Experiment.from_yaml(path)
    assert experiment.network.size == 60
    assert experiment.network.centre is not None
    experiment.to_yaml(tmp_path / "again.yaml")
    again = gd.Experiment.from_yaml(tmp_path / "again.yaml")
    assert torch.equal(again.network.centre, experiment.network.centre)
    assert torch.equal(again.network.projection, experiment.network.projection)


@pytest.mark.parametrize(
    ("options", "error", "match"),
    [
        ({"dim": 10}, ArgumentError, "needs `features`, `ratio`"),
        ({"features": 10}, ArgumentError, "needs `dim`"),
        ({"dim": 0, "features": 10}, RangeError, "`dim` is 0"),
        ({"dim": 10, "features": 0}, RangeError, "`features` is 0"),
        ({"dim": 10, "ratio": 0}, RangeError, "`ratio` is 0"),
        ({"dim": 10, "features": 10, "ratio": 1}, ArgumentError, "give one"),
        ({"projection": torch.ones(3, 4), "features": 5}, RangeError, "`projection` has 4 columns"),
        ({"projection": torch.ones(3, 4), "dim": 5}, RangeError, r"5 \(`dim`\) and 3"),
        ({"projection": torch.ones(3, 0)}, ShapeError, "at least"),
        ({"projection": [[math.nan]]}, RangeError, "not a number"),
        ({"dim": 3, "features": 4, "centring": "mixture"}, ArgumentError, "needs `mixture`"),
        ({"dim": 3, "features": 4, "centring": "mean"}, RangeError, "there are: mixture, none"),
        ({"dim": 3, "features": 4, "centring": [0.0]}, ShapeError, "`centring` has shape"),
        ({"dim": 3, "features": 4, "readout": [0.0]}, ShapeError, "`readout` has shape"),
        ({"dim": 3, "features": 4, "readout": "ones"}, RangeError, "there are: random, zeros"),
        ({"dim": 3, "features": 4, "bias": math.inf}, RangeError, "`bias` is inf"),
        ({"dim": 3, "features": 4, "dtype": "half"}, RangeError, "`dtype`"),
    ],
)
def test_bad_input_is_one_sentence(options, error, match):
    with pytest.raises(error, match=match):
        gd.network("random-features", **options)
