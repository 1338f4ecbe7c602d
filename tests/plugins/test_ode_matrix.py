"""The equations for covariances that differ between clusters and do not commute."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.linalg import expm

import gmmdyn as gd
from gmmdyn.errors import IncompatibleError
from gmmdyn_ode.differentiable import integrate_with_torchdiffeq
from gmmdyn_ode.dynamics import Dynamics
from gmmdyn_ode.matrix import MatrixDynamics, MatrixProblem
from gmmdyn_ode.noise import Blocks, Modes, blocks_of, noise_of
from gmmdyn_ode.problem import Problem
from gmmdyn_ode.solver import Settings

LABELS, PRIORS = [-1, -1, 1, 1], [0.1, 0.4, 0.2, 0.3]


def normals(*shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def rotation(dim, seed=0):
    return torch.linalg.qr(normals(dim, dim, seed=seed))[0]


def clusters(dim, seed=1, **options):
    """Four clusters with covariances of their own, some of them singular."""
    factor = normals(4, dim, dim // 2 + 1, seed=seed) / dim**0.5
    factor = factor * torch.tensor([0.5, 1.0, 1.5, 2.0], dtype=torch.float64)[:, None, None]
    settings = {"means": 1.5 * normals(4, dim, seed=seed + 1), "labels": LABELS, "factor": factor}
    return gd.data_model("random-covariance", **settings, priors=PRIORS, **options)


def committee(dim, activation="relu", hidden=3, **options):
    options = {"init_scale": 0.8, "seed": 4, "bias": [0.2, -0.1, 0.3][:hidden], **options}
    return gd.network(
        "committee", dim=dim, hidden=hidden, activation=activation, dtype="float64", **options
    )


def integrator(activation, log2):
    name = "preintegrated" if activation == "relu" else "sobol"
    return gd.integrator(name, **{("log2_lines" if activation == "relu" else "log2_samples"): log2})


@pytest.mark.parametrize("activation", ["relu", "erf"])
def test_the_right_hand_side_is_the_mean_change_of_one_sgd_step(activation):
    """Brute force: mean weights in every direction, the noise along a random matrix, v and b."""
    dim, count = 30, 200_000
    mixture, network = clusters(dim), committee(dim, activation).requires_grad_(False)
    algorithm = gd.OnlineSGD(0.7, 0.2)
    problem = MatrixProblem.of(mixture, blocks_of(mixture), network, algorithm)
    rule = integrator(activation, 12)
    rule.prepare(3)
    rates = MatrixDynamics(problem, rule).derivative(0.0, problem.initial)
    (group,) = problem.blocks  # generic covariances have nothing in common
    drift = rates.mean[0][0] @ group.basis[0].T
    probe = normals(dim, dim, seed=9)
    probe = probe + probe.T
    turned = group.basis[0].T @ probe @ group.basis[0]
    spread = rates.spread[0][0].reshape(3, dim, 3, dim)

    batch = mixture.sample(count, torch.Generator().manual_seed(1), torch.float64)
    w, v, b = network.first_layer, network.readout, network.bias
    fields = batch.inputs @ w.T / dim**0.5 + b
    g, dg = network.activation(fields), network.activation.derivative(fields)
    delta = (batch.labels - g @ v).unsqueeze(1)
    signal = v * dg * delta  # (n, K)
    eta, kappa = algorithm.learning_rate, algorithm.weight_decay
    unit = torch.eye(dim, dtype=torch.float64)
    second = mixture.covariance_product(unit)
    second = second + mixture.means[:, :, None] * mixture.means[:, None, :] / dim
    along = (second * probe).sum((1, 2))[batch.clusters] / dim
    samples = {
        "mean": eta * dim**0.5 * signal.unsqueeze(2) * batch.inputs.unsqueeze(1),
        "spread": eta**2 * signal.unsqueeze(2) * signal.unsqueeze(1) * along[:, None, None],
        "v": eta * delta * g,
        "b": eta * signal,
    }
    found = {
        "mean": drift + eta * kappa * w,
        "spread": torch.einsum("kmln,mn->kl", spread, turned) / dim,
        "v": rates.v + eta * kappa * v,
        "b": rates.b + eta * kappa * b,
    }
    for name, value in samples.items():
        gap = (found[name] - value.mean(0)) / (value.std(0) / count**0.5)
        assert float(gap.abs().max()) < 4.5, name


@pytest.mark.parametrize("kind", ["isotropic", "shared", "dense"])
def test_it_is_the_modes_form_where_covariances_commute(kind):
    """With a schedule, mini-batches, label noise, decay and bias; also as one large block."""
    dim = 16
    variances = 0.2 + torch.rand(4, dim, generator=torch.Generator().manual_seed(3)).double()
    if kind == "isotropic":
        variances[:] = 0.6
    elif kind == "shared":
        variances[:] = variances[0]
    turn = rotation(dim, 5)
    mixture = gd.data_model(
        "random-covariance",
        means=normals(4, dim, seed=2) * 1.5,
        labels=LABELS,
        priors=PRIORS,
        covariance=turn @ torch.diag_embed(variances) @ turn.T,
    )
    assert mixture.covariance_structure == "general"
    assert isinstance(noise_of(mixture), Modes)
    network = committee(dim, "erf", hidden=2)
    algorithm = gd.OnlineSGD(
        gd.Schedule([0.0, 1.0], [0.9, 0.4]), 0.1, batch_size=3, label_noise=0.1
    )
    rule = gd.integrator("sobol", log2_samples=5)
    rule.prepare(2)
    modes, blocks = Problem.of(mixture, network, algorithm), blocks_of(mixture)
    if kind == "dense":
        other = rotation(dim, 6)
        unit = mixture.covariance_product(other.T)  # (C, D, D), rows are directions
        blocks = (Blocks(other[None], (mixture.means @ other)[:, None], (unit @ other)[:, None]),)
    matrices = MatrixProblem.of(mixture, blocks, network, algorithm)
    if kind == "shared":  # without the means' share of the inputs' length
        modes, matrices = (p._replace(inverse_dim=0 * p.inverse_dim) for p in (modes, matrices))
    assert matrices.blocks[-1].size == (dim if kind == "dense" else 1)
    settings = Settings("dopri5", 1e-9, 1e-11, None, 1000)
    times = torch.tensor([0.0, 1.5], dtype=torch.float64)
    ends = []
    for problem, equations in (
        (modes, Dynamics(modes, rule)),
        (matrices, MatrixDynamics(matrices, rule)),
    ):
        start = problem.initial
        end = start.unpack(follow(equations, start, times, settings)[-1])
        ends.append((equations.overlaps(end), equations.overlap_rates(0.7, end), end))
    for one, two in zip(ends[0][:2], ends[1][:2], strict=True):
        for name in ("Q", "R", "v", "b"):
            torch.testing.assert_close(getattr(one, name), getattr(two, name), atol=1e-6, rtol=0)
    assert max(float(s.abs().max()) for s in ends[1][2].spread) > 0.02


def follow(equations, start, times, settings):
    """Return the flat states at some times."""
    return integrate_with_torchdiffeq(
        lambda t, flat: equations.derivative(t, start.unpack(flat)).pack(),
        start.pack(),
        times,
        settings,
        times[:0],
        start.sizes(),
    ).states


def test_blocks_put_the_covariances_together_again():
    sizes, turn = [1, 1, 1, 2, 2, 4], rotation(11, 7)
    parts = [normals(3, n, n, seed=n + i) for i, n in enumerate(sizes)]
    parts[0] = torch.zeros(3, 1, 1, dtype=torch.float64)  # a direction that never varies
    covariances = torch.stack(
        [turn @ torch.block_diag(*(p[a] @ p[a].T for p in parts)) @ turn.T for a in range(3)]
    )
    mixture = gd.data_model(
        "random-covariance",
        means=normals(3, 11, seed=1),
        labels=[-1, 1, 1],
        covariance=covariances,
    )
    found = blocks_of(mixture)
    assert [(len(g.basis), g.size) for g in found] == [(3, 1), (2, 2), (1, 4)]
    built = sum(torch.einsum("nDd,cnde,nEe->cDE", g.basis, g.covariances, g.basis) for g in found)
    torch.testing.assert_close(built, covariances, atol=1e-9, rtol=0)
    basis = torch.cat([g.basis.permute(1, 0, 2).flatten(1) for g in found], 1)
    torch.testing.assert_close(basis @ basis.T, torch.eye(11, dtype=torch.float64))
    for group in found:
        expected = torch.einsum("cD,nDd->cnd", mixture.means, group.basis)
        torch.testing.assert_close(group.means, expected)


def linear_solution(mixture, network, algorithm, times):
    """One linear unit, readout 1 and frozen: the exact solution of a linear equation.

    Its state is (1, w, w wᵀ, S); with Delta = y - lambda every moment is elementary.
    """
    dim, eta, kappa = mixture.dim, algorithm.learning_rate, algorithm.weight_decay
    p, y, mu = (x.numpy() for x in (mixture.priors, mixture.labels, mixture.means))
    unit = torch.eye(dim, dtype=torch.float64)
    omega = mixture.covariance_product(unit).expand(len(p), dim, dim).numpy()
    average = np.einsum("a,amn->mn", p, omega) + kappa * np.eye(dim)
    pull = eta * np.einsum("a,a,am->m", p, y, mu)
    slope = -eta * (average + np.einsum("a,am,an->mn", p, mu, mu) / dim)

    def rate(x):
        one, w, ww, s = np.split(x, [1, 1 + dim, 1 + dim + dim**2])
        ww, s = ww.reshape(dim, dim), s.reshape(dim, dim)
        dww = slope @ ww + ww @ slope.T + np.outer(pull, w) + np.outer(w, pull)
        ds = -eta * (average @ s + s @ average)
        for a in range(len(p)):
            # E[Delta²] of the cluster
            square = one[0] * y[a] ** 2 - 2 * y[a] * mu[a] @ w / dim + mu[a] @ ww @ mu[a] / dim**2
            square += np.trace(omega[a] @ (ww + s)) / dim
            ds = ds + eta**2 * p[a] * square * (omega[a] + np.outer(mu[a], mu[a]) / dim)
        return np.concatenate([[0.0], pull * one[0] + slope @ w, dww.ravel(), ds.ravel()])

    matrix = np.array([rate(column) for column in np.eye(1 + dim + 2 * dim**2)]).T
    w = network.first_layer.detach().numpy()[0]
    start = np.concatenate([[1.0], w, np.outer(w, w).ravel(), np.zeros(dim**2)])
    rows = []
    for time in times:
        x = expm(matrix * time) @ start
        w, second = x[1 : 1 + dim], (x[1 + dim :].reshape(2, dim, dim)).sum(0)
        variance = np.einsum("amn,mn->a", omega, second - np.outer(w, w)) / dim
        variance += np.einsum("m,amn,n->a", w, omega, w) / dim
        pmse = 0.5 * p @ ((y - mu @ w / dim) ** 2 + variance)
        rows.append([pmse, np.trace(second) / dim, *(mu @ w / dim)])
    return np.array(rows)


@pytest.mark.parametrize("kind", ["isotropic", "shared", "general"])
def test_a_linear_unit_follows_its_closed_form_solution(kind):
    dim, means, labels = 6, 1.5 * normals(3, 6, seed=3), [-1, 1, 1]
    common = {"means": means, "labels": labels, "priors": [0.5, 0.2, 0.3]}
    if kind == "isotropic":
        mixture = gd.data_model("isotropic", **common, variance=0.4)
    else:
        factor = normals(3, dim, dim, seed=8) / dim**0.5
        mixture = gd.data_model(
            "random-covariance", **common, factor=factor if kind == "general" else factor[0]
        )
    network = committee(dim, "linear", hidden=1, bias=False, readout="ones")
    algorithm = gd.OnlineSGD(0.5, 0.05, train_readout=False)
    times = np.array([0.0, 0.5, 2.0, 8.0])
    expected = linear_solution(mixture, network, algorithm, times)
    theory = gd.theory("ode", integrator="preintegrated", rtol=1e-9)
    solved = theory.solve(mixture, network, algorithm, times=times)
    np.testing.assert_allclose(solved.pmse, expected[:, 0], rtol=1e-6)
    np.testing.assert_allclose(solved["Q"][:, 0, 0], expected[:, 1], rtol=1e-6)
    np.testing.assert_allclose(solved["R"][:, :, 0], expected[:, 2:], atol=1e-6)
    assert np.ptp(expected[:, 0]) > 0.1  # the problem moves


def rates_of(mixture, network):
    theory = gd.theory("ode", integrator=gd.integrator("preintegrated", log2_lines=9))
    return theory.derivative(mixture, network, gd.OnlineSGD(0.4, 0.1))


def rebuilt(mixture, means=None, covariance=None, labels=LABELS, priors=PRIORS):
    unit = torch.eye(mixture.dim, dtype=torch.float64)
    return gd.data_model(
        "random-covariance",
        means=mixture.means if means is None else means,
        labels=labels,
        priors=priors,
        covariance=mixture.covariance_product(unit) if covariance is None else covariance,
    )


def test_rotating_the_inputs_changes_nothing():
    mixture, network, turn = clusters(14), committee(14), rotation(14, 3)
    unit = torch.eye(14, dtype=torch.float64)
    covariance = turn @ mixture.covariance_product(unit) @ turn.T
    turned = rebuilt(mixture, mixture.means @ turn.T, covariance)
    weights = network.first_layer.detach()
    moved = gd.network(
        "committee",
        first_layer=weights @ turn.T,
        readout=network.readout.detach(),
        bias=network.bias.detach(),
        activation="relu",
        dtype="float64",
    )
    one, two = rates_of(mixture, network), rates_of(turned, moved)
    for name in ("Q", "R", "v", "b"):
        torch.testing.assert_close(getattr(one, name), getattr(two, name), atol=1e-8, rtol=0)


def test_relabelling_units_and_clusters_relabels_the_derivative():
    mixture, network = clusters(14), committee(14)
    units, order = [2, 0, 1], [3, 1, 0, 2]
    unit = torch.eye(14, dtype=torch.float64)
    shuffled = rebuilt(
        mixture,
        mixture.means[order],
        mixture.covariance_product(unit)[order],
        [LABELS[i] for i in order],
        [PRIORS[i] for i in order],
    )
    moved = gd.network(
        "committee",
        first_layer=network.first_layer.detach()[units],
        readout=network.readout.detach()[units],
        bias=network.bias.detach()[units],
        activation="relu",
        dtype="float64",
    )
    one, two = rates_of(mixture, network), rates_of(shuffled, moved)
    # Drift is in closed form; the noise in Q meets other lines.
    torch.testing.assert_close(two.R, one.R[order][:, units], atol=1e-9, rtol=0)
    torch.testing.assert_close(two.v, one.v[units], atol=1e-9, rtol=0)
    torch.testing.assert_close(two.Q, one.Q[units][:, units], atol=1e-3, rtol=0)


def test_splitting_a_cluster_in_two_changes_nothing():
    mixture, network = clusters(14), committee(14)
    unit = torch.eye(14, dtype=torch.float64)
    twice = [0, 1, 2, 3, 1]
    split = rebuilt(
        mixture,
        mixture.means[twice],
        mixture.covariance_product(unit)[twice],
        [LABELS[i] for i in twice],
        [0.1, 0.25, 0.2, 0.3, 0.15],
    )
    one, two = rates_of(mixture, network), rates_of(split, network)
    torch.testing.assert_close(one.R, two.R[:4], atol=1e-10, rtol=0)
    for name in ("Q", "v", "b"):
        torch.testing.assert_close(getattr(one, name), getattr(two, name), atol=1e-10, rtol=0)


def test_simulation_lies_on_the_theory():
    """Within 4 standard errors plus a term of order 1/D."""
    dim = 80
    mixture, network = clusters(dim), committee(dim, "erf", hidden=2)
    experiment = gd.Experiment(mixture, network, gd.OnlineSGD(0.5, 0.05))
    times = [0, 1, 3, 8]
    run = experiment.simulate(times=times, replicas=16, test_size=4_000)
    rule = gd.integrator("sobol", log2_samples=10)
    ode = experiment.solve("ode", times=times, integrator=rule, rtol=1e-4)
    for name in ("pmse", "classification_error", "Q", "R", "v", "b"):
        gap = np.abs(run[name].mean(1) - ode[name])
        assert (gap < 4 * run.standard_error(name) + 6 / dim).all(), (name, gap.max())
    assert ode.pmse[0] - ode.pmse[-1] > 0.1


@pytest.mark.science
def test_digits_with_a_covariance_for_each_class_lie_on_their_theory():
    mixture = gd.data_model("from-data", source="digits", covariance="per-class")
    assert mixture.covariance_structure == "general"
    network = gd.network("committee", dim=64, hidden=4, init_scale=0.5, seed=0)
    experiment = gd.Experiment(mixture, network, gd.OnlineSGD(0.1, 0.01))
    times = [0, 1, 6, 24, 100]
    run = experiment.simulate(times=times, replicas=20)
    ode = experiment.solve("ode", times=times)
    for name in ("pmse", "classification_error"):
        gap = np.abs(run[name].mean(1) - ode[name])
        assert (gap < 4 * run.standard_error(name) + 0.2 / 64).all(), (name, gap)


def test_covariances_that_do_not_commute_are_no_problem_in_modes():
    mixture = clusters(10)
    assert not isinstance(noise_of(mixture), Modes)
    with pytest.raises(IncompatibleError, match="do not commute, so that its noise has no modes"):
        Problem.of(mixture, committee(10), gd.OnlineSGD(0.1))


def test_what_takes_too_long_is_refused_with_a_sentence():
    mixture = clusters(120)
    with pytest.raises(IncompatibleError, match=r"K = 20 and D = 120.*simulate it instead"):
        gd.theory("ode").check(mixture, committee(120, hidden=20, bias=False), gd.OnlineSGD(0.1))
    network = committee(120)
    state = network.order_parameters(mixture)
    with pytest.raises(IncompatibleError, match="start the theory from the weights"):
        gd.theory("ode").derivative(mixture, network, gd.OnlineSGD(0.1), state)
