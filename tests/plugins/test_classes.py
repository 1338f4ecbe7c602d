"""Mixtures and networks of several classes and outputs."""

import numpy as np
import pytest
import torch
from scipy.stats import multivariate_normal

import gmmdyn as gd
from gmmdyn.errors import ArgumentError, IncompatibleError, RangeError, ShapeError
from gmmdyn.experiment import Configuration
from gmmdyn_mixtures import save_mixture


def test_classes_are_one_hot_labels():
    mixture = gd.data_model("isotropic", means=np.ones((3, 5)), classes=[2, 0, 1])
    assert mixture.labels.tolist() == [[0, 0, 1], [1, 0, 0], [0, 1, 0]]
    assert mixture.outputs == 3
    assert mixture.cluster_classes.tolist() == [2, 0, 1]
    batch = mixture.sample(50, torch.Generator().manual_seed(0), torch.float32)
    assert batch.labels.shape == (50, 3)
    assert torch.equal(batch.labels.argmax(1), mixture.cluster_classes[batch.clusters])


@pytest.mark.parametrize(
    ("labels", "classes"),
    [
        ([[1, -1, -1], [-1, -1, 1]], [0, 2]),
        ([[0.5, 2.0], [2.0, 0.5]], [1, 0]),
        ([[1.0, 0.3], [0.2, 1.0]], None),  # two numbers that are not those of all rows
        ([[1.0, 1.0], [0.0, 1.0]], None),  # two largest ones
        ([[0.0, 0.0], [0.0, 0.0]], None),
    ],
)
def test_labels_of_any_numbers_name_classes_only_where_one_stands_out(labels, classes):
    found = gd.data_model("isotropic", means=np.eye(2), labels=labels)
    assert (None if found.cluster_classes is None else found.cluster_classes.tolist()) == classes
    if classes is None:
        with pytest.raises(IncompatibleError, match="name no classes"):
            found.bayes_error()


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("xor", {"dim": 4}),
        ("three-clusters", {"dim": 4}),
        ("ring", {"dim": 4}),
        ("random-means", {"dim": 4}),
        ("random-covariance", {"means": np.eye(4)}),
        ("isotropic", {"means": np.eye(4)}),
    ],
)
def test_every_mixture_takes_classes_and_labels_of_several_outputs(kind, options):
    by_class = gd.data_model(kind, **options, classes=[0, 1, 2, 1])
    assert by_class.labels.tolist() == [[1, 0, 0], [0, 1, 0], [0, 0, 1], [0, 1, 0]]
    table = [[1.5, 0], [0, 2], [1, 1], [0, 0]]
    assert gd.data_model(kind, **options, labels=table).labels.tolist() == table
    with pytest.raises(ArgumentError, match="not both"):
        gd.data_model(kind, **options, labels=table, classes=[0, 1, 2, 1])


@pytest.mark.parametrize("classes", [[0, 1, 3], [1, 2, 3], [0, 0, 0], [0, 0.5, 1], [-1, 0, 1]])
def test_classes_that_are_not_all_of_0_to_o_minus_1_are_refused(classes):
    with pytest.raises(RangeError, match="from 0 to O - 1"):
        gd.data_model("isotropic", means=np.eye(3), classes=classes)


def test_labels_with_one_number_in_a_row_are_refused():
    with pytest.raises(ShapeError, match=r"give \(2,\) for one output"):
        gd.data_model("isotropic", means=np.eye(2), labels=[[1], [-1]])


def test_a_file_keeps_classes(tmp_path):
    mixture = gd.data_model("xor", dim=6, classes=[0, 1, 2, 1])
    path = str(save_mixture(mixture, tmp_path / "x.npz"))
    assert torch.equal(gd.data_model("from-file", path=path).labels, mixture.labels)
    arrays = dict(np.load(path))
    del arrays["labels"]
    np.savez(tmp_path / "y.npz", **arrays, classes=np.array([0, 1, 2, 1]))
    again = gd.data_model("from-file", path=str(tmp_path / "y.npz"))
    assert torch.equal(again.labels, mixture.labels)


def test_each_class_of_the_data_may_be_a_class_of_its_own():
    digits = gd.data_model("from-data", source="digits", classes="each")
    assert torch.equal(digits.labels, torch.eye(10, dtype=torch.float64))
    some = gd.data_model("from-data", source="digits", classes={3: 1, 8: 0, 5: 2, 4: 1})
    assert some.classes == ((8,), (3,), (4,), (5,))
    assert some.cluster_classes.tolist() == [0, 1, 1, 2]
    pooled = gd.data_model(
        "from-data", source="digits", classes={3: 1, 8: 0, 5: 2, 4: 1}, clusters="pooled"
    )
    assert pooled.classes == ((8,), (3, 4), (5,))
    with pytest.raises(RangeError, match="from 0 to O - 1"):
        gd.data_model("from-data", source="digits", classes={3: 0, 8: 2})


def posterior_error(points, centres, covariances, priors, classes):
    """1 - the largest posterior of a class, by scipy's densities."""
    density = np.stack(
        [
            p * multivariate_normal(m, c).pdf(points)
            for m, c, p in zip(centres, covariances, priors, strict=True)
        ]
    )
    joint = np.stack([density[np.array(classes) == k].sum(0) for k in range(max(classes) + 1)])
    return 1 - joint.max(0) / joint.sum(0)


