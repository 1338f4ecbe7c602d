"""A theory of a third party that knows no more than it has to."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import gmmdyn as gd
from gmmdyn import testing
from gmmdyn.errors import IncompatibleError

DIM, TIMES = 40, [0, 0.5, 2]


class OverlapsAlone(gd.Theory):
    """The order parameters of the theory `ode`, and nothing else."""

    describes = frozenset({"loss"})
    several_outputs = True

    def check(self, data_model, network, algorithm):
        pass

    def solve(self, data_model, network, algorithm, *, times, initial=None):
        solved = gd.theory("ode").solve(data_model, network, algorithm, times=times)
        curves = {name: solved[name] for name in ("Q", "R", "v", "b") if name in solved.curves}
        return gd.Trajectory(times, curves, "theory", metadata={"theory": "overlaps"})


def experiment(activation="erf", bias=False, mixture=None, **options):
    network = gd.network(
        "committee", dim=DIM, hidden=3, activation=activation, init_scale=1.0, bias=bias, seed=1
    )
    mixture = mixture or gd.data_model("xor", dim=DIM, variance=0.2)
    return gd.Experiment(mixture, network, gd.OnlineSGD(0.3, 0.1, **options))


def test_it_passes_the_checks():
    tried = experiment()
    testing.check_theory(OverlapsAlone(), tried.data_model, tried.network, tried.algorithm)


@pytest.mark.parametrize(
    ("activation", "options"),
    [("erf", {}), ("relu", {}), ("erf", {"loss": "logistic"}), ("relu", {"loss": "logistic"})],
)
@pytest.mark.parametrize("bias", [False, True])
def test_the_errors_of_its_order_parameters_are_computed(activation, options, bias):
    """They are those of the theory that they are taken from, and of samples."""
    tried = experiment(activation, bias, **options)
    found, wanted = tried.solve(OverlapsAlone(), times=TIMES), tried.solve("ode", times=TIMES)
    assert set(found.curves) == set(wanted.curves)
    for name in wanted.curves:
        np.testing.assert_allclose(found[name], wanted[name], rtol=2e-3, atol=1e-9, err_msg=name)
        if name in wanted.errors:
            assert found.errors[name].shape == (3,)
    assert found.metadata["errors_by"]
    batch = tried.data_model.sample(40_000, torch.Generator().manual_seed(0), torch.float32)
    with torch.no_grad():
        terms = 0.5 * (batch.labels - tried.network(batch.inputs)) ** 2
    assert abs(found.pmse[0] - float(terms.mean())) < 5 * float(terms.std()) / 200
    (many,) = gd.solve_many([tried], OverlapsAlone(), times=TIMES)
    assert (many.pmse == found.pmse).all()


@pytest.mark.parametrize("loss", ["square", "cross-entropy"])
def test_the_errors_of_several_outputs_are_computed(loss):
    mixture = gd.data_model("xor", dim=DIM, variance=0.2, classes=[0, 1, 3, 2])
    network = gd.network(
        "committee", dim=DIM, hidden=3, outputs=4, activation="erf", init_scale=1.0, seed=1
    )
    tried = gd.Experiment(mixture, network, gd.OnlineSGD(0.3, loss=loss))
    found, wanted = tried.solve(OverlapsAlone(), times=TIMES), tried.solve("ode", times=TIMES)
    assert set(found.curves) == set(wanted.curves)
    for name in wanted.curves:
        np.testing.assert_allclose(found[name], wanted[name], rtol=2e-3, atol=1e-9, err_msg=name)


def test_where_order_parameters_do_not_determine_errors_there_are_none():
    """Two covariances of one trace: Q does not tell them apart, and the errors differ."""
    mixture = gd.data_model("random-covariance", means=torch.eye(2, DIM) * 6, labels=[-1, 1])
    found = experiment(mixture=mixture).solve(OverlapsAlone(), times=TIMES)
    assert set(found.curves) == {"Q", "R", "v"}
    assert "errors_by" not in found.metadata


def test_errors_that_a_theory_has_are_left_alone():
    tried = experiment()
    assert "errors_by" not in tried.solve("ode", times=TIMES).metadata


def test_a_theory_without_a_right_hand_side_says_so():
    tried = experiment()
    parts = tried.data_model, tried.network, tried.algorithm
    with pytest.raises(IncompatibleError, match="`OverlapsAlone` has no right-hand side"):
        OverlapsAlone().derivative(*parts)
    noisy = experiment(label_noise=0.1).algorithm
    with pytest.raises(IncompatibleError, match="not label noise"):
        OverlapsAlone().derivative(*parts[:2], noisy)
