"""Fixed points: known values, an exact identity, and agreement of the ways to them."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import gmmdyn as gd
from gmmdyn.errors import ConvergenceError, IncompatibleError, RangeError
from gmmdyn.interfaces import Fields
from gmmdyn_state_evolution.solvers import Counter, along_the_flow, damped, jacobian, newton


def xor(decay, variance=0.05, dim=10**6, hidden=4, noise=0.05):
    mixture = gd.data_model("xor", dim=dim, variance=variance)
    network = gd.network(
        "committee",
        hidden=hidden,
        init="informed",
        mixture=mixture,
        init_scale=noise,
        seed=1,
        dtype="float64",
    )
    return gd.Experiment(mixture, network, gd.OnlineSGD(0.1, decay))


def identity_gap(experiment, trajectory, lines=7):
    """Q_kk - v_k² = (eta sigma²/2 kappa) v_k² sum_a p_a n_akk, exact for ReLU (g = x g')."""
    mixture, algorithm = experiment.data_model, experiment.algorithm
    state = trajectory.order_parameters(0)
    integrator = gd.integrator("preintegrated", log2_lines=lines)
    integrator.prepare(len(state.v))
    covariance = mixture.variance * state.Q.unsqueeze(0)
    fields = Fields(state.R, covariance, state.v, mixture.labels, gd.activation("relu"))
    noise = torch.einsum("a,akk->k", mixture.priors, integrator.moments(fields).noise)
    rate = algorithm.learning_rate * mixture.variance / (2 * algorithm.weight_decay)
    q = state.Q.diagonal()
    return float(((q - state.v**2 - rate * state.v**2 * noise) / q).abs().max())


@pytest.mark.parametrize(
    ("decay", "pmse", "error"),
    # Values of the project's reproduction page, found there by Monte Carlo to about 1e-4.
    [(0.1, 0.1536, 0.0016), (0.01, 0.0405, 0.0016)],
)
def test_the_fixed_points_of_the_xor(decay, pmse, error):
    experiment = xor(decay)
    found = experiment.solve("state-evolution")
    assert found.times.tolist() == [np.inf]
    assert abs(found.pmse[0] - pmse) < 2e-4
    assert abs(found.classification_error[0] - error) < 5e-5
    bayes = experiment.data_model.bayes_error().value
    assert found.classification_error[0] > bayes - 3 * found.errors["classification_error"][0]
    assert found.metadata["stability"] == "stable"
    assert found.metadata["solver"]["residual"] < 1e-12
    # The term T/D of |x|²/D is 1e-6 of the variance's 0.05.
    assert identity_gap(experiment, found) < 1e-4
    if decay == 0.1:
        along = found["R"][0]  # means are opposite in pairs: rows 0 and 2 are |R|²
        np.testing.assert_allclose(along[0] ** 2 + along[2] ** 2, 0.568, atol=1e-3)
        np.testing.assert_allclose(np.abs(found["v"][0]), 0.753, atol=1e-3)


def test_the_rates_vanish_there_and_the_flow_stays():
    experiment = xor(0.05, noise=0.3)
    found = experiment.solve("state-evolution")
    state = found.order_parameters(0)
    theory = gd.theory("ode")
    parts = (experiment.data_model, experiment.network, experiment.algorithm)
    rates = theory.derivative(*parts, state)
    for value in (rates.Q, rates.R, rates.v):
        assert float(value.abs().max()) < 1e-11
    later = theory.solve(*parts, times=[0, 50.0], initial=state)
    np.testing.assert_allclose(later["Q"][-1], found["Q"][0], atol=1e-6)


def test_units_that_merge_are_reached_with_a_looser_tolerance():
    """Five units for four means: two become one, and Q singular."""
    found = xor(0.05, hidden=5, noise=0.1).solve("state-evolution", tolerance=1e-9)
    four = xor(0.05).solve("state-evolution")
    assert np.linalg.eigvalsh(found["Q"][0])[0] < 1e-4
    assert abs(found.pmse[0] - four.pmse[0]) < 0.01


def test_damped_iteration_and_newton_reach_the_same():
    experiment = xor(0.1)
    flow = experiment.solve("state-evolution")
    damped_one = experiment.solve(
        "state-evolution", method="damped", damping=0.2, tolerance=1e-9, max_evaluations=5000
    )
    np.testing.assert_allclose(damped_one["Q"], flow["Q"], atol=1e-6)
    near = flow.order_parameters(0)
    near = gd.OrderParameters(Q=near.Q * 1.001, R=near.R * 1.001, v=near.v)
    by_newton = experiment.solve("state-evolution", method="newton", initial=near)
    np.testing.assert_allclose(by_newton["Q"], flow["Q"], atol=1e-8)
    assert by_newton.metadata["solver"]["evaluations"] < 400


@pytest.mark.science
@pytest.mark.parametrize("variance", [0.05, 0.5, 1.0])
@pytest.mark.parametrize("decay", [0.1, 1e-2, 1e-3, 1e-4, 1e-5])
def test_fixed_points_down_to_tiny_weight_decay(decay, variance):
    experiment = xor(decay, variance)
    if (decay, variance) == (0.1, 1.0):
        # So much noise and decay that the network collapses to 0, the edge of all possible states.
        with pytest.raises(ConvergenceError) as caught:
            experiment.solve("state-evolution")
        partial = caught.value.partial
        assert np.abs(partial["Q"]).max() < 1e-4
        assert abs(partial.pmse[0] - 0.5) < 1e-4
        return
    found = experiment.solve("state-evolution")
    assert found.metadata["solver"]["residual"] < 1e-12
    assert identity_gap(experiment, found) < 1e-4
    finer = gd.integrator("preintegrated", log2_lines=10)
    again = experiment.solve("state-evolution", integrator=finer)
    assert abs(again.pmse[0] - found.pmse[0]) < 5e-5


def test_giving_up_keeps_the_state_reached():
    with pytest.raises(ConvergenceError, match=r"residual .* after .*max_evaluations") as caught:
        xor(0.1).solve("state-evolution", method="damped", max_evaluations=20)
    partial = caught.value.partial
    assert partial.metadata["solver"]["converged"] is False
    assert np.isfinite(partial.pmse).all()


def test_what_it_refuses():
    shared = gd.data_model("random-covariance", means=torch.eye(2, 8), labels=[-1, 1])
    network = gd.network("committee", dim=8, hidden=2)
    with pytest.raises(IncompatibleError, match="isotropic"):
        gd.Experiment(shared, network, gd.OnlineSGD(0.1)).solve("state-evolution")
    with pytest.raises(RangeError, match="`method`"):
        gd.theory("state-evolution", method="newtn")
    with pytest.raises(RangeError, match="`damping`"):
        gd.theory("state-evolution", damping=1.5)


# A planar field with a saddle at 0 and sinks at (±1, 0).
def well(x):
    return np.array([x[0] - x[0] ** 3, -2 * x[1]])


def test_the_flow_leaves_the_saddle_and_newton_does_not():
    start = np.array([1e-4, 0.5])
    reached = along_the_flow(Counter(well, 5000), start, 1e-12)
    np.testing.assert_allclose(reached.x, [1, 0], atol=1e-9)
    assert reached.converged
    near = newton(Counter(well, 5000), start, 1e-12)
    np.testing.assert_allclose(near.x, [0, 0], atol=1e-9)
    assert jacobian(well, near.x).diagonal().tolist() == pytest.approx([1, -2])


def test_damping_stops_at_the_limit_and_at_infinity():
    slow = damped(well, np.array([1e-4, 0.5]), 0.999, 1e-12, 50)
    assert (slow.converged, slow.evaluations) == (False, 50)
    away = damped(lambda x: x**3, np.array([9.0]), 0.0, 1e-12, 500)
    assert not away.converged
    assert away.evaluations < 20
