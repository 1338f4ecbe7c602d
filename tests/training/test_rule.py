"""The rule of SGD for any loss and for several outputs: loop, blocked form and chain agree."""

from __future__ import annotations

import copy
import math

import numpy as np
import pytest
import torch
from test_chain import build, explicit_sgd
from test_features import plain_sgd

import gmmdyn as gd
from gmmdyn import Loss
from gmmdyn.compiler.agreement import disagreement, trial_pairs
from gmmdyn.compiler.tracing import trace
from gmmdyn.errors import IncompatibleError
from gmmdyn.training import ChainEngine, DenseEngine, Segment
from gmmdyn.training.chain.cpu import Noise, mover
from gmmdyn.training.evaluation import Weights
from gmmdyn.training.rule.blocked import BlockedForm
from gmmdyn.training.rule.loop import CompiledLoop
from gmmdyn.training.rule.rule import Rule, error_function_of, scalar_functions_of


class Huber(Loss):
    """A user's loss, in torch alone."""

    def value(self, output, label):
        return torch.nn.functional.huber_loss(output, label, reduction="none", delta=0.7)

    def signal(self, output, label):
        return (label - output).clamp(-0.7, 0.7)

    def curvature(self, output, label):
        return ((label - output).abs() < 0.7).to(output.dtype)


class Opaque(Huber):
    """It looks at its input: there is no scalar function."""

    def signal(self, output, label):
        return super().signal(output, label) if output.abs().max() < 1e9 else output


def _joint_error(outputs, label, signals):
    total = 0.0
    for o in range(len(outputs)):
        total += math.exp(outputs[o])
    for o in range(len(outputs)):
        signals[o] = label[o] - math.exp(outputs[o]) / total


class Joint(Loss):
    """The cross-entropy of the softmax of all outputs."""

    joint = True

    def value(self, output, label):
        return -(label * output.log_softmax(-1)).sum(-1)

    def signal(self, output, label):
        return label - output.softmax(-1)

    def curvature(self, output, label):
        raise AssertionError("no update needs it")

    def array_signal(self):
        return _joint_error


def test_the_scalar_form_of_a_loss_is_found_in_its_code():
    assert trace(lambda x, y: (y - x).clamp(max=0.7) * y, arguments=2).splitlines() == [
        "n0 = y - 1.0 * x",
        "n1 = 0.7 if n0 >= 0.7 or 0.7 != 0.7 else n0",
        "n2 = n1 * y",
        "return n2",
    ]
    outputs, label, signals = np.array([0.2, 3.0, -9.0]), np.array([0.5, 1.0, -1.0]), np.zeros(3)
    error_function_of(Huber())(outputs, label, signals)
    np.testing.assert_allclose(signals, [0.3, -0.7, 0.7], rtol=1e-15)
    assert error_function_of(Huber()) is error_function_of(Huber())  # compiled once


@pytest.mark.parametrize(
    "scalar",
    [
        lambda x, y: min(max(y - x, -0.7), 0.7 + 1e-11),
        lambda x, y: min(max(y - x, -0.7), 0.7) if y - x > -0.7 else 0.0,
        lambda x, y: min(max(y - x, -0.7), 0.7) if y != 0.0 else 0.0,
        lambda x, y: min(max(x - y, -0.7), 0.7),
    ],
)
def test_a_difference_from_the_code_of_a_loss_is_noticed(scalar):
    assert disagreement(Huber().signal, scalar, trial_pairs([0.7])) is not None


def test_the_chain_of_a_loss_of_ones_own_equals_sgd_by_autograd():
    mixture, network = build(12, 3, "erf", True)
    algorithm = gd.OnlineSGD(0.7, 0.6, loss=Huber())
    engine = ChainEngine(mixture, network, algorithm, seed=5, block_size=40)
    final = explicit_sgd(engine, network, algorithm, 25).order_parameters(mixture)
    found = engine.order_parameters(range(1)).of(0)
    for name in ("Q", "R", "v", "b"):
        torch.testing.assert_close(getattr(found, name), getattr(final, name), rtol=0, atol=1e-9)


@pytest.mark.parametrize(
    ("name", "compiled"), [("huber", True), ("huber", False), ("opaque", True)]
)
def test_weights_of_a_loss_of_ones_own_equal_sgd_by_autograd(name, compiled):
    mixture, network = build(12, 3, "erf", True)
    algorithm = gd.OnlineSGD(
        0.7, 0.6, loss={"huber": Huber(), "opaque": Opaque()}[name], batch_size=2
    )
    engine = DenseEngine(mixture, network, algorithm, block_size=40, compiled=compiled)
    assert engine.compiled == (compiled and name == "huber")
    _, inputs, labels = next(iter(engine.samples(0, range(1))))
    expected = plain_sgd(network, algorithm, inputs[0].clone(), labels[0].clone())
    engine.advance(Segment(0, 0, 40))
    assert (engine.first_layer[0] - expected.first_layer).abs().max() < 1e-12
    assert (engine.readout[0] - expected.readout).abs().max() < 1e-12
    assert (engine.first_layer[0] - network.first_layer).abs().max() > 0.1


def test_the_chain_says_why_it_does_not_take_a_loss():
    parts = (*build(12), gd.OnlineSGD(0.7, loss=Opaque()))
    with pytest.raises(
        IncompatibleError,
        match=r"error signal can be compiled, and Opaque's `signal` calls aten.max",
    ):
        ChainEngine(*parts)


