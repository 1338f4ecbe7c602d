"""The theory `finite-size`: one update by brute force, an independent solution, and the chain."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from chains import against, chains, realised
from scipy.integrate import solve_ivp
from scipy.linalg import expm, solve_continuous_lyapunov

import gmmdyn as gd
from gmmdyn.errors import ConvergenceError, IncompatibleError, RangeError, ShapeError
from gmmdyn_ode.finite_size.expansion import TERMS, expand
from gmmdyn_ode.finite_size.limit import Limit
from gmmdyn_ode.finite_size.linear import covariance_steps, halves, mean_steps
from gmmdyn_ode.state import State
from gmmdyn_ode.theory import ODE


def three_clusters(dim, variance=0.6):
    generator = torch.Generator().manual_seed(1)
    means = torch.randn(3, dim, generator=generator, dtype=torch.float64) * 1.2
    return gd.data_model(
        "isotropic", means=means, labels=[-1, 1, 1], priors=[0.5, 0.2, 0.3], variance=variance
    )


def committee(dim, activation="relu", **options):
    options = {"hidden": 2, "init_scale": 0.8, "seed": 4, "dtype": "float64", **options}
    return gd.network("committee", dim=dim, activation=activation, **options)


def ring(dim, learning_rate=0.5, **settings):
    return gd.Experiment(
        gd.data_model("ring", dim=dim, clusters_per_label=1, variance=0.2),
        committee(dim, "erf", seed=1, init_scale=1.0),
        gd.OnlineSGD(learning_rate, 0.01, **settings),
    )


def warm_xor(dim, hidden, after):
    """XOR from a state past the saddle, the same order parameters at every D."""
    cold = gd.Experiment(
        gd.data_model("xor", dim=4000, variance=0.05),
        committee(4000, hidden=hidden, init_scale=0.7, seed=1),
        gd.OnlineSGD(0.5, 0.01),
    )
    state = cold.solve("ode", times=[0, after]).order_parameters(-1)
    mixture = gd.data_model("xor", dim=dim, variance=0.05)
    return gd.Experiment(mixture, realised(mixture, state, "relu"), cold.algorithm)


def shared(dim):
    means = torch.randn(2, dim, generator=torch.Generator().manual_seed(0))
    return {"means": means, "labels": [-1, 1], "spectrum": np.linspace(0.5, 1.5, dim)}


def limit_of(experiment, integrator="auto"):
    parts = experiment.data_model, experiment.network, experiment.algorithm
    return Limit.of(ODE(integrator=integrator), *parts, None)


def updates(experiment, count, seed):
    """D times the changes of the coordinates by one update of the real network, shape (n, count).

    Coordinates are Q_kl for k ≤ l, overlaps with an orthonormal basis of the means, v and b.
    """
    mixture, network, algorithm = experiment.data_model, experiment.network, experiment.algorithm
    dim, hidden = network.dim, network.hidden
    generator = torch.Generator().manual_seed(seed)
    axes = limit_of(experiment).coordinates.axes  # (C, r)
    basis = torch.linalg.pinv(axes) @ mixture.means.double() / dim**0.5  # (r, D)
    eta, kappa = float(algorithm.rate(0.0)), algorithm.weight_decay
    one, other = torch.triu_indices(hidden, hidden)
    with torch.no_grad():
        batch = mixture.sample(count, generator, torch.float64)
        wrong = torch.rand(count, generator=generator) < algorithm.label_noise
        labels = torch.where(wrong, -batch.labels, batch.labels)
        w, v, b = network.first_layer, network.readout, network.bias
        plain = batch.inputs @ w.T / dim**0.5
        fields = plain + b
        g, slope = network.activation(fields), network.activation.derivative(fields)
        delta = (labels - g @ v).unsqueeze(1)
        decay = 1 - eta * kappa / dim
        new = decay * w + eta / dim**0.5 * (v * slope * delta).unsqueeze(
            2
        ) * batch.inputs.unsqueeze(1)
        q = new @ new.mT / dim - w @ w.T / dim
        m = (new - w) @ basis.T / dim**0.5  # (count, K, r)
        moved = [
            q[:, one, other],
            m.mT.flatten(1),
            (decay - 1) * v + eta / dim * delta * g,
            (decay - 1) * b + eta / dim * v * slope * delta,
        ]
    return dim * torch.cat(moved, 1)


@pytest.mark.parametrize("activation", ["relu", "erf"])
def test_the_drift_of_one_update_is_that_of_the_limit_and_its_1_over_d_part_and_nothing_more(
    activation,
):
    dim = 6  # so small that any term of order 1/D² would be seen
    experiment = gd.Experiment(
        three_clusters(dim),
        committee(dim, activation, bias=[0.3, -0.2]),
        gd.OnlineSGD(0.9, 0.4, label_noise=0.2),
    )
    limit = limit_of(experiment, gd.integrator("sobol", log2_samples=16))
    x, when = limit.coordinates.flat(limit.problem.initial)[None], torch.zeros(1)
    with torch.no_grad():
        drift, exact = limit.drift.rates(when, x)[0], limit.drift.exact(when, x)[0]
    parts = [updates(experiment, 250_000, seed) for seed in range(4)]
    mean = torch.stack([part.mean(0) for part in parts]).mean(0)
    error = torch.cat(parts).std(0) / 1e3
    assert ((mean - drift - exact / dim).abs() / error).max() < 4
    assert ((mean - drift).abs() / error).max() > 20
    assert bool((exact[3:] == 0).all())  # Q alone has one


def test_the_noise_is_the_covariance_of_one_update():
    dim = 200
    experiment = gd.Experiment(
        three_clusters(dim),
        committee(dim, bias=[0.3, -0.2]),
        gd.OnlineSGD(0.9, 0.4, label_noise=0.2),
    )
    limit = limit_of(experiment)
    x = limit.coordinates.flat(limit.problem.initial)[None]
    with torch.no_grad():
        noise = limit.noise.covariances(torch.zeros(1), x)[0]
    changes = torch.cat([updates(experiment, 5_000, seed) for seed in range(40)])
    direct = changes.T.cov()
    size = direct.diagonal().sqrt()
    assert size.min() > 0.05
    correlated = (noise - direct) / (size[:, None] * size)
    # Heavy tails: 2 % of the quasi-random points and as much of the samples.
    assert correlated.abs().max() < 0.05


def test_steps_of_constant_coefficients_are_exact_however_fast_the_decay():
    generator = np.random.default_rng(0)
    slope = generator.standard_normal((4, 4)) - 3 * np.eye(4)
    slope[0] *= 1e4
    root = generator.standard_normal((4, 4))
    noise, force = root @ root.T, generator.standard_normal(4)
    still = [np.broadcast_to(value, (3, 1, *value.shape)) for value in (slope, noise, force)]
    for length in (1e-5, 0.3, 20.0):
        lengths = np.array([length])
        step = covariance_steps(still[0], still[1], lengths)
        grown = expm(length * slope)
        rest = solve_continuous_lyapunov(slope, -noise)
        np.testing.assert_allclose(step.carried[0], grown, atol=1e-9)
        expected = rest - grown @ rest @ grown.T
        np.testing.assert_allclose(step.gathered[0], expected, rtol=1e-6, atol=1e-12)
        added = mean_steps(still[0], still[2], lengths)[0]
        np.testing.assert_allclose(
            added, np.linalg.solve(slope, (grown - np.eye(4)) @ force), rtol=1e-6, atol=1e-12
        )


def test_steps_are_of_fourth_order_in_coefficients_that_move():
    def at(t):
        return np.array([[-1 + np.sin(t), 0.5 * t], [np.cos(2 * t), -0.3 * t]])

    def noise(t):
        return np.array([[1 + t, 0.2], [0.2, 0.5 + np.sin(t) ** 2]])

    def rate(t, y):
        c = y[:4].reshape(2, 2)
        return np.concatenate([(at(t) @ c + c @ at(t).T + noise(t)).ravel(), at(t) @ y[4:] + t])

    exact = solve_ivp(rate, (0, 2), np.zeros(6), rtol=1e-11, atol=1e-12).y[:, -1]
    wrong = []
    for count in (8, 16):
        ends = np.linspace(0, 2, count + 1)
        known = np.stack([ends[:-1], (ends[:-1] + ends[1:]) / 2, ends[1:]])
        j, b = (np.array([[f(t) for t in row] for row in known]) for f in (at, noise))
        force = np.repeat(known[..., None], 2, -1)
        lengths = np.diff(ends) / 2
        maps = [covariance_steps(*part, lengths) for part in zip(halves(j), halves(b), strict=True)]
        added = [mean_steps(*part, lengths) for part in zip(halves(j), halves(force), strict=True)]
        c, m = np.zeros((2, 2)), np.zeros(2)
        for i in range(count):
            for step, more in zip(maps, added, strict=True):
                c = step.carried[i] @ c @ step.carried[i].T + step.gathered[i]
                m = step.carried[i] @ m + more[i]
        wrong.append(np.abs(np.concatenate([c.ravel(), m]) - exact).max())
    assert wrong[1] < 1e-4
    assert wrong[0] / wrong[1] > 10  # 16 for fourth order


def test_the_expansion_is_that_of_plain_equations_with_every_second_derivative():
    """Small steps of the equations as they are written, with the whole Hessian by differences."""
    schedule = gd.Schedule([0, 1], [1.5, 0.5])
    experiment = gd.Experiment(
        gd.data_model("ring", dim=100, clusters_per_label=1, variance=0.2),
        committee(100, "erf", hidden=1, init_scale=1.0),
        gd.OnlineSGD(schedule, 0.1),
    )
    limit = limit_of(experiment)
    times = np.array([0.0, 0.4, 2.0])
    with torch.no_grad():
        found = expand(times, limit.path(times), limit.drift, limit.coordinates)
    start = limit.coordinates.flat(limit.problem.initial)
    n = len(start)

    def drift(t, points):
        with torch.no_grad():
            return limit.drift.rates(
                torch.full((len(points),), t), torch.from_numpy(points)
            ).numpy()

    unit, h = np.eye(n), 1e-3

    def rate(t, y):
        x, c, m, phi = y[:n], y[n : n + n * n].reshape(n, n), y[n + n * n : 2 * n + n * n], None
        phi = y[2 * n + n * n :].reshape(n, n)
        shifts = np.array([a * unit[i] + b * unit[j] for i in range(n) for j in range(n)
                           for a in (h, -h) for b in (h, -h)])  # fmt: skip
        values = drift(t, x + shifts).reshape(n, n, 2, 2, n)
        hessian = (values[..., 0, 0, :] - values[..., 0, 1, :] - values[..., 1, 0, :]
                   + values[..., 1, 1, :]) / (4 * h * h)  # fmt: skip
        slope = ((drift(t, x + h * unit) - drift(t, x - h * unit)) / (2 * h)).T
        flow = drift(t, x[None])[0]
        passing = (drift(t + 1e-4, x[None]) - drift(t - 1e-4, x[None]))[0] / 2e-4
        when, where = torch.tensor([t]), torch.from_numpy(x)[None]
        with torch.no_grad():
            noise = limit.noise.covariances(when, where)[0].numpy()
            exact = limit.drift.exact(when, where)[0].numpy()
        force = 0.5 * np.einsum("ij,ijk->k", c, hessian) + exact - 0.5 * (slope @ flow + passing)
        return np.concatenate(
            [flow, (slope @ c + c @ slope.T + noise).ravel(), slope @ m + force,
             (slope @ phi).ravel()]
        )  # fmt: skip

    y = np.concatenate([start.numpy(), np.zeros(n * n), np.zeros(n), unit.ravel()])
    for i, (a, b) in enumerate(((0.0, 0.4), (0.4, 1.0), (1.0, 2.0))):
        y = solve_ivp(rate, (a, b), y, rtol=1e-6, atol=1e-8).y[:, -1]
        if b in times:
            k = int(np.flatnonzero(times == b)[0])
            scale = np.abs(found.shift[k]).max()
            np.testing.assert_allclose(found.limit[k], y[:n], atol=1e-5)
            np.testing.assert_allclose(
                found.covariance[k].ravel(), y[n : n + n * n], atol=2e-3 * found.covariance[k].max()
            )
            np.testing.assert_allclose(
                found.shift[k], y[n + n * n : 2 * n + n * n], atol=5e-3 * scale
            )
        if i == 0:
            np.testing.assert_allclose(found.carried[1].ravel(), y[2 * n + n * n :], atol=1e-3)


def test_a_ring_fluctuates_as_predicted():
    experiment, times = ring(100), np.array([0, 0.5, 2, 5])
    curves = chains(experiment, times, 600, seed=8)
    predicted = experiment.solve("finite-size", times=times)
    assert predicted.metadata["gaussian_until"] == 5
    for i in (1, 2, 3):
        z, ratios = against(predicted, curves, i)
        assert z < 4
        assert ratios.min() > 0.88
        assert ratios.max() < 1.12
    measured = np.cov(curves["pmse"])
    size = np.sqrt(np.diag(measured)[1:])
    unlike = (predicted.covariance("pmse") - measured)[1:, 1:] / (size[:, None] * size)
    assert np.abs(unlike).max() < 0.15


def test_frozen_readouts_biases_wrong_labels_schedules_and_other_losses_are_in_the_equations():
    times = np.array([0, 1.0, 3.0])
    for settings in (
        {"train_readout": False, "label_noise": 0.2},
        {"loss": "logistic", "learning_rate": gd.Schedule([0, 1, 2], [0.3, 1.0, 0.5])},
    ):
        experiment = gd.Experiment(
            three_clusters(200),
            committee(200, "erf", bias=[0.3, -0.2], seed=2),
            gd.OnlineSGD(**{"learning_rate": 0.7, "weight_decay": 0.1, **settings}),
        )
        names = ["Q", "R", "b", *([] if "train_readout" in settings else ["v"])]
        curves = chains(experiment, times, 500, seed=12)
        predicted = experiment.solve("finite-size", times=times)
        for i in (1, 2):
            z, ratios = against(predicted, curves, i, names)
            assert z < 4.5, settings
            assert ratios.min() > 0.88, settings
            assert ratios.max() < 1.12, settings
        if "train_readout" in settings:
            assert np.all(predicted.spread["v"] == 0)
        else:
            assert np.all(predicted.spread["loss"][1:] > 0)


def test_one_expansion_serves_every_d():
    experiment, times = ring(100), [0, 1.0, 2.0]
    theory = gd.theory("finite-size")
    parts = experiment.data_model, experiment.network, experiment.algorithm
    expanded = theory.expand(*parts, times=times)
    asked = experiment.solve("finite-size", times=times, dim=400)
    np.testing.assert_array_equal(expanded.predict(400, 200, 0).pmse, asked.pmse)
    own = experiment.solve("finite-size", times=times)
    assert asked.metadata["solver"]["expanded_at"] == 400
    limit = experiment.solve("ode", times=times, infinite_dim=True)
    for name in ("Q", "R", "v"):
        np.testing.assert_allclose(2 * asked.spread[name], own.spread[name], rtol=1e-12)
        np.testing.assert_allclose(
            4 * (asked[name] - limit[name]), own[name] - limit[name], atol=1e-6
        )


def test_what_the_expansion_does_not_describe_is_refused():
    network, algorithm = committee(50), gd.OnlineSGD(0.1)
    for mixture, how, said in (
        (
            gd.data_model("xor", dim=50),
            {"algorithm": gd.OnlineSGD(0.1, batch_size=4)},
            "mini-batch",
        ),
        (gd.data_model("xor", dim=50, snr="high"), {}, "as long as its noise"),
        (gd.data_model("random-covariance", **shared(50)), {}, "isotropic"),
        (gd.data_model("xor", dim=50), {"integrator": "monte-carlo"}, "derivatives"),
    ):
        options = {key: value for key, value in how.items() if key == "integrator"}
        experiment = gd.Experiment(mixture, network, how.get("algorithm", algorithm))
        with pytest.raises(IncompatibleError, match=said):
            experiment.solve("finite-size", times=[0, 1], **options)
    with pytest.raises(RangeError):
        gd.theory("finite-size", dim=1)


def test_members_of_a_given_ensemble_follow_the_flow_of_the_limit_each_from_its_own_state():
    experiment = ring(200)
    drawn = experiment.solve("ode", times=[0, 1.0], ensemble=6)
    assert drawn.metadata["ensemble"] == {"members": 6, "from": 1.0}
    members = drawn.fluctuations.member
    states = gd.OrderParameters(Q=members["Q"][1], R=members["R"][1], v=members["v"][1])
    followed = experiment.solve("ode", times=[1.0, 3.0, 6.0], ensemble=states)
    for i in (0, 5):
        alone = experiment.solve(
            "ode", times=[1.0, 3.0, 6.0], initial=states.of(i), infinite_dim=True
        )
        for name in ("pmse", "Q", "v"):
            ours = followed.fluctuations.member[name][:, i]
            np.testing.assert_allclose(ours, alone[name], atol=1e-4)
    np.testing.assert_allclose(followed.quantile("pmse", 0), members_of(followed).min(1))
    np.testing.assert_allclose(followed.spread["pmse"], members_of(followed).std(1, ddof=1))
    np.testing.assert_allclose(
        np.diag(followed.covariance("pmse")), followed.spread["pmse"] ** 2, rtol=1e-9
    )
    with pytest.raises(ShapeError, match="first axis"):
        experiment.solve("ode", times=[1.0, 2.0], ensemble=states.of(0))
    with pytest.raises(RangeError, match="drop `initial`"):
        experiment.solve("ode", times=[1.0, 2.0], ensemble=states, initial=states.of(0))
    frozen = ring(200, train_readout=False)
    with pytest.raises(IncompatibleError, match="frozen"):
        frozen.solve("ode", times=[1.0, 2.0], ensemble=states)


def members_of(trajectory):
    return trajectory.fluctuations.member["pmse"]


def test_nearest_possible_states_are_possible_and_others_are_left_alone():
    limit = limit_of(warm_xor(100, 2, 1.0))
    inside = limit.coordinates.flat(limit.problem.initial)[None]
    assert bool((limit.coordinates.possible(inside) == inside).all())
    q, span, v, _ = limit.coordinates.parts(inside[0])
    q = span.T @ span + torch.tensor([[1.0, 2.0], [2.0, 1.0]], dtype=torch.float64)
    outside = limit.coordinates.flat(State(q[None], (limit.coordinates.axes @ span)[None], v, None))
    nearest, kept, *_ = limit.coordinates.parts(limit.coordinates.possible(outside))
    # eigenvalues 3 and -1 along (1, 1) and (1, -1)
    expected = span.T @ span + torch.full((2, 2), 1.5, dtype=torch.float64)
    torch.testing.assert_close(nearest, expected)
    torch.testing.assert_close(kept, span)


def test_members_that_take_too_many_steps_end_in_an_error():
    mixture, network = gd.data_model("xor", dim=50), committee(50)
    experiment = gd.Experiment(mixture, network, gd.OnlineSGD(20.0))
    state = network.order_parameters(mixture)
    two = gd.OrderParameters(
        Q=torch.stack([state.Q, 1e4 * state.Q]),
        R=torch.stack([state.R, 1e2 * state.R]),
        v=torch.stack([state.v, 1e4 * state.v]),
    )
    with pytest.raises(ConvergenceError, match="more steps") as caught:
        experiment.solve("ode", times=[0, 5], ensemble=two)
    assert caught.value.status == "evaluations"


@pytest.mark.science
@pytest.mark.parametrize(("hidden", "after"), [(2, 12), (4, 12)])
@pytest.mark.parametrize(("dim", "seed"), [(100, 21), (300, 22), (1000, 23)])
def test_networks_past_the_saddle_fluctuate_as_predicted(hidden, after, dim, seed):
    experiment, times = warm_xor(dim, hidden, after), np.array([0, 1.0, 4.0, 10.0, 20.0])
    curves = chains(experiment, times, 500, seed)
    predicted = experiment.solve("finite-size", times=times)
    assert predicted.metadata["gaussian_until"] == 20
    room = 0.12 if dim == 100 else 0.06
    sampled = 4 / np.sqrt(2 * 500)  # of a standard deviation from 500 chains
    for i in range(1, len(times)):
        z, ratios = against(predicted, curves, i)
        assert z < 4 + room * 10
        assert ratios.min() > 1 - room - sampled
        assert ratios.max() < 1 + room + sampled


@pytest.mark.science
def test_every_term_of_the_mean_is_needed():
    """At a large learning rate the ring shows all of them within one run."""
    experiment, times = ring(60, learning_rate=2.0), np.array([0, 0.5, 1.0, 2.0, 4.0])
    curves = chains(experiment, times, 20_000, seed=31, errors=False)
    limit = limit_of(experiment)

    def worst(terms):
        with torch.no_grad():
            found = expand(times, limit.path(times), limit.drift, limit.coordinates, terms)
        state = limit.overlaps(torch.from_numpy(found.limit + found.shift / 60))
        z = []
        for name in ("Q", "R", "v"):
            value = curves[name][1:]
            error = value.std(1) / len(value[0]) ** 0.5
            z.append((np.abs(value.mean(1) - state[name][1:]) / error).max())
        return max(z)

    assert worst(TERMS) < 8  # what is left is of order 1/D²
    for term in TERMS:
        assert worst([other for other in TERMS if other != term]) > 2 * worst(TERMS), term


@pytest.mark.science
def test_networks_that_leave_a_saddle_have_the_quantiles_of_the_ensemble():
    experiment = gd.Experiment(
        gd.data_model("xor", dim=1000, variance=0.05),
        committee(1000, hidden=4, init_scale=0.7, seed=1),
        gd.OnlineSGD(0.5, 0.01),
    )
    times = np.array([0, 1, 2, 3, 4, 5, 6, 7, 10, 14, 20.0])
    predicted = experiment.solve("finite-size", times=times, members=400)
    assert predicted.metadata["gaussian_until"] < 7
    curves = chains(experiment, times, 500, seed=41)
    for time in (4, 7, 20):
        i = int(np.flatnonzero(times == time)[0])
        for q in (0.05, 0.5, 0.95):
            measured = np.quantile(curves["pmse"][i], q)
            # The quantiles of 500 chains and 400 members have errors of their own.
            sizes = [np.std([np.quantile(part, q) for part in np.split(values[:400], 8)]) / 8**0.5
                     for values in (curves["pmse"][i], members_of(predicted)[i])]  # fmt: skip
            room = 0.02 * measured + 3 * np.hypot(*sizes)
            assert abs(predicted.quantile("pmse", q)[i] - measured) < room, (time, q)
