"""What a sweep varies, as words of a command line."""

from __future__ import annotations

import numpy as np
import pytest

from gmmdyn.errors import ConfigError, RangeError
from gmmdyn.experiment.configuration import Configuration
from gmmdyn.experiment.yaml_text import read_yaml
from gmmdyn.sweeping import read_axis
from gmmdyn.sweeping.axes import full_name


@pytest.mark.parametrize(
    ("text", "name", "values"),
    [
        ("lr=0.1:0.5:5", "lr", [0.1, 0.2, 0.3, 0.4, 0.5]),
        ("hidden=2:8:lin:4", "hidden", [2, 4, 6, 8]),
        ("kappa=1:1e-4:log:5", "kappa", [1, 0.1, 0.01, 0.001, 0.0001]),
        ("network.activation=relu,erf", "network.activation", ["relu", "erf"]),
        ("variance=0.5", "variance", [0.5]),
        ("times=[[0, 1], [0, 2]]", "times", [[0, 1], [0, 2]]),
        ("theory.integrator={name: sobol, log2_samples: 8},sobol", "theory.integrator",
         [{"name": "sobol", "log2_samples": 8}, "sobol"]),
    ],
)  # fmt: skip
def test_axes_are_read(text, name, values):
    axis = read_axis(text)
    assert axis.name == name
    assert axis.values == values


def test_whole_numbers_are_whole():
    assert all(isinstance(value, int) for value in read_axis("hidden=1:4:4").values)


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("lr", ConfigError),
        ("=1,2", ConfigError),
        ("lr=", ConfigError),
        ("lr=0:1:log:4", RangeError),
        ("lr=1:2:cube:4", RangeError),
        ("lr=1:2:1", RangeError),
        ("lr=1:2:many", RangeError),
        ("lr=a:2:3", RangeError),
        ("lr=[]", ConfigError),
    ],
)
def test_what_is_no_axis_is_named(text, error):
    with pytest.raises(error):
        read_axis(text)


def test_names_are_found_where_they_are_clear():
    xor = Configuration.load("xor")
    assert full_name("lr", xor) == ("algorithm", "learning_rate")
    assert full_name("variance", xor) == ("data_model", "variance")
    assert full_name("hidden", xor) == ("network", "hidden")
    assert full_name("network.seed", xor) == ("network", "seed")
    assert full_name("theory.integrator.log2_lines", xor) == ("theory", "integrator.log2_lines")
    with pytest.raises(ConfigError, match=r"several options; say `network\.seed` or"):
        full_name("seed", xor)
    with pytest.raises(ConfigError, match="did you mean `variance`"):
        full_name("varance", xor)
    with pytest.raises(ConfigError, match=r"`data_model\.varance`"):
        full_name("data_model.varance", xor)


def test_spacing_is_exact_at_both_ends():
    values = read_axis("x=0.03:7:log:9").values
    assert values[0] == 0.03
    assert values[-1] == 7
    np.testing.assert_allclose(np.diff(np.log(values)), np.log(7 / 0.03) / 8, rtol=1e-10)


def test_two_numbers_with_a_colon_are_no_minutes_and_seconds():
    # YAML 1.1 reads 1:2 as 62: the axis variance=1:2, its count forgotten, would sweep 62.
    with pytest.raises(ConfigError, match="is no axis"):
        read_axis("variance=1:2")
    assert read_yaml("[1:30, 1:2.5, 12, 1e-3, 0.5]", "x") == ["1:30", "1:2.5", 12, 1e-3, 0.5]
