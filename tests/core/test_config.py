import numpy as np
import pytest
import torch

import gmmdyn as gd
from gmmdyn.errors import (
    ArgumentError,
    ConfigError,
    OutputError,
    RangeError,
    UnknownComponentError,
)
from gmmdyn.experiment.configuration import Configuration
from gmmdyn.interfaces import Activation

TEXT = """
data_model: {name: xor, dim: 50, variance: 1e-2}
network: {name: committee, hidden: 2, activation: {name: erf}}
algorithm: {learning_rate: 1e-1}
simulation: {duration: 1}
theory: {name: ode, integrator: {name: sobol, log2_samples: 5}}
"""


def load(tmp_path, text):
    path = tmp_path / "run.yaml"
    path.write_text(text)
    return Configuration.load(path)


def test_an_experiment_is_built_as_it_is_written(tmp_path):
    configuration = load(tmp_path, TEXT)
    experiment = gd.Experiment.from_configuration(configuration)
    assert experiment.data_model.variance == 0.01
    assert experiment.network.dim == 50
    assert experiment.network.activation.spec.name == "erf"
    assert experiment.algorithm == gd.OnlineSGD(0.1)
    theory = configuration.predictor()
    assert theory.spec.options["integrator"].spec.options == {"log2_samples": 5}


def test_an_experiment_survives_yaml(tmp_path):
    mixture = gd.data_model("isotropic", means=np.eye(3, 5) / 3, labels=[1, -1, 1], variance=0.1)
    network = gd.network(
        "committee",
        first_layer=torch.randn(2, 5, generator=torch.Generator().manual_seed(0)),
        readout=[0.5, -1],
        activation=gd.activation("erf"),
        bias=np.array([0.25, 0]),
    )
    experiment = gd.Experiment(mixture, network, gd.OnlineSGD(1 / 3, 1e-7, False))
    again = gd.Experiment.from_yaml(experiment.to_yaml(tmp_path / "x.yaml"))
    assert again.algorithm == experiment.algorithm
    assert torch.equal(again.data_model.means, mixture.means)
    for name, value in network.named_parameters():
        assert torch.equal(dict(again.network.named_parameters())[name], value)
    assert again.network.activation.spec.name == "erf"


def test_the_variations_of_an_algorithm_survive_yaml(tmp_path):
    mixture = gd.data_model("xor", dim=10)
    network = gd.network("committee", dim=10, hidden=2)
    schedule = gd.Schedule([0, 1 / 3], [0.2, 0.05])
    algorithm = gd.OnlineSGD(schedule, 0.1, False, "logistic", batch_size=3, label_noise=0.25)
    experiment = gd.Experiment(mixture, network, algorithm)
    assert gd.Experiment.from_yaml(experiment.to_yaml(tmp_path / "x.yaml")).algorithm == algorithm


def test_an_informed_network_is_told_of_the_mixture_of_the_experiment(tmp_path):
    text = TEXT.replace("hidden: 2", "hidden: 2, init: informed, init_scale: 0")
    experiment = gd.Experiment.from_configuration(load(tmp_path, text))
    expected = experiment.data_model.means[:2].float()
    assert torch.equal(experiment.network.first_layer.detach(), expected)
    again = gd.Experiment.from_yaml(experiment.to_yaml(tmp_path / "x.yaml"))
    assert torch.equal(again.network.first_layer, experiment.network.first_layer)
    assert "mixture" not in (tmp_path / "x.yaml").read_text()


def test_a_configuration_survives_yaml(tmp_path):
    configuration = load(tmp_path, TEXT)
    assert load(tmp_path, configuration.to_yaml()) == configuration


def test_a_resolved_configuration_names_every_default_and_builds_the_same(tmp_path):
    configuration = load(tmp_path, TEXT)
    resolved = configuration.resolved()
    assert resolved.network["seed"] == 0
    assert resolved.simulation["seed"] == 0
    assert resolved.algorithm["weight_decay"] == 0
    assert resolved.network["hidden"] == 2
    same = gd.Experiment.from_configuration(load(tmp_path, resolved.to_yaml()))
    assert torch.equal(
        same.network.first_layer,
        gd.Experiment.from_configuration(configuration).network.first_layer,
    )


def test_means_may_be_those_of_another_mixture(tmp_path):
    text = TEXT.replace(
        "{name: xor, dim: 50, variance: 1e-2}",
        "{name: random-covariance, means: {name: xor, dim: 6, rho: 0.3}}",
    )
    mixture = gd.Experiment.from_configuration(load(tmp_path, text)).data_model
    xor = gd.data_model("xor", dim=6, rho=0.3)
    assert torch.equal(mixture.means, xor.means)
    assert torch.equal(mixture.labels, xor.labels)
    assert torch.allclose(mixture.priors, xor.priors)


