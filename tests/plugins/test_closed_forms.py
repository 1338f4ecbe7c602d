"""Closed forms, Gauss–Hermite rules, losses, and the agreement of all integrators."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.integrate import quad

import gmmdyn as gd
from gmmdyn.errors import IncompatibleError
from gmmdyn.interfaces import Fields


def fields(activation, hidden=3, scale=1.0, loss=None, zero_mean=False):
    generator = torch.Generator().manual_seed(1)
    root = torch.randn(2, hidden, hidden, generator=generator, dtype=torch.float64)
    mean = 0.5 * torch.randn(2, hidden, generator=generator, dtype=torch.float64)
    problem = Fields(
        mean=torch.zeros_like(mean) if zero_mean else mean,
        covariance=scale * root @ root.mT / hidden,
        readout=torch.linspace(-1, 0.7, hidden, dtype=torch.float64),
        labels=torch.tensor([-1.0, 1.0], dtype=torch.float64),
        activation=gd.activation(activation) if isinstance(activation, str) else activation,
    )
    return problem if loss is None else problem._replace(loss=loss)


def prepared(name, hidden, **options):
    integrator = gd.integrator(name, **options)
    integrator.prepare(hidden)
    return integrator


LOGISTIC = gd.OnlineSGD(0.1, loss="logistic").loss_function


def test_zero_means_give_the_arcsine_formulas():
    """Saad and Solla (1995): I2, I3 and I4 of erf units of mean zero, written by hand."""
    problem = fields("erf", hidden=3, zero_mean=True)
    found = prepared("closed-form", 3).moments(problem)
    errors = prepared("closed-form", 3).errors(problem)
    v = problem.readout.numpy()
    for cluster in range(2):
        q, y = problem.covariance[cluster].numpy(), float(problem.labels[cluster])

        def g_g(i, j, q=q):
            return 2 / np.pi * np.arcsin(q[i, j] / np.sqrt((1 + q[i, i]) * (1 + q[j, j])))

        def dg_dg(i, j, q=q):
            return 2 / np.pi / np.sqrt((1 + q[i, i]) * (1 + q[j, j]) - q[i, j] ** 2)

        def i4(i, j, k, n, q=q):
            """E[g'_i g'_j g_k g_n], equation (20) there."""
            lam = (1 + q[i, i]) * (1 + q[j, j]) - q[i, j] ** 2

            def part(a, b):
                return (
                    lam * q[a, b]
                    - q[a, i] * q[b, i] * (1 + q[j, j])
                    - q[a, j] * q[b, j] * (1 + q[i, i])
                    + q[i, j] * (q[a, i] * q[b, j] + q[a, j] * q[b, i])
                )

            sine = part(k, n) / np.sqrt((lam + part(k, k)) * (lam + part(n, n)))
            return 4 / np.pi**2 / np.sqrt(lam) * np.arcsin(sine)

        square = y**2 + sum(v[i] * v[j] * g_g(i, j) for i in range(3) for j in range(3))
        np.testing.assert_allclose(errors.pmse[cluster], square / 2, rtol=1e-12)
        for k in range(3):
            readout = -sum(v[i] * g_g(k, i) for i in range(3))
            np.testing.assert_allclose(found.readout[cluster, k], readout, atol=1e-13)
            drive = v[k] * y * np.sqrt(2 / np.pi / (1 + q[k, k]))
            np.testing.assert_allclose(found.drive[cluster, k], drive, atol=1e-13)
            for n in range(3):
                noise = y**2 * dg_dg(k, n) + sum(
                    v[i] * v[j] * i4(k, n, i, j) for i in range(3) for j in range(3)
                )
                noise *= v[k] * v[n]
                np.testing.assert_allclose(found.noise[cluster, k, n], noise, atol=1e-13)
                if n != k:
                    stein = -v[k] * v[n] * dg_dg(k, n)
                    np.testing.assert_allclose(found.stein[cluster, k, n], stein, atol=1e-13)


@pytest.mark.parametrize("hidden", [1, 2, 4])
def test_the_compiled_closed_form_and_the_differentiable_one_agree(hidden):
    integrator = prepared("closed-form", hidden)
    problem = fields("erf", hidden)
    batch = problem._replace(
        mean=torch.stack([problem.mean, 3 * problem.mean]),
        covariance=torch.stack([problem.covariance, 40 * problem.covariance]),
        readout=torch.stack([problem.readout, -problem.readout]),
    )
    slow = batch._replace(mean=batch.mean.clone().requires_grad_())
    for one, two in zip(integrator.moments(batch), integrator.moments(slow), strict=True):
        torch.testing.assert_close(one, two.detach(), rtol=0, atol=1e-12)
    for one, two in zip(integrator.errors(batch)[:4], integrator.errors(slow)[:4], strict=True):
        torch.testing.assert_close(one, two.detach(), rtol=0, atol=1e-12)


@pytest.mark.parametrize("activation", ["erf", "linear"])
@pytest.mark.parametrize("name", ["closed-form", "gauss-hermite", "sobol"])
@pytest.mark.parametrize("equal", [False, True], ids=["generic", "equal eigenvalues"])
def test_smooth_activations_can_be_differentiated(name, activation, equal):
    """Against finite differences."""
    if name == "sobol":
        integrator = prepared(name, 2, log2_samples=6)
    else:
        integrator = prepared(name, 2, **({"points": 8} if name == "gauss-hermite" else {}))
    problem = fields(activation, 2)
    covariance = 0.7 * torch.eye(2, dtype=torch.float64).expand(2, 2, 2)
    covariance = (covariance if equal else problem.covariance).clone()

    def everything(mean, covariance, readout):
        moved = problem._replace(
            mean=mean, covariance=(covariance + covariance.mT) / 2, readout=readout
        )
        errors = integrator.errors(moved)
        return *integrator.moments(moved), errors.pmse, errors.classification_error

    inputs = [part.clone().requires_grad_() for part in (problem.mean, covariance, problem.readout)]
    assert torch.autograd.gradcheck(everything, inputs, atol=1e-5, rtol=1e-3, fast_mode=True)


def test_a_gradient_that_points_do_not_have_is_refused():
    problem = fields("relu")
    integrator = prepared("sobol", 3, log2_samples=4)
    with pytest.raises(IncompatibleError, match="`preintegrated`"):
        integrator.moments(problem._replace(mean=problem.mean.requires_grad_()))


def test_gauss_hermite_converges_exponentially():
    """Each six points more divide the error by a factor that does not fall."""
    problem = fields("erf", 2, scale=0.5)
    exact = torch.cat([part.flatten() for part in prepared("closed-form", 2).moments(problem)])
    errors = []
    for points in (6, 12, 18, 24):
        found = prepared("gauss-hermite", 2, points=points).moments(problem)
        errors.append(float((torch.cat([p.flatten() for p in found]) - exact).abs().max()))
    ratios = np.divide(errors[1:], errors[:-1])
    assert (ratios < 0.1).all()
    assert errors[-1] < 1e-7


def test_gauss_hermite_says_what_it_does_not_describe():
    with pytest.raises(IncompatibleError, match="has kinks; take `preintegrated`"):
        prepared("gauss-hermite", 2).moments(fields("relu", 2))
    with pytest.raises(IncompatibleError, match=r"32\^4 points"):
        prepared("gauss-hermite", 4)
    assert (
        prepared("gauss-hermite", 4, points=12).obstacle(gd.activation("erf"), LOGISTIC, 4) is None
    )


def test_what_needs_the_square_loss_refuses_another():
    problem = fields("linear", loss=LOGISTIC)
    with pytest.raises(IncompatibleError, match="square loss"):
        prepared("closed-form", 3).moments(problem)


@pytest.mark.parametrize("activation", ["erf", "relu"])
@pytest.mark.parametrize("name", ["gauss-hermite", "preintegrated", "sobol"])
def test_moments_of_the_logistic_loss_of_one_unit(name, activation):
    """Against one-dimensional quadrature of the definitions, g'' as a spike for ReLU."""
    if (name, activation) in {("gauss-hermite", "relu"), ("preintegrated", "erf")}:
        pytest.skip("refused, as the conformance tests check")
    m, s, v = 0.4, 0.9, 1.3
    problem = Fields(
        mean=torch.tensor([[m], [m]], dtype=torch.float64),
        covariance=torch.tensor([[[s**2]]], dtype=torch.float64),
        readout=torch.tensor([v], dtype=torch.float64),
        labels=torch.tensor([-1.0, 1.0], dtype=torch.float64),
        activation=gd.activation(activation),
        loss=LOGISTIC,
    )
    integrator = prepared(name, 1)
    found, errors = integrator.moments(problem), integrator.errors(problem)
    g, dg = problem.activation, problem.activation.derivative

    def at(function):
        return lambda x: float(function(torch.tensor(x, dtype=torch.float64)))

    def mean(function):
        def integrand(x):
            return function(x) * np.exp(-0.5 * ((x - m) / s) ** 2) / (s * np.sqrt(2 * np.pi))

        return quad(integrand, m - 10 * s, m + 10 * s, points=[0.0], epsabs=1e-11, limit=200)[0]

    tolerance = {"gauss-hermite": 1e-7, "preintegrated": 1e-9, "sobol": 2e-3}[name]
    for cluster, y in enumerate([-1.0, 1.0]):

        def delta(x, y=y):
            return y / (1 + np.exp(y * v * at(g)(x)))

        def bent(x, y=y):
            p = 1 / (1 + np.exp(y * v * at(g)(x)))
            return p * (1 - p)

        wanted = {
            "drive": v * mean(lambda x: at(dg)(x) * delta(x)),
            "noise": v**2 * mean(lambda x: (at(dg)(x) * delta(x)) ** 2),
            "readout": mean(lambda x: at(g)(x) * delta(x)),
        }
        curved = mean(lambda x: at(g.second_derivative)(x) * delta(x))
        if activation == "relu":
            curved = delta(0.0) * np.exp(-0.5 * (m / s) ** 2) / (s * np.sqrt(2 * np.pi))
        wanted["stein"] = v * (curved - v * mean(lambda x: at(dg)(x) ** 2 * bent(x)))
        for part, value in wanted.items():
            ours = getattr(found, part)[cluster].squeeze()
            np.testing.assert_allclose(ours, value, atol=tolerance)
        loss = mean(lambda x, y=y: np.log1p(np.exp(-y * v * at(g)(x))))
        np.testing.assert_allclose(errors.loss[cluster], loss, atol=tolerance)
        square = mean(lambda x, y=y: 0.5 * (y - v * at(g)(x)) ** 2)
        np.testing.assert_allclose(errors.pmse[cluster], square, atol=tolerance)


INTEGRATORS = {
    "closed-form": {},
    "preintegrated": {},
    "gauss-hermite": {},
    "sobol": {},
    "monte-carlo": {},
}


@pytest.mark.parametrize("activation", ["erf", "relu", "linear"])
@pytest.mark.parametrize("name", INTEGRATORS)
def test_integrators_agree_within_their_stated_errors(name, activation):
    """With the most accurate one that describes the network; errors as they state them."""
    problem = fields(activation, 3, scale=0.3)
    best = "preintegrated" if activation == "relu" else "closed-form"
    options = {"log2_lines": 14, "seed": 7} if activation == "relu" else {}
    exact = prepared(best, 3, **options)
    integrator = gd.integrator(name, **INTEGRATORS[name])
    if integrator.obstacle(problem.activation, problem.loss, 3) is not None:
        pytest.skip("refused, as the conformance tests check")
    integrator.prepare(3)
    for found, wanted in zip(integrator.moments(problem), exact.moments(problem), strict=True):
        assert (found - wanted).abs().max() < 4 * integrator.relative_error
    found, wanted = integrator.errors(problem), exact.errors(problem)
    slack = 4 * found.pmse_se + 1e-12
    assert bool(((found.pmse - wanted.pmse).abs() <= slack).all())
    slack = 5 * (found.classification_error_se + wanted.classification_error_se) + 1e-12
    gap = (found.classification_error - wanted.classification_error).abs()
    assert bool((gap <= slack).all())


@pytest.mark.parametrize(
    ("activation", "hidden", "loss", "name"),
    [
        ("erf", 4, "square", "closed-form"),
        ("linear", 2, "square", "closed-form"),
        ("relu", 4, "square", "preintegrated"),
        ("swish", 2, "square", "gauss-hermite"),
        ("swish", 3, "square", "sobol"),
        ("erf", 2, "logistic", "gauss-hermite"),
        ("relu", 2, "logistic", "preintegrated"),
        ("linear", 2, "logistic", "gauss-hermite"),
    ],
)
def test_the_choice_of_the_ode(activation, hidden, loss, name):
    from gmmdyn_ode.integrators import select

    class Swish(gd.Activation):
        def forward(self, x):
            return x * torch.sigmoid(x)

        def derivative(self, x):
            s = torch.sigmoid(x)
            return s + x * s * (1 - s)

    function = Swish() if activation == "swish" else gd.activation(activation)
    integrator, reason = select(function, gd.OnlineSGD(0.1, loss=loss).loss_function, hidden)
    assert integrator.spec.name == name
    assert reason


def test_a_solution_says_which_integrator_and_why():
    mixture = gd.data_model("xor", dim=100, variance=0.05)
    network = gd.network("committee", dim=100, hidden=2, activation="erf", init_scale=1.0)
    experiment = gd.Experiment(mixture, network, gd.OnlineSGD(0.1))
    about = experiment.solve("ode", times=[0.0, 0.1]).metadata["solver"]
    assert about["integrator"] == "closed-form"
    assert "closed form" in about["integrator_reason"]


@pytest.mark.parametrize(
    ("name", "activation"),
    [("closed-form", "erf"), ("preintegrated", "relu"), ("gauss-hermite", "erf")],
)
def test_names_of_units_and_clusters_do_not_matter(name, activation):
    """Clusters exactly; units up to the stated error, since points tell directions apart."""
    problem = fields(activation, 3)
    integrator = prepared(name, 3)
    order, swap = torch.tensor([2, 0, 1]), torch.tensor([1, 0])
    moved = problem._replace(
        mean=problem.mean[swap][:, order],
        covariance=problem.covariance[swap][:, order][:, :, order],
        readout=problem.readout[order],
        labels=problem.labels[swap],
    )
    tolerance = 1e-12 if name == "closed-form" else 4 * integrator.relative_error
    pairs = zip(integrator.moments(problem), integrator.moments(moved), strict=True)
    for index, (one, two) in enumerate(pairs):
        one = one[swap][:, order]
        if one.ndim == 3:
            one = one[:, :, order]
        # All but the noise are closed forms.
        exact = name == "preintegrated" and index != 1
        torch.testing.assert_close(one, two, rtol=0, atol=1e-12 if exact else tolerance)


def test_two_units_leave_nothing_to_the_lines():
    """The noise of two units is exact: a third one, without readout, makes lines of them."""
    problem = fields("relu", 3)._replace(readout=torch.tensor([0.8, -1.1, 0.0]).double())
    pair = problem._replace(
        mean=problem.mean[:, :2],
        covariance=problem.covariance[:, :2, :2],
        readout=problem.readout[:2],
    )
    one = prepared("preintegrated", 2, log2_lines=4).moments(pair).noise
    many = prepared("preintegrated", 3, log2_lines=16).moments(problem).noise[:, :2, :2]
    torch.testing.assert_close(one, many, rtol=0, atol=3e-4)
