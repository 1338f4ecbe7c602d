"""The features engine is plain one-sample SGD on the readout, to rounding."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch

import gmmdyn as gd
from gmmdyn.errors import DivergenceError, IncompatibleError
from gmmdyn.training import FeatureEngine, Segment

DIM, SIZE = 20, 33


class Images(gd.DataModel):
    """A data model that is no Gaussian mixture."""

    @property
    def dim(self):
        return DIM

    def sample(self, n, generator, dtype):
        x = torch.rand(n, DIM, generator=generator, dtype=dtype)
        labels = torch.where(x[:, 0] > 0.5, 1.0, -1.0).to(dtype)
        return gd.Batch(x, labels, (labels > 0).long())


def build(data="xor", dtype="float64", **options):
    if data == "images":
        data_model = Images()
    elif data == "random-covariance":  # shared by its clusters, but not isotropic
        data_model = gd.data_model(data, means=torch.eye(3, DIM), labels=[-1, 1, 1])
    else:
        data_model = gd.data_model(data, dim=DIM, variance=0.3)
    if options.get("centring") == "mixture":
        options["mixture"] = data_model
    defaults = {"dim": DIM, "features": SIZE, "readout": "random", "seed": 3}
    return data_model, gd.network("random-features", **{**defaults, **options}, dtype=dtype)


def samples(engine, blocks, replica):
    """The inputs and labels that a replica sees, in order."""
    inputs, labels = [], []
    for block in range(blocks):
        for _, x, y in engine.samples(block, range(replica, replica + 1)):
            inputs.append(x[0] * engine.dim**0.5)
            labels.append(y[0])
    return torch.cat(inputs), torch.cat(labels)


def plain_sgd(network, algorithm, inputs, labels):
    """What every textbook writes: autograd and torch.optim.SGD, one update after the other."""
    network = copy.deepcopy(network)
    optimizer = torch.optim.SGD(network.parameter_groups(algorithm))
    first = float(algorithm.rate(0.0))
    started = [group["lr"] for group in optimizer.param_groups]
    m = algorithm.batch_size
    for update in range(len(labels) // m):
        part = slice(update * m, (update + 1) * m)
        optimizer.zero_grad()
        algorithm.loss_function.value(network(inputs[part]), labels[part]).mean().backward()
        for group, rate in zip(optimizer.param_groups, started, strict=True):
            group["lr"] = rate * float(algorithm.rate(update / network.dim)) / first
        optimizer.step()
    return network


ALGORITHMS = {
    "plain": gd.OnlineSGD(0.5),
    "decay": gd.OnlineSGD(0.5, 0.7),
    "decay to 0": gd.OnlineSGD(0.5, 2.0 * SIZE),  # 1 - eta kappa/P = 0
    "logistic": gd.OnlineSGD(0.5, 0.7, loss="logistic"),
    "schedule": gd.OnlineSGD(gd.Schedule([0.0, 6.0], [1.0, 0.1]), 0.7),
    "batches": gd.OnlineSGD(0.5, 0.7, batch_size=7),
    "large batches": gd.OnlineSGD(0.5, 0.7, batch_size=70),
    "everything": gd.OnlineSGD(
        gd.Schedule([0.0, 6.0], [1.0, 0.1]), 0.7, True, "logistic", 3, label_noise=0.2
    ),
}


@pytest.mark.parametrize("compiled", [True, False], ids=["loop", "blocked"])
@pytest.mark.parametrize("bias", [False, 0.3], ids=["no bias", "bias"])
@pytest.mark.parametrize("algorithm", ALGORITHMS.values(), ids=ALGORITHMS)
def test_it_equals_plain_sgd_to_rounding(algorithm, bias, compiled):
    data_model, network = build(bias=bias, centring="mixture")
    engine = FeatureEngine(
        data_model, network, algorithm, replicas=2, seed=5, block_size=80, compiled=compiled
    )
    assert engine.compiled == compiled
    expected = plain_sgd(network, algorithm, *samples(engine, 2, replica=1))
    # Blocks may be cut anywhere.
    for segment in (Segment(0, 0, 80), Segment(1, 80, 93), Segment(1, 93, 160)):
        engine.advance(segment)
    assert (engine.readout[1] - expected.readout).abs().max() < 1e-12
    if bias is not False:
        assert (engine.bias[1] - expected.bias).abs().max() < 1e-12
        assert abs(engine.bias[1] - bias) > 1e-3
    assert (engine.readout[1] - network.readout).abs().max() > 0.1  # it learned


@pytest.mark.parametrize("activation", ["relu", "erf", "linear"])
@pytest.mark.parametrize("data", ["xor", "three-clusters", "images", "random-covariance"])
def test_it_does_so_for_any_activation_and_data_model(data, activation):
    data_model, network = build(data, activation=activation)
    algorithm = gd.OnlineSGD(0.5, 0.7)
    engine = FeatureEngine(data_model, network, algorithm, seed=5, block_size=100)
    expected = plain_sgd(network, algorithm, *samples(engine, 1, replica=0))
    engine.advance(Segment(0, 0, 100))
    assert (engine.readout[0] - expected.readout).abs().max() < 1e-12


def test_replicas_that_are_worked_on_together_are_the_same_runs(monkeypatch):
    """What a GPU does: one matrix product for a group of replicas."""
    data_model, network = build(bias=True)
    algorithm = gd.OnlineSGD(0.5, 0.7)
    apart = FeatureEngine(data_model, network, algorithm, replicas=3, seed=5, block_size=200)
    apart.advance(Segment(0, 0, 200))
    monkeypatch.setattr(FeatureEngine, "groups", lambda self: [range(0, 3)])
    together = FeatureEngine(data_model, network, algorithm, replicas=3, seed=5, block_size=200)
    together.advance(Segment(0, 0, 200))
    torch.testing.assert_close(together.readout, apart.readout, rtol=0, atol=1e-12)
    torch.testing.assert_close(together.bias, apart.bias, rtol=0, atol=1e-12)
    assert (apart.readout[0] - apart.readout[1]).abs().max() > 1e-2


def test_labels_are_wrong_as_often_as_the_noise_says():
    data_model, network = build()
    clean = FeatureEngine(data_model, network, gd.OnlineSGD(0.5), seed=5, block_size=4000)
    assert (samples(clean, 1, 0)[1] ** 2 == 1).all()
    noisy = gd.OnlineSGD(0.5, label_noise=0.2)
    engine = FeatureEngine(data_model, network, noisy, seed=5, block_size=4000)
    inputs, labels = samples(engine, 1, 0)
    truth = torch.where(inputs[:, 1].abs() > inputs[:, 0].abs(), 1.0, -1.0)
    quiet = FeatureEngine(data_model, network, gd.OnlineSGD(0.5), seed=5, block_size=4000)
    base_inputs, base_labels = samples(quiet, 1, 0)
    base = torch.where(base_inputs[:, 1].abs() > base_inputs[:, 0].abs(), 1.0, -1.0)
    # A classifier with error q on clean labels has q + 0.2 - 0.4 q on noisy ones.
    q = (base != base_labels).double().mean()
    found = (truth != labels).double().mean()
    assert abs(found - (q + 0.2 - 0.4 * q)) < 4 * (2 * 0.25 / 4000) ** 0.5


def test_errors_are_those_of_the_network_on_fresh_inputs():
    data_model, network = build(bias=0.2)
    engine = FeatureEngine(data_model, network, gd.OnlineSGD(0.5, loss="logistic"), replicas=2)
    found = engine.measure(0, range(2), 20_000)
    batch = data_model.sample(20_000, torch.Generator().manual_seed(9), torch.float64)
    with torch.no_grad():
        output = network(batch.inputs)
    wanted = {
        "pmse": 0.5 * (batch.labels - output) ** 2,
        "classification_error": (batch.labels * output < 0).double(),
        "tie_rate": torch.zeros_like(output),
        "loss": torch.nn.functional.softplus(-batch.labels * output),
    }
    assert found.keys() == wanted.keys()
    for name, values in wanted.items():
        error = float(values.std()) * (2 / 20_000) ** 0.5
        assert np.abs(found[name] - float(values.mean())).max() <= 4 * error, name
        assert found[name][0] != found[name][1] or name == "tie_rate"  # a test set each


def experiment(**options):
    data_model, network = build(dtype="float32", **options)
    return gd.Experiment(data_model, network, gd.OnlineSGD(1.0, 0.01))


def test_it_is_chosen_for_such_a_network_and_learns():
    run = experiment(features=200).simulate(duration=40, replicas=2, test_size=4000)
    assert run.metadata["engine"] == "features"
    assert set(run.curves) == {"pmse", "classification_error"}
    assert (run.pmse[-1] < 0.47).all()
    assert (run.pmse[-1] < run.pmse[0]).all()


def test_a_readout_that_starts_at_0_ties_then_in_simulation_and_theory():
    mixture = gd.data_model("xor", dim=20)
    network = gd.network("random-features", dim=20, ratio=2.0, readout="zeros", bias=False)
    parts = gd.Experiment(mixture, network, gd.OnlineSGD(0.5))
    run = parts.simulate(times=[0, 2], replicas=2, test_size=100)
    np.testing.assert_array_equal(run.tie_rate, [[1, 1], [0, 0]])
    np.testing.assert_array_equal(run.classification_error[0], 0.5)
    predicted = parts.solve("random-features-dynamics", times=[0, 2])
    np.testing.assert_array_equal(predicted.tie_rate, [1, 0])
    assert predicted.classification_error[0] == 0.5
    assert gd.compare(run, predicted).z_scores("tie_rate").tolist() == [0, 0]


def test_a_resumed_run_is_the_uninterrupted_one_bit_for_bit(tmp_path):
    options = {"replicas": 2, "seed": 3, "block_size": 37, "test_size": 200}
    times = [0, 0.5, 1.3, 2.0, 4.0]
    whole = experiment(bias=True).simulate(times=times, **options)
    path = tmp_path / "half.ckpt"
    experiment(bias=True).simulate(times=times[:3], checkpoint=path, **options)
    saved = torch.load(path, weights_only=True)["state_dict"]
    assert sum(value.numel() for value in saved.values()) < 3 * SIZE  # no projection
    resumed = experiment(bias=True).simulate(times=times, resume=path, **options)
    for name, value in whole.curves.items():
        np.testing.assert_array_equal(resumed[name], value, err_msg=name)


def test_recording_times_do_not_change_the_run():
    few = experiment().simulate(times=[2.0], seed=1)
    many = experiment().simulate(times=np.linspace(0, 2, 11), seed=1)
    np.testing.assert_allclose(few.pmse[-1], many.pmse[-1], rtol=1e-5)


def test_what_it_cannot_do_is_one_sentence():
    data_model, network = build()
    committee = gd.network("committee", dim=DIM, hidden=2)
    with pytest.raises(IncompatibleError, match="features engine simulates readouts"):
        FeatureEngine(data_model, committee, gd.OnlineSGD(0.1))
    with pytest.raises(IncompatibleError, match="not a frozen readout"):
        FeatureEngine(data_model, network, gd.OnlineSGD(0.1, train_readout=False))
    diverging = gd.Experiment(data_model, network, gd.OnlineSGD(500.0))
    with pytest.raises(DivergenceError, match="lower the learning rate"):
        diverging.simulate(times=[0, 400])


def test_a_large_projection_is_not_written_with_every_trajectory():
    data_model = gd.data_model("xor", dim=400)
    projection = torch.randn(400, 300, generator=torch.Generator().manual_seed(0))
    network = gd.network("random-features", projection=projection)
    described = gd.Experiment(data_model, network, gd.OnlineSGD(0.1)).description()
    assert described["network"]["projection"]["shape"] == [400, 300]
    other = gd.network("random-features", projection=projection + 1)
    again = gd.Experiment(data_model, other, gd.OnlineSGD(0.1)).description()
    assert described["network"] != again["network"]