@pytest.mark.parametrize("structure", ["collinear", "isotropic", "shared", "general"])
def test_the_bayes_error_of_three_classes_is_that_of_the_largest_posterior(structure):
    rng = np.random.default_rng(0)
    dim, classes, priors = 3, [0, 1, 0, 2, 1], [0.1, 0.3, 0.2, 0.25, 0.15]
    centres = rng.standard_normal((5, dim)) * 1.2
    if structure == "collinear":
        centres = centres[:, :1] * np.array([[1.0, 0.5, -2.0]])
    means = centres * np.sqrt(dim)
    roots = rng.standard_normal((5, dim, dim)) / 2
    covariances = roots @ roots.transpose(0, 2, 1) + 0.2 * np.eye(dim)
    if structure in ("collinear", "isotropic"):
        covariances = np.repeat(0.5 * np.eye(dim)[None], 5, 0)
        mixture = gd.data_model(
            "isotropic", means=means, classes=classes, priors=priors, variance=0.5
        )
    else:
        if structure == "shared":
            covariances[:] = covariances[0]
        given = covariances[0] if structure == "shared" else covariances
        mixture = gd.data_model(
            "random-covariance", means=means, classes=classes, priors=priors, covariance=given
        )
    n = 200_000
    cluster = rng.choice(5, size=n, p=priors)
    factors = np.linalg.cholesky(covariances)
    noise = np.einsum("nij,nj->ni", factors[cluster], rng.standard_normal((n, dim)))
    wrong = posterior_error(centres[cluster] + noise, centres, covariances, priors, classes)
    found = mixture.bayes_error()
    assert (found.standard_error == 0) == (structure == "collinear")
    error = np.hypot(wrong.std() / np.sqrt(n), found.standard_error)
    assert abs(found.value - wrong.mean()) < 4 * error
    assert error < 0.003


def test_two_classes_have_the_bayes_error_of_labels_plus_and_minus_one():
    for classes in ([0, 0, 1, 1], [1, 1, 0, 0]):
        two = gd.data_model("xor", dim=30, classes=classes).bayes_error()
        assert two == pytest.approx(gd.data_model("xor", dim=30).bayes_error(), rel=1e-12)


def test_a_network_of_several_outputs_adds_the_same_units_with_weights_for_each():
    network = gd.network("committee", dim=5, hidden=3, outputs=4, activation="erf", bias=True)
    assert network.readout.shape == (3, 4)
    assert network.outputs == 4
    inputs = torch.randn(7, 5, generator=torch.Generator().manual_seed(0))
    for output in range(4):
        one = gd.network(
            "committee",
            first_layer=network.first_layer.detach(),
            readout=network.readout[:, output].detach(),
            activation="erf",
            bias=True,
        )
        assert torch.allclose(network(inputs)[:, output], one(inputs), atol=1e-6)


def test_the_number_of_outputs_is_settled_once():
    assert gd.network("committee", dim=5, hidden=2, readout=np.ones((2, 3))).outputs == 3
    mixture = gd.data_model("xor", dim=5, classes=[0, 1, 2, 1])
    informed = gd.network("committee", hidden=4, init="informed", mixture=mixture, init_scale=0)
    assert torch.equal(informed.readout.double(), mixture.labels)
    with pytest.raises(RangeError, match=r"2 \(`outputs`\) and 3 \(`readout`\)"):
        gd.network("committee", dim=5, hidden=2, outputs=2, readout=np.ones((2, 3)))


def test_a_network_and_a_mixture_have_the_same_number_of_outputs():
    mixture = gd.data_model("xor", dim=5, classes=[0, 1, 2, 1])
    with pytest.raises(ShapeError, match="give the network `outputs=3`"):
        gd.Experiment(mixture, gd.network("committee", dim=5, hidden=2), gd.OnlineSGD(0.1))


def test_a_configuration_gives_the_network_the_outputs_of_the_labels():
    configuration = Configuration.load("xor").updated("data_model", {"classes": [0, 1, 2, 1]})
    experiment = gd.Experiment.from_configuration(configuration)
    assert experiment.network.outputs == 3
    again = gd.Experiment.from_configuration(experiment.configuration())
    assert torch.equal(again.network.readout, experiment.network.readout)


@pytest.mark.parametrize(
    ("loss", "classes"),
    [("cross-entropy", None), ("logistic", [0, 1, 2, 1]), ("logistic", [0, 0, 1, 1])],
)
def test_a_loss_that_has_no_meaning_for_the_labels_is_refused(loss, classes):
    mixture = gd.data_model("xor", dim=5, classes=classes)
    network = gd.network("committee", dim=5, hidden=2, outputs=mixture.outputs)
    with pytest.raises(IncompatibleError, match=f"the {loss}".replace("logistic", "logistic loss")):
        gd.Experiment(mixture, network, gd.OnlineSGD(0.1, loss=loss))


def test_many_experiments_of_several_classes_are_those_one_by_one():
    mixture = gd.data_model("xor", dim=20, classes=[0, 1, 2, 1])
    network = gd.network("committee", dim=20, hidden=2, outputs=3, activation="erf", seed=1)
    experiments = [gd.Experiment(mixture, network, gd.OnlineSGD(rate)) for rate in (0.1, 0.4)]
    times = {"times": [0, 1]}
    solved = [one.solve("ode", **times) for one in experiments]
    simulated = [one.simulate(**times) for one in experiments]
    for many, one in (
        (gd.solve_many(experiments, **times), solved),
        (gd.simulate_many(experiments, **times), simulated),
    ):
        for found, wanted in zip(many, one, strict=True):
            for name in wanted.curves:
                np.testing.assert_allclose(found[name], wanted[name], rtol=1e-5, atol=1e-6)
