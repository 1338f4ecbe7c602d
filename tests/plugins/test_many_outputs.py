"""Networks of several outputs: moments, errors and equations against autograd on sampled inputs."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

import gmmdyn as gd
from gmmdyn.errors import IncompatibleError, ShapeError
from gmmdyn.interfaces import Fields, TwoLayerNetwork
from gmmdyn_ode.dynamics import Dynamics
from gmmdyn_ode.matrix import MatrixDynamics
from gmmdyn_ode.parameters import described
from gmmdyn_ode.state import State

CLASSES = torch.tensor([0, 1, 2, 0])
ONE_HOT = nn.functional.one_hot(CLASSES).double()
LOSS = {
    "square": lambda outputs, labels: 0.5 * (labels - outputs).square().sum(-1),
    "cross-entropy": lambda outputs, labels: nn.functional.cross_entropy(
        outputs, labels, reduction="none"
    ),
}
DESCRIBED = [
    ("closed-form", "erf", "square"),
    ("closed-form", "linear", "square"),
    ("preintegrated", "relu", "square"),
    ("gauss-hermite", "tanh", "square"),
    ("gauss-hermite", "tanh", "cross-entropy"),
    ("sobol", "erf", "cross-entropy"),
    ("sobol", "relu", "square"),
    ("sobol", "relu", "cross-entropy"),
    ("sobol", "tanh", "cross-entropy"),
    ("monte-carlo", "tanh", "square"),
]


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).double()


def fields(activation="tanh", loss="square", hidden=3, labels=ONE_HOT):
    root = normal(4, hidden, hidden, seed=1)
    return Fields(
        mean=0.6 * normal(4, hidden, seed=2),
        covariance=root @ root.mT / hidden,
        readout=0.8 * normal(hidden, labels.shape[-1], seed=3),
        labels=labels,
        activation=gd.activation(activation),
        loss=gd.loss(loss),
    )


def prepared(name, hidden=3, **keywords):
    if name == "gauss-hermite":
        keywords.setdefault("points", 20)
    if name == "monte-carlo":
        keywords.setdefault("samples", 2**18)
    integrator = gd.integrator(name, **keywords)
    integrator.prepare(hidden)
    return integrator


def signals(lam, activation, readout, loss, labels):
    """Learning signals and slopes of the head for each sample, by autograd; and the outputs."""
    lam = lam.clone().requires_grad_()
    heads = readout.expand(len(lam), *readout.shape).clone().requires_grad_()
    outputs = (activation(lam).unsqueeze(-2) @ heads).squeeze(-2)
    gamma, slope = torch.autograd.grad(-LOSS[loss](outputs, labels).sum(), (lam, heads))
    return gamma, slope, outputs.detach()


def close(found, samples, slack=0.0):
    """Within 5 standard errors of the mean of samples along the first axis."""
    error = samples.std(0) / math.sqrt(len(samples))
    gap = (found - samples.mean(0)).abs()
    assert bool((gap <= 5 * error + slack).all()), float((gap - 5 * error).max())


@pytest.mark.parametrize(("name", "activation", "loss"), DESCRIBED)
def test_moments_and_errors_are_means_over_fields(name, activation, loss):
    problem = fields(activation, loss)
    integrator = prepared(name)
    found, errors = integrator.moments(problem), integrator.errors(problem)
    own = 4e-3 if name in ("sobol", "monte-carlo") else 5e-4 if name == "preintegrated" else 1e-5
    for cluster, label in enumerate(ONE_HOT):
        mean, covariance = problem.mean[cluster], problem.covariance[cluster]
        z = normal(400_000, 3, seed=10 + cluster)
        lam = mean + z @ torch.linalg.cholesky(covariance).T
        parts = lam, problem.activation, problem.readout, loss, label.expand(len(z), 3)
        gamma, slope, outputs = signals(*parts)
        close(found.drive[cluster], gamma, own)
        close(found.readout[cluster], slope, own)
        close(found.noise[cluster], gamma.unsqueeze(-1) * gamma.unsqueeze(-2), own)
        # Stein's lemma, which knows of no derivative.
        against = (found.stein[cluster] @ covariance).reshape(-1)
        products = (gamma.unsqueeze(-1) * (lam - mean).unsqueeze(-2)).flatten(1)
        close(against, products, own)
        close(errors.pmse[cluster], 0.5 * (label - outputs).square().sum(-1), own)
        if loss != "square":
            close(errors.loss[cluster], LOSS[loss](outputs, label.expand_as(outputs)), own)
        largest = outputs.amax(-1, keepdim=True) == outputs
        wrong = 1 - (largest[:, label.argmax()].double() / largest.sum(-1))
        close(errors.classification_error[cluster], wrong, 2e-3)
        tied = (largest[:, label.argmax()] & (largest.sum(-1) > 1)).double()
        close(errors.tie_rate[cluster], tied, 2e-3)


@pytest.mark.parametrize(
    ("name", "activation", "hidden"),
    [("closed-form", "erf", 3)] + [("preintegrated", "relu", hidden) for hidden in (1, 2, 4)],
)
def test_compiled_and_differentiable_moments_agree(name, activation, hidden):
    problem = fields(activation, hidden=hidden)
    integrator = prepared(name, hidden)
    slow = problem._replace(readout=problem.readout.clone().requires_grad_())
    for one, two in zip(integrator.moments(problem), integrator.moments(slow), strict=True):
        torch.testing.assert_close(one, two.detach(), rtol=0, atol=1e-12)
    batch = problem._replace(
        mean=torch.stack([problem.mean, -problem.mean]),
        covariance=torch.stack([problem.covariance, 2 * problem.covariance]),
        readout=torch.stack([problem.readout, 3 * problem.readout]),
    )
    for one, both in zip(integrator.moments(problem), integrator.moments(batch), strict=True):
        torch.testing.assert_close(one, both[0], rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", ["closed-form", "preintegrated", "sobol"])
def test_one_output_in_a_column_is_one_output(name):
    """Labels `(C, 1)` and readout `(K, 1)` are labels `(C,)` and readout `(K,)`."""
    activation = "erf" if name == "closed-form" else "relu"
    column = fields(activation, labels=torch.tensor([[1.0], [-1.0], [1.0], [-1.0]]).double())
    plain = column._replace(labels=column.labels.squeeze(-1), readout=column.readout.squeeze(-1))
    integrator = prepared(name)
    found, wanted = integrator.moments(column), integrator.moments(plain)
    assert found.readout.shape == (4, 3, 1)
    found = found._replace(readout=found.readout.squeeze(-1))
    for one, two in zip(found, wanted, strict=True):
        torch.testing.assert_close(one, two, rtol=0, atol=1e-12)


@pytest.mark.parametrize(("name", "activation", "loss"), DESCRIBED)
def test_two_opposite_outputs_err_as_one_does(name, activation, loss):
    """With outputs φ and -φ the larger one is right where yφ > 0; a tie is half an error."""
    problem = fields(activation, loss)
    v = problem.readout[:, :1]
    classes = nn.functional.one_hot(torch.tensor([0, 1, 1, 0])).double()
    several = problem._replace(readout=torch.cat([v, -v], 1), labels=classes)
    single = problem._replace(
        readout=v.squeeze(1), labels=classes[:, 0] - classes[:, 1], loss=gd.loss("square")
    )
    integrator = prepared(name)
    one, two = integrator.errors(single), integrator.errors(several)
    for part in ("classification_error", "tie_rate"):
        spread = getattr(one, f"{part}_se") + getattr(two, f"{part}_se")
        gap = (getattr(one, part) - getattr(two, part)).abs()
        assert bool((gap <= 5 * spread + 1e-9).all()), part


@pytest.mark.parametrize("activation", ["relu", "tanh"])
def test_outputs_that_are_all_zero_are_guesses(activation):
    problem = fields(activation)._replace(readout=torch.zeros(3, 3).double())
    errors = prepared("sobol").errors(problem)
    torch.testing.assert_close(errors.classification_error, torch.full((4,), 2 / 3).double())
    torch.testing.assert_close(errors.tie_rate, torch.ones(4).double())


def test_labels_that_are_no_classes_have_no_classification_error():
    problem = fields(labels=normal(4, 3, seed=9))
    for name in ("sobol", "gauss-hermite", "monte-carlo"):
        errors = prepared(name).errors(problem)
        assert errors.classification_error is None
        assert errors.classification_error_se is None
        assert errors.pmse.shape == (4,)


def test_noise_is_positive_semi_definite_where_units_merge():
    problem = fields("relu", hidden=5)
    mixing = torch.eye(5).double()
    mixing[1] = 1e-4 * mixing[1] + mixing[0]
    problem = problem._replace(
        mean=problem.mean @ mixing.T, covariance=mixing @ problem.covariance @ mixing.T
    )
    slow = problem._replace(readout=problem.readout.clone().requires_grad_())
    for case in (problem, slow):
        noise = prepared("preintegrated", 5).moments(case).noise.detach()
        torch.testing.assert_close(noise, noise.mT, rtol=0, atol=1e-12)
        values = torch.linalg.eigvalsh(noise)
        assert float(values.min()) > -1e-13 * float(values.max())


class Absolute(gd.Loss):
    """|φ − y|, whose error signal jumps at 0."""

    kinks = (0.0,)

    def value(self, output, label):
        return (label - output).abs()

    def signal(self, output, label):
        return torch.sign(label - output)

    def curvature(self, output, label):
        return torch.zeros_like(label - output)


@pytest.mark.parametrize("activation", ["tanh", "relu"])
def test_an_error_signal_that_jumps_has_its_stein_moments(activation):
    """The curvature of |φ − y| is a spike that no point meets; Stein's lemma needs none."""
    problem = fields(activation)._replace(loss=Absolute())
    for name in ("closed-form", "preintegrated", "gauss-hermite"):
        described = gd.activation({"closed-form": "erf", "preintegrated": "relu"}.get(name, "erf"))
        assert "take `sobol`" in gd.integrator(name).refusal(described, problem.loss, 2, 3)
    found = prepared("sobol").moments(problem)
    for cluster, label in enumerate(ONE_HOT):
        mean, covariance = problem.mean[cluster], problem.covariance[cluster]
        z = normal(400_000, 3, seed=10 + cluster)
        lam = mean + z @ torch.linalg.cholesky(covariance).T
        delta = torch.sign(label - problem.activation(lam) @ problem.readout)
        gamma = problem.activation.derivative(lam) * (delta @ problem.readout.T)
        products = (gamma.unsqueeze(-1) * (lam - mean).unsqueeze(-2)).flatten(1)
        close((found.stein[cluster] @ covariance).reshape(-1), products, 4e-3)
    # Two units that are one: only the sum of their columns matters.
    pair = torch.tensor([[1.0, 0, 0], [1, 0, 0], [0, 1, 0]]).double()
    merged = problem._replace(
        mean=problem.mean @ pair.T, covariance=pair @ problem.covariance @ pair.T
    )
    stein = prepared("sobol").moments(merged).stein
    assert float(stein.abs().max()) < 10


