import pytest

from gmmdyn import presets
from gmmdyn.experiment import Experiment
from gmmdyn.experiment.configuration import Configuration
from gmmdyn.experiment.sections import section_options

# What makes each preset small; by default a small D. None: its files may not be there.
SMALL = {
    "digits": {},
    "digits-classes": {},
    "fashion-mnist": None,
    "fashion-mnist-classes": None,
    "random-covariance": {"means": {"name": "xor", "dim": 20}},
}


def test_the_presets_of_the_documentation_are_there():
    assert {"xor", "digits", "fashion-mnist"} <= set(presets.available())


@pytest.mark.parametrize("name", presets.available())
def test_a_preset_starts_with_what_it_shows(name):
    assert presets.read(name).startswith("# ")
    assert presets.summary(name).endswith(".")


@pytest.mark.parametrize("name", presets.available())
def test_a_preset_builds_and_runs(name):
    configuration = Configuration.load(name)
    assert configuration.resolved().to_yaml()
    smaller = SMALL.get(name, {"dim": 20})
    if smaller is None:  # its files may not be there
        return
    configuration = configuration.updated("data_model", smaller)
    experiment = Experiment.from_configuration(configuration)
    simulated = experiment.simulate(times=[0, 0.5], replicas=2, test_size=10)
    if "integrator" in section_options("theory", configuration.theory["name"]):
        few = {"integrator": {"name": "sobol", "log2_samples": 5}}
        configuration = configuration.updated("theory", few)
    theory = configuration.predictor()
    assert experiment.solve(theory, times=[0, 0.5]).pmse.shape == simulated.pmse[:, 0].shape
