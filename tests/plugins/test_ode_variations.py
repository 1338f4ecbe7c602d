"""The equations of the variations of SGD: batches, schedules, label noise."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.integrate import solve_ivp

import gmmdyn as gd
from gmmdyn.errors import IncompatibleError
from gmmdyn_ode.problem import Problem


def experiment(dim, *, scale=1.5, activation="erf", **variations):
    generator = torch.Generator().manual_seed(1)
    means = torch.randn(3, dim, generator=generator, dtype=torch.float64) * scale
    mixture = gd.data_model(
        "isotropic", means=means, labels=[-1, 1, 1], priors=[0.5, 0.2, 0.3], variance=0.6
    )
    network = gd.network(
        "committee",
        dim=dim,
        hidden=2,
        activation=activation,
        bias=[0.2, -0.1],
        init_scale=0.8,
        seed=4,
        dtype="float64",
    )
    return gd.Experiment(mixture, network, gd.OnlineSGD(**{"learning_rate": 0.7, **variations}))


def one_update(experiment, count, time=0.0, seed=3):
    """Change of the order parameters in one update at rate eta(t), `count` times over, times D.

    The part of first order in the rate, and that of second order in dQ; decay is left out.
    """
    mixture, network, algorithm = experiment.data_model, experiment.network, experiment.algorithm
    dim, size = mixture.dim, algorithm.batch_size
    generator = torch.Generator().manual_seed(seed)
    batch = mixture.sample(count * size, generator, torch.float64)
    flips = torch.rand(count * size, generator=generator) < algorithm.label_noise
    labels = torch.where(flips, -batch.labels, batch.labels)
    with torch.no_grad():
        w, v, b = network.first_layer, network.readout, network.bias
        fields = batch.inputs @ w.T / dim**0.5 + b
        g, dg = network.activation(fields), network.activation.derivative(fields)
        output = (g @ v).unsqueeze(1)
        delta = algorithm.loss_function.signal(output, labels.unsqueeze(1))
        signal = v * dg * delta
        # Mean gradients of each batch, (count, K, D) and so on; dt = 1/D.
        gradient = (signal.unsqueeze(2) * batch.inputs.unsqueeze(1)).reshape(count, size, -1, dim)
        gradient = gradient.mean(1)
        eta = float(algorithm.rate(time))
        step = eta * gradient / dim**0.5
        dq = torch.einsum("nkd,ld->nkl", step, w)
        return {
            "R": torch.einsum("cd,nkd->nck", mixture.means, step),
            "Q": dq + dq.mT,
            "v": eta * (delta * g).reshape(count, size, -1).mean(1),
            "b": eta * signal.reshape(count, size, -1).mean(1),
        }, torch.einsum("nkd,nld->nkl", step, step)


POINTS = gd.integrator("sobol", log2_samples=10)
SCHEDULE = gd.Schedule([0.0, 2.0, 3.0], [0.5, 1.5, 0.0])


@pytest.mark.parametrize(
    ("time", "variations"),
    [
        (0.0, {"label_noise": 0.2}),
        (0.0, {"batch_size": 3}),
        (0.0, {"loss": "logistic"}),
        (1.0, {"learning_rate": SCHEDULE}),
        (
            2.5,
            {"learning_rate": SCHEDULE, "batch_size": 2, "label_noise": 0.1, "activation": "relu"},
        ),
    ],
)
def test_the_right_hand_side_is_the_mean_change_of_one_update(time, variations):
    dim, count = 40, 60_000
    tried = experiment(dim, weight_decay=0.2, **variations)
    theory = gd.theory("ode", integrator=gd.integrator("sobol", log2_samples=15))
    parts = (tried.data_model, tried.network, tried.algorithm)
    rates = theory.derivative(*parts, time=time)
    first, second = one_update(tried, count, time)
    first["Q"] = first["Q"] + second
    state = tried.network.order_parameters(tried.data_model)
    decay = {"R": state.R, "Q": 2 * state.Q, "v": state.v, "b": state.b}
    eta = float(tried.algorithm.rate(time))
    for name, value in first.items():
        mean = value.mean(0) - eta * 0.2 * decay[name]
        spread = value.std(0) / count**0.5
        # The theory neglects the correlation of |x|² with the fields, of order 1/D in dQ.
        room = 4 * spread + (0.015 if name == "Q" else 0)
        assert bool(((getattr(rates, name) - mean).abs() < room).all()), name


@pytest.mark.parametrize("size", [1, 2, 8])
@pytest.mark.parametrize("noise", [0.0, 0.3])
def test_the_noise_of_a_batch_at_high_snr(size, noise):
    """The second order in the rate alone; the means' share of |x|² is of order one."""
    dim, count = 100, 20_000
    tried = experiment(dim, scale=8.0, batch_size=size, label_noise=noise)
    _, second = one_update(tried, count)
    theory = gd.theory("ode", integrator=gd.integrator("sobol", log2_samples=14))

    def rate(eta):
        algorithm = gd.OnlineSGD(eta, batch_size=size, label_noise=noise)
        return theory.derivative(tried.data_model, tried.network, algorithm).Q

    # f(eta) = a eta + c eta²
    ours = (rate(1.4) - 2 * rate(0.7)) / 2
    mean, spread = second.mean(0), second.std(0) / count**0.5
    assert bool(((ours - mean).abs() < 4 * spread + 0.05 * mean.abs().max()).all())