def test_what_closed_forms_do_not_describe_is_refused():
    cross_entropy = gd.loss("cross-entropy")
    for name, activation in (("closed-form", "erf"), ("preintegrated", "relu")):
        refused = gd.integrator(name).refusal(gd.activation(activation), cross_entropy, 3, 3)
        assert "take `sobol`" in refused


def test_an_integrator_of_one_output_is_refused_more():
    """A third party's `obstacle` without `outputs`."""

    class Old(type(gd.integrator("sobol")).__mro__[1]):
        relative_error = 0.1

        def place(self, hidden):
            return torch.zeros(1, hidden)

        def errors(self, fields):
            raise AssertionError

        def obstacle(self, activation, loss, hidden):
            return None

    parts = gd.activation("erf"), gd.loss("square"), 3
    assert Old().refusal(*parts) is None
    assert "one output, and not 4; take `sobol`" in Old().refusal(*parts, 4)


class Network(TwoLayerNetwork):
    """A committee of any readout."""

    def __init__(self, dim, activation, bias=False, seed=0):
        super().__init__()
        self._activation = gd.activation(activation)
        self._first_layer = nn.Parameter(normal(3, dim, seed=seed))
        self._readout = nn.Parameter(0.7 * normal(3, 3, seed=seed + 1))
        self._bias = nn.Parameter(0.3 * normal(3, seed=seed + 2)) if bias else None

    activation = property(lambda self: self._activation)
    first_layer = property(lambda self: self._first_layer)
    readout = property(lambda self: self._readout)
    bias = property(lambda self: self._bias)


