"""Many problems in one call: equal to one by one, and none takes the others with it."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import gmmdyn as gd
from gmmdyn.errors import (
    ConvergenceError,
    GmmdynError,
    IncompatibleError,
    NotPositiveError,
    RangeError,
)
from gmmdyn_ode.differentiable import integrate_with_torchdiffeq
from gmmdyn_ode.dopri5_batched import dopri5_batched
from gmmdyn_ode.solver import BLOW_UP, Settings

TIMES = [0.0, 0.5, 2.0, 6.0]


def experiment(
    *, rate=0.5, variance=0.3, seed=4, dim=40, hidden=2, activation="relu", readout=None, **options
):
    mixture = gd.data_model("xor", dim=dim, variance=variance)
    network = gd.network(
        "committee",
        dim=dim,
        hidden=hidden,
        activation=activation,
        init_scale=0.8,
        seed=seed,
        dtype="float64",
        **({} if readout is None else {"readout": readout}),
    )
    return gd.Experiment(mixture, network, gd.OnlineSGD(rate, **{"weight_decay": 0.05, **options}))


def test_together_is_one_by_one():
    """Grids of everything; the errors are measured with the same points, so equal as states are."""
    schedule = gd.Schedule([0.0, 1.0, 3.3], [0.2, 1.0, 0.1])
    grid = [
        experiment(),
        experiment(rate=0.1),
        experiment(variance=1.0, weight_decay=0.2),
        experiment(seed=7, batch_size=4),
        experiment(label_noise=0.2, train_readout=False),
        experiment(rate=schedule),
        experiment(hidden=1, variance=0.1),
        experiment(rate=gd.Schedule([0.0, 0.7, 9.0], [1.0, 0.2, 0.1])),
        experiment(dim=60),
    ]
    theory = gd.theory("ode", rtol=1e-7)
    found = gd.solve_many(grid, theory, times=TIMES)
    sizes = [result.metadata["solver"]["together"] for result in found]
    assert sizes == [5, 5, 5, 5, 5, 2, 1, 2, 1]
    for one, result in zip(grid, found, strict=True):
        alone = one.solve(theory, times=TIMES)
        np.testing.assert_array_equal(alone.times, result.times)
        for name in ("Q", "R", "v", "pmse"):
            np.testing.assert_allclose(result[name], alone[name], atol=2e-6, err_msg=name)
        gap = np.abs(result.classification_error - alone.classification_error)
        assert (gap <= 1e-4 + alone.errors["classification_error"]).all()
        assert result.metadata["experiment"] == alone.metadata["experiment"]
        assert np.ptp(alone.pmse) > 1e-3  # it moves


SETTINGS = Settings("dopri5", 1e-8, 1e-10, None, 2000)


def test_rows_follow_their_closed_forms():
    """y' = -(rate) min(t, kink) y, at a rate and with a kink of each row's own."""
    speeds = torch.tensor([0.3, 1.0, 20.0], dtype=torch.float64)
    kink = torch.tensor([[9.0], [1.0], [1.3]], dtype=torch.float64)

    def field(rows, t, y):
        return -(speeds[rows] * torch.minimum(t, kink[rows, 0]))[:, None] * y

    times = torch.tensor([0.5, 1.0, 2.0], dtype=torch.float64)
    start = torch.tensor([[1.0, -2.0]], dtype=torch.float64).repeat(3, 1)
    found = dopri5_batched(field, start, times, kink, SETTINGS)
    area = torch.minimum(times, kink) ** 2 / 2 + kink * (times - kink).clamp_min(0) - 0.125
    wanted = torch.exp(-speeds[:, None] * area)
    torch.testing.assert_close(found.states[..., 0], wanted, rtol=1e-6, atol=1e-9)
    torch.testing.assert_close(found.states[..., 1], -2 * wanted, rtol=1e-6, atol=1e-9)
    assert found.stopped == [None] * 3


@pytest.mark.parametrize("power", [2, 4])
def test_growth_without_bounds_is_said_to_be_that(power):
    """y' = y^n is infinite at t = 1/(n - 1); with n = 4 the step underflows before y is huge."""
    times = torch.tensor([0.0, 0.2, 2.0], dtype=torch.float64)
    start = torch.ones(1, dtype=torch.float64)
    loose = SETTINGS._replace(rtol=1e-5, atol=1e-7)
    alone = integrate_with_torchdiffeq(lambda t, y: y**power, start, times, loose, times[:0], [1])
    rows = dopri5_batched(lambda r, t, y: y**power, start[None], times, times[None, :0], loose)
    for stopped, count in ((alone.stopped, len(alone.states)), (rows.stopped[0], rows.counts[0])):
        assert stopped.reason == BLOW_UP[0]
        assert abs(stopped.time - 1 / (power - 1)) < 1e-3
        assert count == 2


def test_the_limit_of_evaluations_holds_for_each_row():
    times = torch.tensor([0.0, 1e6], dtype=torch.float64)
    start = torch.ones(2, 1, dtype=torch.float64)
    speeds = torch.tensor([1.0, 0.0], dtype=torch.float64)

    def field(rows, t, y):
        return speeds[rows, None] * torch.cos(t)[:, None]

    found = dopri5_batched(field, start, times, times[None, :0].expand(2, 0), SETTINGS)
    assert "2000 evaluations allowed" in found.stopped[0].reason
    assert found.evaluations[0] <= 2000
    assert found.stopped[1] is None