def derivative(tried, algorithm, time=0.0):
    theory = gd.theory("ode", integrator=POINTS)
    return theory.derivative(tried.data_model, tried.network, algorithm, time=time)


def test_labels_that_are_wrong_half_the_time_say_nothing():
    tried = experiment(40)
    mixture = tried.data_model
    swapped = gd.data_model(
        "isotropic",
        means=mixture.means,
        labels=-mixture.labels,
        priors=mixture.priors,
        variance=0.6,
    )
    other = gd.Experiment(swapped, tried.network, tried.algorithm)
    for noise, same in ((0.5, True), (0.4, False)):
        algorithm = gd.OnlineSGD(0.7, label_noise=noise)
        one, two = derivative(tried, algorithm), derivative(other, algorithm)
        for name in ("Q", "R", "v", "b"):
            gap = (getattr(one, name) - getattr(two, name)).abs().max()
            assert (gap < 1e-12) == same, (noise, name)


def test_errors_are_those_on_true_labels():
    plain, noisy = experiment(40), experiment(40, label_noise=0.4)
    one, two = (e.solve("ode", times=[0, 2.0], integrator=POINTS) for e in (plain, noisy))
    assert one.pmse[0] == two.pmse[0]
    assert one.pmse[1] != two.pmse[1]


def test_a_schedule_with_one_rate_is_that_rate():
    schedule = gd.Schedule([1.0, 3.0], [0.7, 0.7])
    one = experiment(40).solve("ode", times=[0, 1.0, 4.0], integrator=POINTS)
    two = experiment(40, learning_rate=schedule).solve(
        "ode", times=[0, 1.0, 4.0], integrator=POINTS
    )
    np.testing.assert_allclose(one.pmse, two.pmse, rtol=1e-5)


@pytest.mark.parametrize("options", [{"rtol": 1e-8}, {"method": "rk4", "step": 0.06}])
def test_a_schedule_is_followed_over_its_kinks(options):
    """Against SciPy's solver on the derivative at each time; steps that miss a kink are off."""
    tried = experiment(40, learning_rate=gd.Schedule([0.5, 0.77, 1.3, 1.31], [0.2, 3, 2, 0.0]))
    integrator = gd.integrator("sobol", log2_samples=8)
    theory = gd.theory("ode", integrator=integrator, **options)
    times = [0.0, 1.0, 2.0]
    parts = (tried.data_model, tried.network, tried.algorithm)
    solved = theory.solve(*parts, times=times)
    start = tried.network.order_parameters(tried.data_model)

    def flat(state):
        return torch.cat([state.Q.flatten(), state.R.flatten(), state.v, state.b]).numpy()

    def field(time, y):
        q, r, v, b = torch.split(torch.from_numpy(y), [4, 6, 2, 2])
        state = gd.OrderParameters(Q=q.reshape(2, 2), R=r.reshape(3, 2), v=v, b=b)
        return flat(theory.derivative(*parts, state, time=time))

    y = flat(start)
    for begin, end in ((0, 0.5), (0.5, 0.77), (0.77, 1.3), (1.3, 1.31), (1.31, 2)):
        y = solve_ivp(field, (begin, end), y, method="RK45", rtol=1e-8, atol=1e-10).y[:, -1]
    ours = flat(solved.order_parameters(-1))
    np.testing.assert_allclose(ours, y, atol=1e-6 if "rtol" in options else 1e-4)
    # The rate has fallen to zero: nothing moves any more.
    assert np.abs(field(2.0, y)).max() == 0