def mixture_of(kind, dim):
    centres = 1.5 * normal(4, dim, seed=20)
    signs = [1, -1, 1, -1]
    if kind == "isotropic":
        found = gd.data_model("isotropic", means=centres, labels=signs, variance=0.5)
    else:
        size = {"shared": (1,), "general": (4,)}[kind]
        root = normal(*size, dim, dim, seed=21)
        covariance = root @ root.mT / dim + 0.2 * torch.eye(dim)
        found = gd.data_model(
            "random-covariance",
            means=centres,
            labels=signs,
            covariance=covariance if kind == "general" else covariance[0],
        )
    found._labels = ONE_HOT.clone()
    return found


def direct_rates(mixture, network, algorithm, count):
    """Means over inputs of what an update does, times D, with their standard errors.

    Products of inputs are left to their mean, as D grows: |x|²/D is tr(Omega)/D + |mu|²/D².
    """
    w, v, b = network.first_layer.detach(), network.readout.detach(), network.bias
    b = torch.zeros(3).double() if b is None else b.detach()
    dim, eta, kappa = mixture.dim, algorithm.learning_rate, algorithm.weight_decay
    unit = torch.eye(dim).double()
    covariances = mixture.covariance_product(unit).expand(4, dim, dim)
    total = {name: [] for name in "QRvb"}
    for cluster in range(4):
        root = torch.linalg.cholesky(covariances[cluster])
        mean = mixture.means[cluster] / math.sqrt(dim)
        x = mean + normal(count, dim, seed=30 + cluster) @ root.T
        lam = x @ w.T / math.sqrt(dim)
        label = ONE_HOT[cluster].expand(count, 3)
        gamma, slope, _ = signals(lam + b, network.activation, v, algorithm.loss, label)
        nu = x @ mixture.means.T / math.sqrt(dim)
        length = covariances[cluster].trace() / dim + mean.square().sum() / dim
        drift = eta * gamma.unsqueeze(-1) * lam.unsqueeze(-2)
        noise = eta**2 * length * gamma.unsqueeze(-1) * gamma.unsqueeze(-2)
        decay = eta * kappa
        total["Q"].append(drift + drift.mT + noise - 2 * decay * w @ w.T / dim)
        total["R"].append(eta * nu.unsqueeze(-1) * gamma.unsqueeze(-2))
        total["R"][-1] -= decay * mixture.means @ w.T / dim
        total["v"].append(eta * slope - decay * v)
        total["b"].append(eta * gamma - decay * b)
    return {name: torch.stack(parts).mean(0) for name, parts in total.items()}