def test_it_starts_from_given_order_parameters():
    grid = [experiment(), experiment(rate=0.2)]
    start = experiment(seed=11).network.order_parameters(grid[0].data_model)
    found = gd.solve_many(grid, times=[0, 1.0], initial=[None, start])
    np.testing.assert_allclose(found[1]["Q"][0], start.Q)
    assert not np.allclose(found[0]["Q"][0], start.Q)


def test_one_that_blows_up_does_not_take_the_others_with_it():
    """A linear unit at an absurd rate: with v = 1 dQ/dt contains (eta² - 2 eta) Q."""
    rates = (0.2, 20.0, 0.4, 40.0)
    options = {"hidden": 1, "activation": "linear", "variance": 1.0, "readout": "ones"}
    grid = [experiment(rate=rate, train_readout=False, **options) for rate in rates]
    found = gd.solve_many(grid, times=TIMES)
    for index in (1, 3):
        assert isinstance(found[index], ConvergenceError)
        partial = found[index].partial
        np.testing.assert_array_equal(partial.times, [0.0])
        assert partial.metadata["experiment"]["algorithm"]["learning_rate"] == rates[index]
        with pytest.raises(ConvergenceError, match="lower the learning rate") as alone:
            grid[index].solve(times=TIMES)
        when, why = str(found[index]).split(": ", 1)
        assert str(alone.value).endswith(why)
        times = [float(text.split("t = ")[1].split(":")[0]) for text in (when, str(alone.value))]
        assert 0 < times[0] < 0.5
        np.testing.assert_allclose(times[0], times[1], rtol=0.3)
    for index in (0, 2):
        alone = grid[index].solve(times=TIMES)
        np.testing.assert_allclose(found[index].pmse, alone.pmse, atol=1e-5)


def test_what_is_not_described_is_an_error_in_its_place():
    general = gd.data_model(
        "random-covariance", means=torch.eye(2, 40), labels=[-1, 1], per_cluster=True
    )
    network = gd.network("committee", dim=40, hidden=2)
    other = gd.Experiment(general, network, gd.OnlineSGD(0.1))
    features = gd.network("random-features", dim=40, features=20)
    odd = gd.Experiment(general, features, gd.OnlineSGD(0.1))
    found = gd.solve_many([experiment(), odd, other], times=[0, 1.0])
    assert isinstance(found[0], gd.Trajectory)
    assert isinstance(found[1], IncompatibleError)
    # Another form of the equations, solved alone.
    np.testing.assert_array_equal(found[2].pmse, other.solve(times=[0, 1.0]).pmse)
    assert gd.solve_many([], times=[0, 1.0]) == []
    with pytest.raises(RangeError):
        gd.solve_many([experiment()], times=[1.0, 0.5])


def test_a_start_that_is_no_state_is_an_error_in_its_place():
    grid = [experiment(), experiment(rate=0.2), experiment()]
    state = grid[0].network.order_parameters(grid[0].data_model)
    bad = gd.OrderParameters(Q=state.Q - 2 * torch.eye(2), R=state.R, v=state.v)
    found = gd.solve_many(grid, times=[0, 1.0], initial=[None, bad, None])
    assert isinstance(found[1], NotPositiveError)
    np.testing.assert_allclose(found[0].pmse, grid[0].solve(times=[0, 1.0]).pmse, atol=1e-6)
    assert isinstance(found[2], gd.Trajectory)
    with pytest.raises(GmmdynError, match="positive semi-definite"):
        grid[1].solve(times=[0, 1.0], initial=bad)


def test_where_to_compute_is_checked():
    assert gd.solve_many([experiment()], times=[0, 1.0], device="cpu")[0].times.size == 2
    for name in ("abacus", "mps"):
        with pytest.raises(RangeError, match="`device`"):
            gd.theory("ode", device=name)
    with pytest.raises(RangeError, match="drop `device`"):
        gd.theory("ode", device="cuda", method="BDF")


def test_a_stiff_problem_is_solved_alone(monkeypatch):
    monkeypatch.setattr("gmmdyn_ode.theory._PATIENCE", 60)
    grid = [experiment(rate=0.01), experiment(rate=2.0, weight_decay=0.2)]
    found = gd.solve_many(grid, times=[0, 4.0])
    assert found[0].metadata["solver"]["together"] == 2
    assert "together" not in found[1].metadata["solver"]
    np.testing.assert_array_equal(found[1].pmse, grid[1].solve(times=[0, 4.0]).pmse)


@pytest.mark.parametrize("name", ["ode", "state-evolution"])
def test_other_methods_and_theories_go_one_by_one(name):
    grid = [experiment(activation="erf"), experiment(activation="erf", rate=0.2)]
    points = gd.integrator("sobol", log2_samples=7)
    options = {"method": "rk4", "step": 0.1} if name == "ode" else {"max_evaluations": 50}
    options = {**options, "integrator": points}
    times = [0, 1.0] if name == "ode" else None
    found = gd.solve_many(grid, name, times=times, **options)
    for one, result in zip(grid, found, strict=True):
        if name == "ode":
            alone = one.solve(name, times=times, **options)
            np.testing.assert_array_equal(result.pmse, alone.pmse)
        else:
            assert isinstance(result, ConvergenceError)