def test_the_rate_of_a_problem_is_that_of_its_schedule():
    tried = experiment(20, learning_rate=SCHEDULE)
    problem = Problem.of(tried.data_model, tried.network, tried.algorithm)
    times = torch.tensor([-1.0, 0.0, 0.3, 2.0, 2.9, 3.0, 7.0, torch.inf], dtype=torch.float64)
    np.testing.assert_allclose(problem.rate(times), SCHEDULE(times.numpy()))
    batch = problem._replace(rates=torch.stack([problem.rates, 2 * problem.rates])).expanded()
    assert batch.batch_shape == (2,)
    np.testing.assert_allclose(batch.rate(1.0), [1.0, 2.0])
    np.testing.assert_allclose(batch.rate(torch.tensor([1.0, 2.0])), [1.0, 3.0])


@pytest.mark.parametrize(
    "variations",
    [
        {
            "learning_rate": gd.Schedule([0, 1, 3], [0.2, 1, 0.3]),
            "batch_size": 3,
            "label_noise": 0.1,
        },
        pytest.param({}, marks=pytest.mark.science),
        pytest.param({"learning_rate": SCHEDULE}, marks=pytest.mark.science),
        pytest.param({"batch_size": 4}, marks=pytest.mark.science),
        pytest.param({"label_noise": 0.2}, marks=pytest.mark.science),
        pytest.param({"loss": "logistic"}, marks=pytest.mark.science),
        pytest.param(
            {"loss": "logistic", "batch_size": 2, "label_noise": 0.1}, marks=pytest.mark.science
        ),
    ],
)
def test_simulations_lie_on_the_theory_of_their_variation(variations):
    """In standard errors over replicas, and well off the theory of plain SGD."""
    dim = 600
    mixture = gd.data_model("ring", dim=dim, clusters_per_label=1, variance=0.5)
    network = gd.network(
        "committee", dim=dim, hidden=3, init_scale=0.8, seed=4, bias=[0.1, -0.2, 0.3]
    )
    plain = {"learning_rate": 0.5, "weight_decay": 0.02}
    times = [0, 0.5, 1, 2, 3]
    tried = gd.Experiment(mixture, network, gd.OnlineSGD(**{**plain, **variations}))
    run = tried.simulate(times=times, replicas=16, seed=1, test_size=20_000)

    def z(name, algorithm):
        ode = gd.Experiment(mixture, network, algorithm).solve(times=times)
        # And the deviation of order 1/D.
        spread = np.hypot(run.standard_error(name), ode.standard_error(name)) + 0.5 / dim
        return ((run[name].mean(1) - ode[name]) / spread)[1:]

    names = ["pmse", "classification_error", "Q", "R", "v", "b"]
    if tried.algorithm.loss != "square":
        names.append("loss")
    for name in names:
        found = z(name, tried.algorithm)
        assert np.sqrt((found**2).mean()) < 1.7, name
        assert np.abs(found).max() < 4.5, name
    if variations:
        assert np.sqrt((z("pmse", gd.OnlineSGD(**plain)) ** 2).mean()) > 2.5


def test_the_logistic_loss_is_a_curve_of_its_own():
    tried = experiment(40, loss="logistic", label_noise=0.1)
    solved = tried.solve(times=[0, 1.0], integrator=POINTS)
    mixture, network = tried.data_model, tried.network
    batch = mixture.sample(200_000, torch.Generator().manual_seed(5), torch.float64)
    with torch.no_grad():
        values = tried.algorithm.loss_function.value(network(batch.inputs), batch.labels)
    spread = float(values.std()) / len(values) ** 0.5
    assert abs(solved["loss"][0] - float(values.mean())) < 4 * spread + 2e-3
    assert "loss" not in experiment(40).solve(times=[0, 1.0], integrator=POINTS).curves


def test_an_integrator_that_does_not_describe_the_loss_is_refused_before_any_work():
    tried = experiment(40, activation="erf", loss="logistic")
    with pytest.raises(IncompatibleError, match="square loss"):
        tried.check("ode", integrator="closed-form")
    tried.check("ode")