@pytest.mark.parametrize("loss", ["square", "cross-entropy"])
@pytest.mark.parametrize("activation", ["erf", "tanh", "relu"])
@pytest.mark.parametrize("kind", ["isotropic", "shared", "general"])
def test_the_right_hand_side_is_the_mean_update(kind, activation, loss):
    dim = 12
    mixture, network = mixture_of(kind, dim), Network(dim, activation, bias=kind == "shared")
    algorithm = gd.OnlineSGD(0.4, 0.1, loss=loss)
    found = gd.theory("ode").derivative(mixture, network, algorithm)
    wanted = direct_rates(mixture, network, algorithm, 60_000)
    for name in "QRv" if network.bias is None else "QRvb":
        close(getattr(found, name), wanted[name], 2e-3)


@pytest.mark.parametrize("loss", ["square", "cross-entropy"])
def test_wrong_labels_are_other_classes_at_random(loss):
    """Against the mean of the rates with every other label, by hand."""
    mixture, network = mixture_of("isotropic", 12), Network(12, "erf")
    noise, theory = 0.3, gd.theory("ode")
    found = theory.derivative(mixture, network, gd.OnlineSGD(0.4, loss=loss, label_noise=noise))
    clean, parts = [], gd.OnlineSGD(0.4, loss=loss)
    for shift in range(3):
        mixture._labels = nn.functional.one_hot((CLASSES + shift) % 3).double()
        clean.append(theory.derivative(mixture, network, parts))
    for name in "QRv":
        right, *others = (getattr(rates, name) for rates in clean)
        wanted = (1 - noise) * right + noise * sum(others) / 2
        torch.testing.assert_close(getattr(found, name), wanted, rtol=0, atol=1e-10)


def test_a_batch_of_problems_is_each_of_them():
    mixture, algorithm = mixture_of("shared", 12), gd.OnlineSGD(0.4, loss="cross-entropy")
    problems = [
        gd.theory("ode").problem(mixture, Network(12, "tanh", True, seed), algorithm, None)
        for seed in (0, 5)
    ]
    integrator = prepared("sobol", log2_samples=8)
    batch = type(problems[0]).stack(problems)
    rates = Dynamics(batch, integrator).derivative(0.0, batch.initial)
    assert rates.unpack(rates.pack()).v.shape == (2, 3, 3)
    for index, problem in enumerate(problems):
        alone = Dynamics(problem, integrator).derivative(0.0, problem.initial)
        for one, both in zip(alone, rates, strict=True):
            torch.testing.assert_close(one, both[index], rtol=0, atol=1e-12)


