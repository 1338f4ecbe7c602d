"""The equations for noise that differs between directions."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import gmmdyn as gd
from gmmdyn.errors import IncompatibleError
from gmmdyn.interfaces import GaussianMixture, PrincipalAxes
from gmmdyn_ode.dynamics import Dynamics
from gmmdyn_ode.noise import noise_of
from gmmdyn_ode.problem import Problem


def shared_case(arrays, rho):
    """The experiment of a reference file: inputs z @ F + mean, so that the covariance is FᵀF."""
    factor = torch.tensor(arrays["F"], dtype=torch.float64)
    means = torch.tensor(arrays["mus"].reshape(-1, len(factor)), dtype=torch.float64)
    half = len(means) // 2
    mixture = gd.data_model(
        "random-covariance",
        means=means,
        labels=[-1.0] * half + [1.0] * half,
        priors=[(1 - rho) / half] * half + [rho / half] * half,
        covariance=factor.T @ factor,
    )
    network = gd.network(
        "committee", first_layer=arrays["W"], readout=arrays["v"], activation="erf", dtype="float64"
    )
    return mixture, network


@pytest.mark.parametrize("name", ["ac_N100_NG1_K2.npz", "ac_N100_NG2_K2.npz"])
def test_the_right_hand_side_of_each_mode_is_that_of_the_2021_code(reference, name):
    arrays = reference(name)
    cases = sorted({key.split("/")[0] for key in arrays if key.startswith("rhs_")})
    z = []
    for case in cases:
        rate, decay, rho = (float(part.strip("lregho")) for part in case.split("_")[1:])
        mixture, network = shared_case(arrays, rho)
        modes = noise_of(mixture)
        # Their eigenvectors are in single precision, ours in double, in increasing order.
        order = np.argsort(arrays["Masses"])
        np.testing.assert_allclose(modes.variances[0].numpy(), arrays["Masses"][order], atol=2e-5)
        integrator = gd.integrator("sobol", log2_samples=15)
        integrator.prepare(2)
        algorithm = gd.OnlineSGD(rate, decay)
        problem = Problem.of(mixture, network, algorithm)
        r = problem.initial.r
        np.testing.assert_allclose(r.permute(1, 2, 0).numpy(), arrays["r"][..., order], atol=2e-2)
        rates = Dynamics(problem, integrator).derivative(0.0, problem.initial)
        ours = {"dr": rates.r.permute(1, 2, 0), "dq": rates.q.permute(1, 2, 0)}
        for key, value in ours.items():
            mean = arrays[f"{case}/{key}_mean"][..., order]
            spread = arrays[f"{case}/{key}_se"][..., order]
            # The mean over modes, which no eigenvector enters, in standard errors; they leave
            # out the mean's share of |x|²/D, of order 1/D.
            gap = value.numpy().mean(-1) - mean.mean(-1)
            room = 4 * spread.mean(-1) + (0 if key == "dr" else 2 * rate**2 / 100)
            assert (np.abs(gap) < room + 1e-5).all(), (case, key)
            # Mode by mode, to what single-precision eigenvectors allow.
            scale = np.abs(mean).max()
            np.testing.assert_allclose(value.numpy(), mean, atol=0.02 * scale)
        z.append((rates.v.numpy() - arrays[f"{case}/dv_mean"]) / (arrays[f"{case}/dv_se"] + 1e-6))
    assert np.abs(z).max() < 4


def test_the_solution_follows_the_2021_trajectory(reference):
    start, arrays = reference("ac_N100_NG1_K2.npz"), reference("ac_traj_N100_NG1_K2.npz")
    mixture, network = shared_case(start, float(arrays["rho"]))
    experiment = gd.Experiment(
        mixture, network, gd.OnlineSGD(float(arrays["lr"]), float(arrays["reg"]))
    )
    rows = [0, 20, 100, 400, 1999]
    times = arrays["t"][rows]
    if times[0] > 0:
        times = np.concatenate([[0.0], times])
    solved = experiment.solve("ode", times=times, integrator="sobol")
    curves = {"pmse": "mse", "classification_error": "cls_erf", "R": "M", "v": "v"}
    for ours, theirs in curves.items():
        gap = solved[ours][-len(rows) :] - arrays[theirs][rows]
        # 10,000 samples, Euler steps of 0.01, and no T/D in |x|²/D.
        assert np.abs(gap).max() < 0.01, ours
    assert np.ptp(arrays["mse"]) > 0.1


def test_an_isotropic_covariance_given_as_a_matrix_is_one_mode():
    xor = gd.data_model("xor", dim=30, variance=0.3)
    dense = gd.data_model(
        "random-covariance",
        means=xor.means,
        labels=xor.labels,
        covariance=0.3 * torch.eye(30, dtype=torch.float64),
    )
    network = gd.network("committee", dim=30, hidden=3, seed=1, init_scale=0.5, dtype="float64")
    assert len(noise_of(dense).share) == 1
    theory = gd.theory("ode", integrator=gd.integrator("sobol", log2_samples=10))
    one = theory.derivative(xor, network, gd.OnlineSGD(0.3, 0.1))
    two = theory.derivative(dense, network, gd.OnlineSGD(0.3, 0.1))
    for name in ("Q", "R", "v"):
        torch.testing.assert_close(getattr(one, name), getattr(two, name))


def test_rotating_everything_changes_nothing():
    generator = torch.Generator().manual_seed(0)
    means = torch.randn(3, 24, generator=generator, dtype=torch.float64)
    spectrum = torch.linspace(0, 2, 24, dtype=torch.float64)
    rotation = torch.linalg.qr(torch.randn(24, 24, generator=generator, dtype=torch.float64))[0]
    weights = torch.randn(2, 24, generator=generator, dtype=torch.float64)
    theory = gd.theory("ode", integrator=gd.integrator("sobol", log2_samples=10))
    found = []
    for turn in (torch.eye(24, dtype=torch.float64), rotation):
        mixture = gd.data_model(
            "random-covariance",
            means=means @ turn.T,
            labels=[-1, 1, 1],
            covariance=turn @ torch.diag(spectrum) @ turn.T,
        )
        network = gd.network(
            "committee", first_layer=weights @ turn.T, readout=[0.5, -1.0], dtype="float64"
        )
        found.append(theory.derivative(mixture, network, gd.OnlineSGD(0.4, 0.1)))
    for name in ("Q", "R", "v"):
        torch.testing.assert_close(getattr(found[0], name), getattr(found[1], name))


class Commuting(GaussianMixture):
    """Clusters with covariances of their own that are all diagonal: a user's mixture."""

    def __init__(self, means, labels, variances):
        super().__init__()
        self._parts = tuple(torch.as_tensor(x, dtype=torch.float64) for x in (means, labels))
        self._variances = torch.as_tensor(variances, dtype=torch.float64)  # (C, D)

    means = property(lambda self: self._parts[0])
    labels = property(lambda self: self._parts[1])
    covariance_structure = "commuting"

    @property
    def priors(self):
        return torch.full((len(self.labels),), 1 / len(self.labels), dtype=torch.float64)

    def covariance_product(self, vectors):
        return self._variances.unsqueeze(1) * vectors

    def sample(self, n, generator, dtype):
        clusters = torch.randint(len(self.labels), (n,), generator=generator)
        noise = torch.randn(n, self.dim, generator=generator, dtype=dtype)
        inputs = self.means[clusters] / self.dim**0.5 + self._variances[clusters].sqrt() * noise
        return gd.Batch(inputs.to(dtype), self.labels[clusters].to(dtype), clusters)