RATES = np.array([0.9, 0.5, 0.0, 1.3, 0.7, 0.2])
# First layer, readout and bias of three units and three outputs in five dimensions.
DIM, HIDDEN, OUTPUTS = 5, 3, 3


def problem(loss, batch, train_readout=True, bias_decay=0.4):
    generator = torch.Generator().manual_seed(0)

    def normals(*shape):
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    count = len(RATES) * batch
    inputs, classes = normals(count, DIM), torch.randint(3, (count,), generator=generator)
    labels = torch.nn.functional.one_hot(classes, OUTPUTS).double()
    weights = Weights(normals(HIDDEN, DIM), normals(OUTPUTS, HIDDEN), normals(HIDDEN))
    activation = gd.activation("erf")
    error = error_function_of(loss)
    functions = (*scalar_functions_of(activation).functions, error)
    rule = Rule(activation, loss, functions, batch, 0.4, bias_decay, train_readout)
    return rule, inputs, labels, weights


def by_autograd(rule, inputs, labels, weights):
    """What every textbook writes, with the powers of D of the two-layer network."""
    layer, readout, bias = (tensor.clone().requires_grad_() for tensor in weights)
    for update, rate in enumerate(RATES / DIM):
        part = slice(update * rule.batch, (update + 1) * rule.batch)
        fields = inputs[part] @ layer.T / math.sqrt(DIM) + bias
        value = rule.loss.value(rule.activation(fields) @ readout.T, labels[part])
        value.sum().div(rule.batch).backward()
        with torch.no_grad():
            for tensor, scale, decay in (
                (layer, DIM, rule.weight_decay),
                (bias, 1, rule.bias_decay),
                (readout, float(rule.train_readout), rule.weight_decay * rule.train_readout),
            ):
                tensor.mul_(1 - rate * decay).sub_(rate * scale * tensor.grad)
                tensor.grad = None
    return Weights(layer.detach(), readout.detach(), bias.detach())


@pytest.mark.parametrize("loss", [gd.loss("square"), Joint()], ids=["square", "joint"])
@pytest.mark.parametrize(
    ("batch", "train_readout", "bias_decay"), [(1, True, 0.4), (3, True, 0.0), (2, False, 0.4)]
)
def test_several_outputs_equal_sgd_by_autograd(loss, batch, train_readout, bias_decay):
    rule, inputs, labels, start = problem(loss, batch, train_readout, bias_decay)
    expected = by_autograd(rule, inputs, labels, start)
    loop = copy.deepcopy(start)
    CompiledLoop(rule, loop).move(inputs.unsqueeze(0), labels.unsqueeze(0), RATES)
    blocked = Weights(*(tensor.clone().unsqueeze(0) for tensor in start))
    form = BlockedForm(rule, blocked, torch.float64)
    form.move(inputs.unsqueeze(0), labels.unsqueeze(0), RATES)
    for mine, other, theirs, before in zip(loop, blocked.of(0), expected, start, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=0, atol=1e-13)
        torch.testing.assert_close(other, theirs, rtol=0, atol=1e-13)
        assert train_readout or before is start.readout or (theirs - before).abs().max() > 0.01


@pytest.mark.parametrize("loss", [gd.loss("square"), Joint()], ids=["square", "joint"])
def test_a_chain_of_several_outputs_equals_sgd_by_autograd(loss):
    """Where its basis is all of space: two directions of means, and three more."""
    rule, _, _, start = problem(loss, 1)
    random = np.random.default_rng(1)
    centres, labels = random.standard_normal((3, 2)), np.eye(3)
    noise = Noise(
        RATES / DIM,
        random.random(len(RATES)),
        random.standard_normal((len(RATES), DIM)),
        np.empty(0),
        np.empty(0),
    )
    cumulative, sigma = np.array([0.2, 0.7, 1.0]), 0.8
    clusters = np.searchsorted(cumulative, noise.choices, side="right")
    points = sigma * noise.normals
    points[:, :2] += centres[clusters]
    inputs, told = torch.from_numpy(points), torch.from_numpy(labels[clusters])
    expected = by_autograd(rule, inputs, told, start)
    coordinates = start.first_layer.T.numpy() / math.sqrt(DIM)
    state = [coordinates[:2].copy(), coordinates[2:].copy(), start.readout.numpy().copy()]
    state.append(start.bias.numpy().copy())
    parameters = [np.array([sigma, rule.weight_decay, 0.0, 1.0]), centres, labels, cumulative]
    mover(rule.functions, parameters, state)(noise)
    found = np.concatenate(state[:2]).T * math.sqrt(DIM)
    np.testing.assert_allclose(found, expected.first_layer.numpy(), atol=1e-13)
    np.testing.assert_allclose(state[2], expected.readout.numpy(), atol=1e-13)
    np.testing.assert_allclose(state[3], expected.bias.numpy(), atol=1e-13)
    assert len(set(clusters)) == 3


def test_kernels_of_several_outputs_are_made_into_ptx(pretended_device):
    from numba import cuda

    from gmmdyn.training.chain import _cuda
    from gmmdyn.training.rule import _recursion_cuda

    functions = problem(Joint(), 1)[0].functions
    chain = _cuda.kernel_of(_cuda.Sizes(1000, 2, 4, 4, 4, OUTPUTS, True), functions)
    recursion = _recursion_cuda.kernel_of(4, OUTPUTS, functions)
    for kernel, types in (
        (chain, _cuda.SIGNATURE.args),
        (recursion, _recursion_cuda.SIGNATURES[4].args),
    ):
        code, _ = cuda.compile_ptx(kernel, types, cc=(9, 0))
        assert ".target sm_90" in code