def test_shapes_and_labels_that_do_not_fit_are_refused():
    mixture, network = mixture_of("isotropic", 12), Network(12, "erf")
    described(mixture, network, gd.OnlineSGD(0.1, loss="cross-entropy"))
    with pytest.raises(IncompatibleError, match="one of a single output"):
        described(mixture, network, gd.OnlineSGD(0.1, loss="logistic"))
    with pytest.raises(ShapeError, match="give a readout of shape"):
        described(mixture, gd.network("committee", dim=12, hidden=3), gd.OnlineSGD(0.1))
    mixture._labels = normal(4, 3)
    described(mixture, network, gd.OnlineSGD(0.1))
    with pytest.raises(IncompatibleError, match="these labels are no classes"):
        described(mixture, network, gd.OnlineSGD(0.1, label_noise=0.1))
    with pytest.raises(IncompatibleError, match="rows of at least two numbers"):
        described(mixture, network, gd.OnlineSGD(0.1, loss="cross-entropy"))


@pytest.mark.science
@pytest.mark.parametrize("loss", ["square", "cross-entropy"])
@pytest.mark.parametrize("activation", ["tanh", "relu"])
def test_the_solution_is_that_of_sgd_by_autograd(activation, loss):
    """Plain torch, one fresh sample an update, D = 400; within 4 standard errors and 1 %."""
    dim, runs, times = 400, 24, [0.0, 2.0, 6.0]
    mixture = mixture_of("isotropic", dim)
    network = Network(dim, activation)
    algorithm = gd.OnlineSGD(0.5, 0.02, loss=loss)
    solved = gd.theory("ode", rtol=1e-5).solve(mixture, network, algorithm, times=times)
    generator = torch.Generator().manual_seed(7)
    w = network.first_layer.detach().expand(runs, 3, dim).clone().requires_grad_()
    v = network.readout.detach().expand(runs, 3, 3).clone().requires_grad_()
    eta, kappa = algorithm.learning_rate, algorithm.weight_decay
    for _ in range(int(times[-1] * dim)):
        batch = mixture.sample(runs, generator, torch.float64)
        lam = (w @ batch.inputs.unsqueeze(-1)).squeeze(-1) / math.sqrt(dim)
        outputs = (network.activation(lam).unsqueeze(-2) @ v).squeeze(-2)
        dw, dv = torch.autograd.grad(LOSS[loss](outputs, ONE_HOT[batch.clusters]).sum(), (w, v))
        with torch.no_grad():
            w.mul_(1 - eta * kappa / dim).sub_(eta * dw)
            v.mul_(1 - eta * kappa / dim).sub_(eta / dim * dv)
    w, v = w.detach(), v.detach()
    test = mixture.sample(20_000, generator, torch.float64)
    lam = test.inputs @ w.mT / math.sqrt(dim)
    outputs = network.activation(lam) @ v
    label = ONE_HOT[test.clusters]
    measured = {
        "Q": w @ w.mT / dim,
        "R": mixture.means @ w.mT / dim,
        "v": v,
        "pmse": 0.5 * (label - outputs).square().sum(-1).mean(-1),
        "classification_error": (outputs.argmax(-1) != CLASSES[test.clusters]).double().mean(-1),
    }
    if loss != "square":
        flat = outputs.flatten(0, 1), label.repeat(runs, 1)
        measured["loss"] = LOSS[loss](*flat).reshape(runs, -1).mean(-1)
    for name, values in measured.items():
        theory = torch.as_tensor(solved.curves[name][-1])
        scale = theory.abs().max()
        close(theory, values, 0.01 * float(scale) + 2e-3)


def test_matrix_and_modes_agree_where_both_describe():
    """A shared covariance in the form for general ones."""
    from gmmdyn_ode.matrix import MatrixProblem
    from gmmdyn_ode.noise import blocks_of

    mixture, network = mixture_of("shared", 12), Network(12, "erf", bias=True)
    algorithm = gd.OnlineSGD(0.4, 0.1)
    integrator = prepared("closed-form")
    problem = gd.theory("ode").problem(mixture, network, algorithm, None)
    modes = Dynamics(problem, integrator).overlap_rates(0.0, problem.initial)
    wide = MatrixProblem.of(mixture, blocks_of(mixture), network, algorithm)
    matrices = MatrixDynamics(wide, integrator).overlap_rates(0.0, wide.initial)
    assert isinstance(problem.initial, State)
    for name in "QRvb":
        one, two = getattr(modes, name), getattr(matrices, name)
        torch.testing.assert_close(one, two, rtol=0, atol=1e-10)
