"""Fixed points: known values, an exact identity, and agreement of the ways to them."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
import torch

import gmmdyn as gd
from gmmdyn.errors import ConvergenceError, IncompatibleError, RangeError
from gmmdyn.interfaces import Fields
from gmmdyn_ode.state_evolution.residual import Slope
from gmmdyn_ode.state_evolution.roots import anderson, damped, newton, slopes_of


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


@cache
def solved(decay, **options):
    """The fixed point of four units, once for all tests."""
    return xor(decay, **options).solve("state-evolution")


def identity_gap(experiment, trajectory, infinite=False):
    """Q_kk - v_k² = (eta/2 kappa) v_k² sum_a p_a n_akk (sigma² + T_aa/D), for ReLU (g = x g').

    Half of dQ_kk/dt less v_k dv_k/dt: E[g'(x_k) x_k Delta] and E[g(x_k) Delta] cancel.
    """
    mixture, algorithm = experiment.data_model, experiment.algorithm
    state = trajectory.order_parameters(0)
    integrator = gd.integrator("preintegrated")
    integrator.prepare(len(state.v))
    covariance = mixture.variance * state.Q.unsqueeze(0)
    fields = Fields(state.R, covariance, state.v, mixture.labels, gd.activation("relu"))
    lengths = torch.full((len(mixture.labels),), mixture.variance, dtype=torch.float64)
    if not infinite:
        lengths += mixture.mean_overlaps.diagonal() / mixture.dim
    noise = torch.einsum("a,a,akk->k", mixture.priors, lengths, integrator.moments(fields).noise)
    rate = algorithm.learning_rate / (2 * algorithm.weight_decay)
    q = state.Q.diagonal()
    return float(((q - state.v**2 - rate * noise) / q).abs().max())


@pytest.mark.parametrize(
    ("decay", "pmse", "error"),
    # Values of the project's reproduction page, found there by Monte Carlo to about 1e-4.
    [(0.1, 0.1536, 0.0016), (0.01, 0.0405, 0.0016)],
)
def test_the_fixed_points_of_the_xor(decay, pmse, error):
    experiment = xor(decay)
    found = solved(decay)
    assert found.times.tolist() == [np.inf]
    assert abs(found.pmse[0] - pmse) < 2e-4
    assert abs(found.classification_error[0] - error) < 5e-5
    bayes = experiment.data_model.bayes_error().value
    assert found.classification_error[0] > bayes - 3 * found.errors["classification_error"][0]
    assert found.metadata["stability"] == "stable"
    assert found.metadata["solver"]["residual"] < 1e-12
    assert identity_gap(experiment, found) < 1e-7
    if decay == 0.1:
        along = found["R"][0]  # means are opposite in pairs: rows 0 and 2 are |R|²
        np.testing.assert_allclose(along[0] ** 2 + along[2] ** 2, 0.568, atol=1e-3)
        np.testing.assert_allclose(np.abs(found["v"][0]), 0.753, atol=1e-3)


def test_the_rates_vanish_there_and_the_flow_stays():
    experiment, found = xor(0.05), solved(0.05)
    state = found.order_parameters(0)
    theory = gd.theory("ode")
    parts = (experiment.data_model, experiment.network, experiment.algorithm)
    rates = theory.derivative(*parts, state)
    for value in (rates.Q, rates.R, rates.v):
        assert float(value.abs().max()) < 1e-11
    later = theory.solve(*parts, times=[0, 50.0], initial=state)
    np.testing.assert_allclose(later["Q"][-1], found["Q"][0], atol=1e-6)


def test_the_limit_of_infinite_dimension():
    """At D = 20 the term T/D is as large as the variance; `infinite_dim` leaves it out."""
    small = xor(0.1, dim=20)
    found = small.solve("state-evolution", infinite_dim=True)
    assert identity_gap(small, found, infinite=True) < 1e-8
    np.testing.assert_allclose(found["Q"], solved(0.1)["Q"], atol=1e-5)
    kept = small.solve("state-evolution")
    assert identity_gap(small, kept) < 1e-8
    assert identity_gap(small, kept, infinite=True) > 1e-4


@pytest.mark.science
def test_units_that_merge_act_as_one():
    """Five units for four means: two become one but for an angle that SGD noise keeps up."""
    experiment = xor(0.05, hidden=5, noise=0.1)
    found = experiment.solve("state-evolution")
    four = solved(0.05)
    about = found.metadata
    assert about["merged_units"] == [[0, 4]]
    assert about["solver"]["residual"] < 1e-12
    assert about["solver"]["asymmetry"] < 1e-9
    assert about["stability"] == "marginal"
    assert about["marginal"] == 1
    assert identity_gap(experiment, found) < 1e-7
    np.testing.assert_allclose(found.pmse, four.pmse, atol=1e-5)
    v, once = found["v"][0], four["v"][0]
    assert v[0] == v[4]
    np.testing.assert_allclose(np.hypot(v[0], v[4]), abs(once[0]), atol=1e-4)
    lengths = np.sqrt(found["Q"][0].diagonal())
    cosine = found["Q"][0, 0, 4] / lengths[0] / lengths[4]
    assert 1e-5 < np.sqrt(2 * (1 - cosine)) < 1e-2


def test_too_much_decay_leaves_the_zero_network():
    experiment = xor(0.3)
    found = experiment.solve("state-evolution")
    for name in ("Q", "R", "v"):
        assert not found[name].any()
    assert found.metadata["solver"]["residual"] == 0
    assert found.metadata["vanished_units"] == [0, 1, 2, 3]
    assert found.metadata["stability"] == "stable"
    assert found.pmse[0] == 0.5
    assert found.classification_error[0] == 0.5  # an output of exactly 0 is half an error
    assert found.tie_rate[0] == 1


def test_the_reduced_form_of_2021():
    """Its root satisfies the constraints, and not the full equations."""
    full = solved(0.01)
    options = {"reduced": True, "initial": full.order_parameters(0), "tolerance": 1e-11}
    found = xor(0.01).solve("state-evolution", method="anderson", damping=0.6, **options)
    r, v, q = found["R"][0], found["v"][0], found["Q"][0]
    np.testing.assert_allclose(r[1], -r[0])
    np.testing.assert_allclose(v, [-r[0, 0], r[2, 1], r[0, 2], -r[2, 3]])
    np.testing.assert_allclose(q, np.outer(r[0], r[0]) + np.outer(r[2], r[2]))
    assert found.metadata["solver"]["residual"] < 1e-11
    # No fixed point of the full equations, and a pmse a little too low: the project's theory page.
    assert found.metadata["full_residual"] > 1e-5
    assert full.pmse[0] - 1e-3 < found.pmse[0] < full.pmse[0]


def test_damped_and_accelerated_iterations_and_newton_reach_the_same():
    experiment = xor(0.1)
    flow = solved(0.1)
    damped_one = experiment.solve(
        "state-evolution", method="damped", damping=0.2, tolerance=1e-9, max_evaluations=5000
    )
    np.testing.assert_allclose(damped_one["Q"], flow["Q"], atol=1e-6)
    faster = experiment.solve("state-evolution", method="anderson", damping=0.2, tolerance=1e-9)
    np.testing.assert_allclose(faster["Q"], flow["Q"], atol=1e-6)
    counts = [t.metadata["solver"]["evaluations"] for t in (damped_one, faster)]
    assert 5 * counts[1] < counts[0]
    near = flow.order_parameters(0)
    near = gd.OrderParameters(Q=near.Q * 1.001**2, R=near.R * 1.001, v=near.v)
    by_newton = experiment.solve("state-evolution", method="newton", initial=near)
    np.testing.assert_allclose(by_newton["Q"], flow["Q"], atol=1e-8)
    assert by_newton.metadata["solver"]["evaluations"] < 400


@pytest.mark.science
@pytest.mark.parametrize("variance", [0.05, 0.5, 1.0])
@pytest.mark.parametrize("decay", [0.1, 0.05, 1e-2, 5e-3, 1e-3, 1e-4, 1e-5])
def test_fixed_points_down_to_tiny_weight_decay(decay, variance):
    experiment = xor(decay, variance)
    found = experiment.solve("state-evolution", infinite_dim=True)
    assert found.metadata["solver"]["residual"] < 1e-12
    if (decay, variance) == (0.1, 1.0):  # so much noise and decay that nothing is left
        assert not found["Q"].any()
        return
    assert identity_gap(experiment, found, infinite=True) < 1e-6
    finer = gd.integrator("preintegrated", log2_lines=11, seed=9)
    near = found.order_parameters(0)
    # By the flow: at a decay of 1e-5 slow directions turn an error of 1e-7 in F into 0.1 in x.
    again = experiment.solve("state-evolution", integrator=finer, infinite_dim=True, initial=near)
    assert abs(again.pmse[0] - found.pmse[0]) < 5e-5
    bayes = experiment.data_model.bayes_error().value
    error, doubt = found.classification_error[0], found.errors["classification_error"][0]
    assert error > bayes - 3 * doubt


@pytest.mark.science
@pytest.mark.parametrize("hidden", [2, 3, 4, 5, 6, 8, 12])
def test_any_number_of_units(hidden):
    experiment = xor(0.05, hidden=hidden, noise=0.1)
    found = experiment.solve("state-evolution")
    assert found.metadata["solver"]["residual"] < 1e-12
    assert found.metadata["solver"]["asymmetry"] < 1e-8
    assert sum(len(group) - 1 for group in found.metadata["merged_units"]) == max(0, hidden - 4)
    assert identity_gap(experiment, found) < 1e-6


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
    with pytest.raises(RangeError, match="`reduced` has no flow"):
        gd.theory("state-evolution", reduced=True)
    five = xor(0.1, hidden=5)
    with pytest.raises(IncompatibleError, match="four units without bias on the XOR"):
        five.solve("state-evolution", method="newton", reduced=True)
    with pytest.raises(RangeError, match="`damping`"):
        gd.theory("state-evolution", damping=1.5)


class Planar:
    """A field of the plane, counted as `Field` counts."""

    def __init__(self, function, limit=5000):
        self.function, self.left = function, limit

    def __call__(self, x):
        self.left -= 1
        with np.errstate(over="ignore"):
            value = self.function(x)
        return Slope(value, float(np.abs(value).max()))

    def many(self, points):
        return np.stack([self(x).value for x in points])


# A saddle at 0 and sinks at (±1, 0).
def well(x):
    return np.array([x[0] - x[0] ** 3, -2 * x[1]])


def test_newton_stays_at_a_saddle_and_differences_show_it():
    near = newton(Planar(well), np.array([1e-4, 0.5]), 1e-12)
    np.testing.assert_allclose(near.x, [0, 0], atol=1e-9)
    for central in (True, False):
        slopes = slopes_of(Planar(well), near.x, central)
        assert slopes.diagonal().tolist() == pytest.approx([1, -2])


def test_the_flow_leaves_a_saddle_of_a_symmetric_start_and_newton_does_not():
    """From the symmetric fixed point at decay 0.1; values of the project's reproduction page."""
    start = solved(0.1).order_parameters(0)
    experiment = xor(0.01)
    found = experiment.solve("state-evolution", initial=start)
    assert found.metadata["left_saddles"] == 1
    assert found.metadata["stability"] == "stable"
    assert abs(found.pmse[0] - 0.04037) < 2e-5
    # By the flow to where it comes to rest, Newton's method alone: the symmetric saddle beside it.
    scaled = gd.OrderParameters(
        Q=start.Q * (0.9 / 0.753) ** 2, R=start.R * (0.9 / 0.753), v=start.v * (0.9 / 0.753)
    )
    saddle = experiment.solve("state-evolution", method="newton", initial=scaled)
    assert saddle.metadata["stability"] == "saddle"
    assert abs(saddle.pmse[0] - 0.04713) < 2e-4
    assert saddle.metadata["left_saddles"] == 0


@pytest.mark.parametrize("activation", ["relu", "leaky-relu", "linear"])
def test_without_decay_homogeneous_units_have_no_fixed_point(activation):
    mixture = gd.data_model("xor", dim=100, variance=0.05)
    network = gd.network("committee", dim=100, hidden=2, activation=activation)
    with pytest.raises(IncompatibleError, match="has no fixed point: Q_kk - v_k² grows"):
        gd.Experiment(mixture, network, gd.OnlineSGD(0.1)).solve("state-evolution")
    frozen = gd.Experiment(mixture, network, gd.OnlineSGD(0.1, train_readout=False))
    frozen.check("state-evolution")  # the readout's share of the identity is missing


@pytest.mark.parametrize(("hidden", "merged"), [(6, 1), (8, 2), (12, 4)])
def test_over_parametrised_networks_come_to_rest(hidden, merged):
    """Two "saddles", no convergence and eigenvalues of 3e5 before the noise was made positive."""
    mixture = gd.data_model("xor", dim=1000, variance=0.05)
    network = gd.network(
        "committee", hidden=hidden, init="informed", mixture=mixture, init_scale=0.1, seed=0
    )
    experiment = gd.Experiment(mixture, network, gd.OnlineSGD(0.1, 0.01))
    found = experiment.solve("state-evolution")
    about = found.metadata
    assert about["solver"]["residual"] < 1e-12
    assert about["stability"] == "marginal"
    # One way to share a readout for each unit more than a group needs.
    assert about["marginal"] == sum(len(group) - 1 for group in about["merged_units"]) == merged
    assert max(about["eigenvalues"]) < 1e-8
    assert identity_gap(experiment, found) < 1e-5
    bayes = mixture.bayes_error().value
    assert found.classification_error[0] > bayes - 3 * found.errors["classification_error"][0]


def test_damping_stops_at_the_limit_and_at_infinity():
    field = Planar(well, 50)
    slow = damped(field, np.array([1e-4, 0.5]), 0.999, 1e-12)
    assert (slow.converged, field.left) == (False, 0)
    field = Planar(lambda x: x * abs(x))
    away = damped(field, np.array([9.0]), 0.0, 1e-12)
    assert not away.converged
    assert 4900 < field.left < 4995


def test_anderson_needs_few_steps_on_a_linear_field():
    """Its weights solve a linear problem of n unknowns after n + 1 steps, whatever the damping."""
    matrix = np.array([[-1.0, 0.3, 0], [0.1, -0.02, 0], [0, 0.2, -1e-3]])
    field = Planar(lambda x: matrix @ x + 1)
    found = anderson(field, np.zeros(3), 0.5, 1e-10)
    np.testing.assert_allclose(found.x, -np.linalg.solve(matrix, np.ones(3)), rtol=1e-6)
    assert 5000 - field.left < 12
    slow = Planar(lambda x: matrix @ x + 1)
    assert not damped(slow, np.zeros(3), 0.5, 1e-10).converged
