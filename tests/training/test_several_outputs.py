"""Networks of several outputs: simulation against theory, and what is measured of them."""

import numpy as np
import pytest
import torch

import gmmdyn as gd
import gmmdyn.plot
from gmmdyn.training.errors_on_test_sets import judge


def experiment(dim, loss="square", activation="erf", **options):
    mixture = gd.data_model("xor", dim=dim, variance=0.3, classes=[0, 1, 2, 1])
    network = gd.network(
        "committee",
        dim=dim,
        hidden=3,
        outputs=3,
        activation=activation,
        init_scale=0.5,
        dtype="float64",
    )
    algorithm = gd.OnlineSGD(0.5, loss=loss, weight_decay=0.05, **options)
    return gd.Experiment(mixture, network, algorithm)


@pytest.mark.parametrize("loss", ["square", "cross-entropy"])
def test_points_are_judged_by_the_largest_output_and_ties_at_random(loss):
    output = torch.tensor(
        [[0.1, 0.9, 0.2], [0.5, 0.5, 0.1], [0.0, 0.0, 0.0], [0.3, 0.3, 0.1]], dtype=torch.float64
    )
    label = torch.eye(3, dtype=torch.float64)[[1, 1, 1, 2]]
    square, wrong, tie, value = judge(output, label, gd.loss(loss), 3)
    assert wrong.tolist() == pytest.approx([0, 0.5, 2 / 3, 1])
    assert tie.tolist() == [0, 1, 1, 0]  # the right class is not among those that tie
    assert square.tolist() == pytest.approx((((output - label) ** 2).sum(1) / 2).tolist())
    expected = torch.nn.functional.cross_entropy(output, label, reduction="none")
    assert value.tolist() == pytest.approx((square if loss == "square" else expected).tolist())


def test_a_wrong_label_is_any_of_the_other_classes_with_the_same_probability():
    from gmmdyn.training.samples import SampleSource

    mixture = gd.data_model("xor", dim=4, classes=[0, 1, 2, 3])
    source = SampleSource(mixture, 0, 4000, 1, 0.3, 4000)
    counts = np.zeros((4, 4))
    for block in range(10):
        for samples in source.draw(block, range(1), torch.device("cpu"), torch.float64, None):
            # Without noise to speak of the input tells the cluster.
            told = samples.labels[0].argmax(1)
            overlaps = samples.inputs[0] @ mixture.means.T
            np.add.at(counts, (overlaps.argmax(1).numpy(), told.numpy()), 1)
    total = counts.sum(1, keepdims=True)
    expected = np.where(np.eye(4), 0.7, 0.1)
    error = np.sqrt(expected * (1 - expected) / total)
    assert (np.abs(counts / total - expected) < 4 * error + 0.004).all()


@pytest.mark.science
@pytest.mark.parametrize("noise", [0.0, 0.2])
@pytest.mark.parametrize("loss", ["square", "cross-entropy"])
def test_theory_and_simulation_of_several_outputs_agree(loss, noise):
    """Deviations of order 1/D are allowed for beside four standard errors."""
    one = experiment(400, loss, label_noise=noise)
    simulated = one.simulate(times=[0, 1, 4], replicas=10, seed=3)
    predicted = one.solve("ode", times=[0, 1, 4])
    for name in ("pmse", "classification_error", "Q", "R", "v", *predicted.curves):
        theory = predicted[name]
        mean, error = simulated.mean()[name], simulated.standard_error(name)
        assert (np.abs(mean - theory) < 4.5 * error + 0.01 * np.abs(theory).max() + 2e-3).all(), (
            name
        )
    assert simulated.v.shape == (3, 10, 3, 3)
    assert simulated.to_xarray().v.dims == ("time", "replica", "unit", "output")


def test_labels_that_are_no_classes_have_no_classification_error():
    mixture = gd.data_model("xor", dim=20, labels=np.arange(8).reshape(4, 2) / 8)
    network = gd.network("committee", dim=20, hidden=2, outputs=2, activation="erf")
    one = gd.Experiment(mixture, network, gd.OnlineSGD(0.1))
    for found in (one.simulate(0.5), one.solve("ode", 0.5)):
        assert "classification_error" not in found.curves
        assert "pmse" in found.curves
        assert found.bayes_error is None


def test_a_trajectory_of_several_outputs_survives_a_file_and_has_figures(tmp_path):
    one = experiment(30)
    simulated, predicted = one.simulate(2.0, replicas=3), one.solve("ode", 2.0)
    for trajectory in (simulated, predicted):
        again = gd.Trajectory.load(trajectory.save(tmp_path / "x.nc"))
        assert again.dimensions["v"] == ("unit", "output")
        assert np.array_equal(again.v, trajectory.v)
    found = gd.compare(simulated, predicted)
    assert found.z_scores("v").shape == (found.times.size, 3, 3)
    figure = found.plot_order_parameters(tmp_path / "x.png")
    assert any("ko" in axes.get_ylabel() for axes in figure.axes)
    plane = gd.plot.plot_plane(found, one.data_model, tmp_path / "plane.png")
    legend = [text.get_text() for text in plane.legends[0].get_texts()]
    assert {"mean, class 2", "end, v largest for 2"} <= set(legend)
