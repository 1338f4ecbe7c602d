"""Units that merge or vanish on the way to a fixed point, and the coordinates that suit them."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import gmmdyn as gd
from gmmdyn_ode.state_evolution.copies import Copies
from gmmdyn_ode.state_evolution.merging import partitions
from gmmdyn_ode.state_evolution.residual import Equations
from gmmdyn_ode.state_evolution.split import SplitOverlaps


def overlaps(weights, means, readout, bias=None):
    """Q, R and v of weights (K, D); means (C, D)."""
    dim = weights.shape[1]
    return gd.OrderParameters(
        Q=weights @ weights.T / dim,
        R=means @ weights.T / dim,
        v=readout,
        b=bias,
    )


def normal(*shape, seed=0):
    return torch.from_numpy(np.random.default_rng(seed).standard_normal(shape))


def clusters(count, dim, variance=0.1, seed=0, labels=None):
    labels = [(-1) ** a for a in range(count)] if labels is None else labels
    return gd.data_model(
        "isotropic", means=normal(count, dim, seed=seed), labels=labels, variance=variance
    )


@pytest.mark.parametrize("bias", [False, True])
def test_split_overlaps_move_as_the_state_does(bias):
    means, weights, dw = normal(3, 50), normal(4, 50, seed=1), normal(4, 50, seed=2)
    means[2] = -means[0]
    v, dv = normal(4, seed=3), normal(4, seed=4)
    b, db = (normal(4, seed=5), normal(4, seed=6)) if bias else (None, None)
    state = overlaps(weights, means, v, b)
    split = SplitOverlaps(means @ means.T / 50, state)
    x = split.flat(state)
    assert len(x) == 2 * 4 + 10 + 4 + 4 * bias  # opposite means are one direction
    back = split.state(x)
    for one, two in ((back.Q, state.Q), (back.R, state.R), (back.v, state.v)):
        torch.testing.assert_close(one, two)
    cross = dw @ weights.T / 50
    rates = gd.OrderParameters(Q=cross + cross.T, R=means @ dw.T / 50, v=dv, b=db)
    h = 1e-6
    ahead, behind = (
        split.flat(overlaps(weights + s * dw, means, v + s * dv, None if b is None else b + s * db))
        for s in (h, -h)
    )
    np.testing.assert_allclose(split.rates(x, rates), (ahead - behind) / (2 * h), atol=1e-8)


def test_groups_are_units_of_one_direction_or_of_one_direction_and_size():
    """Angles of 0.03 and 0.5 and factors of 3 and -1, of weights and readout."""
    first, second, third = torch.eye(3, 40, dtype=torch.float64) * 40**0.5
    weights = torch.stack([first, 3 * (first + 0.03 * third), -first, second, first + 0.5 * second])
    v = torch.tensor([1.0, 3.0, -1.0, 1.0, 1.0], dtype=torch.float64)
    state = overlaps(weights, torch.zeros(1, 40).double(), v)

    def found(shared, odd):
        return [group.tolist() for group in partitions(state, shared, odd)]

    assert found(shared=True, odd=False) == [[0, 1, 2, 3, 4], [0, 0, 1, 2, 3]]
    assert found(shared=False, odd=False) == [[0, 1, 2, 3, 4]]
    assert found(shared=False, odd=True) == [[0, 1, 0, 2, 3]]
    apart = np.array([True, False, False, False, False])
    groups = partitions(state, shared=True, odd=False, apart=apart)
    assert [group.tolist() for group in groups] == [[0, 1, 2, 3, 4]]


def test_copies_move_as_they_are():
    """Two equal erf units and an opposite one stay so: their rates are those of one of them."""
    mixture = clusters(3, 60)
    weights = normal(2, 60, seed=1)[[0, 1, 0, 0]] * torch.tensor([1.0, 1, 1, -1])[:, None]
    v = torch.tensor([0.5, -0.8, 0.5, -0.5], dtype=torch.float64)
    state = overlaps(weights, mixture.means, v)
    network = gd.network("committee", dim=60, hidden=4, activation="erf")
    parts = mixture, network, gd.OnlineSGD(0.3, 0.01)
    rates = gd.theory("ode").derivative(*parts, state)
    copies = Copies(np.array([0, 1, 0, 0]), mixture.mean_overlaps, state)
    x = copies.flat(state)
    same = copies.averaged(rates)
    for name in ("Q", "R", "v"):
        torch.testing.assert_close(getattr(same, name), getattr(rates, name))
        torch.testing.assert_close(getattr(copies.state(x), name), getattr(state, name))
    h = 1e-6
    moved = copies.state(x + h * copies.rates(x, rates))
    torch.testing.assert_close((moved.Q - state.Q) / h, rates.Q, atol=1e-5, rtol=1e-5)


def test_only_an_average_over_many_points_has_a_coarser_one():
    mixture = clusters(2, 30)

    def equations(activation, integrator="auto"):
        network = gd.network("committee", dim=30, hidden=3, activation=activation)
        ode = gd.theory("ode", integrator=integrator)
        start = network.order_parameters(mixture).to(dtype=torch.float64)
        problem = ode.problem(mixture, network, gd.OnlineSGD(0.1, 0.01), start)
        return Equations(problem, ode.integrators, 100)

    assert equations("relu").coarser() is None
    assert equations("erf").coarser() is None
    assert not equations("erf").sampled
    assert equations("tanh").sampled
    assert equations("tanh").coarser() is not None
    assert equations("tanh").coarser().coarser() is None
    assert equations("tanh", gd.integrator("sobol", log2_samples=9)).coarser() is None


def rates_of_some(found, experiment, kept):
    """The largest rate of a network of these units alone."""
    state = found.order_parameters(0)
    network = gd.network(
        "committee", dim=experiment.data_model.dim, hidden=len(kept), activation="erf"
    )
    part = gd.OrderParameters(Q=state.Q[kept][:, kept], R=state.R[:, kept], v=state.v[kept])
    parts = experiment.data_model, network, experiment.algorithm
    rates = gd.theory("ode").derivative(*parts, part)
    return max(float(rate.abs().max()) for rate in (rates.Q, rates.R, rates.v))


def test_small_erf_units_that_become_alike_vanish():
    """In weights across the means the steps were cut to nothing, and 2,500 did not suffice."""
    mixture = clusters(5, 1000, variance=0.17, seed=1)
    network = gd.network("committee", dim=1000, hidden=6, activation="erf", init_scale=0.3, seed=1)
    experiment = gd.Experiment(mixture, network, gd.OnlineSGD(0.1, 0.03))
    found = experiment.solve("state-evolution", max_evaluations=2500)
    about = found.metadata
    assert about["vanished_units"] == [0, 2, 3, 4, 5]
    assert about["stability"] == "stable"
    assert rates_of_some(found, experiment, [1]) < 1e-12