def commuting(dim, seed=0):
    generator = torch.Generator().manual_seed(seed)
    means = torch.randn(2, dim, generator=generator) * 1.5
    variances = torch.rand(2, dim, generator=generator) + torch.tensor([[0.0], [0.5]])
    return Commuting(means, [-1, 1], variances)


def test_covariances_that_commute_are_diagonalised_together():
    mixture = commuting(40)
    modes = noise_of(mixture)
    assert modes.variances.shape == (2, 40)
    pairs = {tuple(np.round(column, 9)) for column in modes.variances.T.tolist()}
    assert pairs == {tuple(np.round(column, 9)) for column in mixture._variances.T.tolist()}

    class Liar(Commuting):
        def covariance_product(self, vectors):
            twisted = torch.ones(self.dim, self.dim, dtype=torch.float64)
            return torch.stack([vectors * self._variances[0], vectors @ twisted])

    with pytest.raises(IncompatibleError, match="these do not"):
        noise_of(Liar(mixture.means, mixture.labels, mixture._variances))


def test_principal_axes_that_a_mixture_knows_are_taken():
    """Six directions of three variances; the covariance is not asked for."""
    scale = torch.tensor([1.0, 2.0, 1.0, 0.0, 2.0, 1.0], dtype=torch.float64)
    rotation = torch.linalg.qr(
        torch.randn(6, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    )[0]

    class Axes(Commuting):
        covariance_structure = "shared"
        rotation = None

        def covariance_product(self, vectors):
            raise AssertionError("it was diagonalised")

        def principal_axes(self):
            centres = self.means if self.rotation is None else self.means @ self.rotation
            return PrincipalAxes(self.rotation, scale, centres / 6**0.5)

    means = torch.randn(2, 6, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    for turn in (None, rotation):
        mixture = Axes(means, [-1, 1], torch.ones(2, 6))
        mixture.rotation = turn
        modes = noise_of(mixture)
        torch.testing.assert_close(modes.variances, torch.tensor([[0.0, 1.0, 4.0]]).double())
        torch.testing.assert_close(modes.share, torch.tensor([1 / 6, 1 / 2, 1 / 3]).double())
        along = means if turn is None else means @ turn
        expected = torch.stack(
            [along[:, scale == s] @ along[:, scale == s].T / (scale == s).sum() for s in (0, 1, 2)]
        )
        torch.testing.assert_close(modes.overlaps, expected)
        assert noise_of(mixture) is modes


@pytest.mark.parametrize("kind", ["shared", "commuting"])
def test_simulation_lies_on_the_theory(kind):
    """Within 4 standard errors plus a term of order 1/D."""
    dim = 300
    if kind == "shared":
        generator = torch.Generator().manual_seed(1)
        means = torch.randn(3, dim, generator=generator) * 1.2
        mixture = gd.data_model("random-covariance", means=means, labels=[-1, 1, 1], variance=0.5)
    else:
        mixture = commuting(dim)
    network = gd.network(
        "committee", dim=dim, hidden=2, activation="erf", init_scale=0.7, seed=3, bias=[0.1, -0.3]
    )
    experiment = gd.Experiment(mixture, network, gd.OnlineSGD(0.5, 0.05))
    times = [0, 1, 3, 10]
    run = experiment.simulate(times=times, replicas=24, test_size=20_000)
    ode = experiment.solve("ode", times=times, integrator="sobol")
    for name in ("pmse", "classification_error", "Q", "R", "v", "b"):
        gap = np.abs(run[name].mean(1) - ode[name])
        assert (gap < 4 * run.standard_error(name) + 6 / dim).all(), (name, gap.max())
    assert ode.pmse[0] - ode.pmse[-1] > 0.1