def test_a_new_component_keeps_the_options_that_it_takes(tmp_path):
    configuration = load(tmp_path, TEXT.replace("dim: 50", "dim: 50, snr: high"))
    ring = configuration.updated("data_model", {"name": "ring"})
    assert ring.data_model == {"name": "ring", "dim": 50, "variance": 0.01}


def test_duration_and_times_replace_each_other(tmp_path):
    configuration = load(tmp_path, TEXT)
    assert configuration.updated("simulation", {"times": [0, 1]}).simulation == {"times": [0, 1]}


@pytest.mark.parametrize(
    ("old", "new", "error", "message"),
    [
        ("data_model:", "data_modle:", ConfigError, "did you mean `data_model`"),
        ("name: xor, ", "", ConfigError, "`data_model` needs the `name`"),
        ("name: xor", "name: xorr", UnknownComponentError, "did you mean `xor`"),
        ("name: xor", "name: 3", ConfigError, "`data_model` needs the `name`"),
        ("variance:", "varience:", ArgumentError, "did you mean `variance`"),
        ("variance: 1e-2", "variance: -1", RangeError, "`variance` is -1"),
        ("variance: 1e-2", "3: 4", ConfigError, "the key 3"),
        ("learning_rate:", "learning_rat:", ConfigError, "did you mean `learning_rate`"),
        ("learning_rate: 1e-1", "weight_decay: 0", ArgumentError, "`learning_rate`"),
        ("1e-1", "fast", RangeError, "`learning_rate` is 'fast'"),
        ("duration:", "duratoin:", ConfigError, "did you mean `duration`"),
        ("{duration: 1}", "[1]", ConfigError, "`simulation` is [1]"),
        ("{duration: 1}", "{duration: 1, trainer: 3}", ConfigError, "`trainer`"),
        ("{duration: 1}", "{duration: 1, resume: 3}", ConfigError, "`resume` is 3"),
        ("{name: erf}", "{nam: erf}", ConfigError, "`activation` needs the `name`"),
        ("{name: erf}", "{name: erv}", UnknownComponentError, "did you mean `erf`"),
        ("algorithm:", "other:", ConfigError, "unknown key `other`"),
        ("algorithm: {learning_rate: 1e-1}", "", ConfigError, "has no `algorithm`"),
        ("dim: 50", "dim: 50, dim: 60", ConfigError, "`dim` is given twice (line 2)"),
        ("dim: 50", "dim: [50", ConfigError, "not valid YAML"),
        ("dim: 50", "dim: !!python/object:os.system 1", ConfigError, "not valid YAML"),
    ],
)
def test_a_mistake_gets_one_sentence(tmp_path, old, new, error, message):
    assert old in TEXT
    with pytest.raises(error) as caught:
        gd.Experiment.from_configuration(load(tmp_path, TEXT.replace(old, new)))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["", "3", "[1, 2]", "\x00"])
def test_a_file_that_is_no_configuration_is_refused(tmp_path, text):
    with pytest.raises(ConfigError, match=r"run\.yaml"):
        load(tmp_path, text)


def test_a_source_that_is_neither_preset_nor_file_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="did you mean `xor`"):
        Configuration.load("xorr")
    with pytest.raises(ConfigError, match="cannot be read"):
        Configuration.load(tmp_path)
    (tmp_path / "latin").write_bytes(b"name: \xff")
    with pytest.raises(ConfigError, match="UTF-8"):
        Configuration.load(tmp_path / "latin")


class Square(Activation):
    smooth = True

    def forward(self, x):
        return x**2

    def derivative(self, x):
        return 2 * x


def test_a_component_without_a_name_cannot_be_written(tmp_path):
    mixture = gd.data_model("xor", dim=4)
    network = gd.network("committee", dim=4, hidden=2, activation=Square())
    experiment = gd.Experiment(mixture, network, gd.OnlineSGD(0.1))
    with pytest.raises(ConfigError, match=r"`network\.activation` is a Square"):
        experiment.to_yaml(tmp_path / "x.yaml")
    assert not list(tmp_path.iterdir())


def test_a_file_that_cannot_be_written_is_an_output_error(tmp_path):
    (tmp_path / "file").touch()
    experiment = gd.Experiment.from_configuration(
        Configuration.load("xor").updated("data_model", {"dim": 4})
    )
    with pytest.raises(OutputError):
        experiment.to_yaml(tmp_path / "file" / "x.yaml")
