import pytest

from gmmdyn import presets
from gmmdyn.config import Configuration
from gmmdyn.errors import IncompatibleError

SMALL = {"digits": {}, "fashion-mnist": None, "random-covariance": {"means": {"name": "xor", "dim": 20}}}


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
    experiment = configuration.experiment()
    times = [0, 1]
    simulated = experiment.simulate(times=times, replicas=2, test_size=10)
    theory = configuration.predictor()
    try:
        experiment.check(theory)
    except IncompatibleError:
        assert name in SMALL
    else:
        assert experiment.solve(theory, times=times).pmse.shape == simulated.pmse[:, 0].shape
