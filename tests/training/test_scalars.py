"""Scalar functions found in torch code are what torch computes, and what is none is refused."""

from __future__ import annotations

import math
import pickle
import re
import threading

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import gmmdyn as gd
from gmmdyn.compiler.agreement import disagreement, trial_numbers
from gmmdyn.compiler.operations import NUMBERS
from gmmdyn.compiler.scalars import compiled_scalar
from gmmdyn.compiler.tracing import UntraceableError, trace
from gmmdyn.errors import IncompatibleError
from gmmdyn.training import ChainEngine, DenseEngine, Segment
from gmmdyn.training.rule.rule import scalar_functions_of


class Elementwise(gd.Activation):
    """Any function, with its derivative by automatic differentiation unless given."""

    def __init__(self, function, derivative=None):
        super().__init__()
        self.function = function
        self.slope = derivative

    def forward(self, x):
        return self.function(x)

    def derivative(self, x):
        if self.slope is not None:
            return self.slope(x)
        with torch.enable_grad():
            point = x.detach().requires_grad_()
            (slope,) = torch.autograd.grad(self.function(point).sum(), point)
        return slope


class Softplus(gd.Activation):
    """The five lines of the documentation."""

    def forward(self, x):
        return F.softplus(x)

    def derivative(self, x):
        return torch.sigmoid(x)


class ByHand(Softplus):
    """The same with scalar functions."""

    def scalar_functions(self):
        return _softplus, _sigmoid


def _softplus(x):
    return x if x > 20.0 else math.log1p(math.exp(x))


def _sigmoid(x):
    return 1.0 / (1.0 + math.exp(-x))


class Scaled(gd.Activation):
    """With a number of its own."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(2.0, dtype=torch.float64))

    def forward(self, x):
        return torch.tanh(self.scale * x)

    def derivative(self, x):
        return self.scale * (1 - torch.tanh(self.scale * x) ** 2)


def _assigned(x):
    y = x.clone().masked_fill_(x > 1, 0.5)
    y[y < -2] = -2.0
    return y


def _in_place(x):
    y = torch.empty_like(x)
    y.copy_(x).mul_(2).clamp_(min=-1)
    flat = y.view(-1)
    flat += 1
    return y


def _doubled(x):
    return torch.tensor(2.0) * x


COEFFICIENTS = torch.tensor([0.3, -1.0, 0.25, 0.1], dtype=torch.float64)

# With kernels of their own for the derivative.
DIFFERENTIABLE = {
    "celu": lambda x: F.celu(x, 0.7),
    "clamp": lambda x: x.clamp(-0.5, 2),
    "elu": lambda x: F.elu(x, 1.3),
    "gelu": F.gelu,
    "gelu tanh": lambda x: F.gelu(x, approximate="tanh"),
    "hardshrink": F.hardshrink,
    "hardsigmoid": F.hardsigmoid,
    "hardswish": F.hardswish,
    "hardtanh": F.hardtanh,
    "leaky_relu": lambda x: F.leaky_relu(x, 0.2),
    "logsigmoid": F.logsigmoid,
    "maximum": lambda x: torch.maximum(x, x**2),
    "mish": F.mish,
    "polynomial": lambda x: (x.unsqueeze(-1) ** torch.arange(4) * COEFFICIENTS).sum(-1),
    "power": lambda x: x.abs() ** 1.5,
    "prelu": lambda x: F.prelu(x, torch.tensor([0.3], dtype=x.dtype)),
    "relu": F.relu,
    "relu6": F.relu6,
    "selu": F.selu,
    "sigmoid": torch.sigmoid,
    "silu": F.silu,
    "softplus": lambda x: F.softplus(x, beta=2.0, threshold=15.0),
    "softshrink": F.softshrink,
    "softsign": F.softsign,
    "tanh": torch.tanh,
    "tanhshrink": F.tanhshrink,
    "threshold": lambda x: F.threshold(x, 0.3, 0.1),
    "where": lambda x: torch.where(x > 0, x, torch.expm1(x)),
}
FUNCTIONS = {
    "arithmetic": lambda x: -(1 - 2 * x) / (x * x + 3) + x.reciprocal() - torch.rsub(x, 2, alpha=3),
    "assigned": _assigned,
    "atan2": lambda x: torch.atan2(x, x * x - 1),
    "bits": lambda x: ((x > 0) & (x < 2) | ~(x > -1) ^ (x > -2)).to(x.dtype),
    "constant": lambda x: torch.full_like(x, -0.5),
    "copysign": lambda x: torch.copysign(x + 1, x),
    "count": lambda x: (x.unsqueeze(-1) > COEFFICIENTS).sum(-1) * x,
    "entr": torch.special.entr,
    "erf": lambda x: torch.erf(x / math.sqrt(2)),
    "float32 number": _doubled,
    "fmod": lambda x: torch.fmod(x, -1.5),
    "heaviside": lambda x: torch.heaviside(x, torch.tensor(0.5, dtype=x.dtype)),
    "hypot": lambda x: torch.hypot(x, x + 1),
    "in place": _in_place,
    "lerp": lambda x: torch.lerp(x, x * x, 0.3),
    "logaddexp": lambda x: torch.logaddexp(x, 2 * x),
    "logical": lambda x: torch.logical_or(x, x > 1).logical_not().to(x.dtype),
    "logit": torch.logit,
    "mask": lambda x: (x > 0) * x,
    "mean": lambda x: torch.stack([x, x**2, x**3]).mean(0),
    "minimum": lambda x: torch.minimum(torch.fmin(x, x**2), torch.fmax(x, 1 - x)),
    "modulo": lambda x: x % 1.5,
    "ndtr": torch.special.ndtr,
    "numbers": lambda x: torch.nn.functional.one_hot(torch.tensor(1), 3).sum() * x,
    "product": lambda x: x[..., None].expand(*x.shape, 4).pow(torch.arange(4)) @ COEFFICIENTS,
    "rounding": lambda x: x.floor() + x.ceil() + x.trunc() + x.frac() + x.round(),
    "same": lambda x: x,
    "same bits": lambda x: x.view(-1).reshape(x.shape).contiguous(),
    "scalar base": lambda x: 2**x,
    "sign": lambda x: torch.sign(x) + torch.sgn(x) + x.signbit() + x.isnan() + x.isinf(),
    "sinc": torch.sinc,
    "whole division": lambda x: x // 0.3 + torch.div(x, 0.3, rounding_mode="trunc"),
    "xlog1py": lambda x: torch.special.xlog1py(x, x) + torch.xlogy(x, x),
}
for _function in (
    *(torch.acos, torch.acosh, torch.asin, torch.asinh, torch.atan, torch.atanh, torch.cos),
    *(torch.cosh, torch.erfc, torch.exp, torch.exp2, torch.expm1, torch.lgamma, torch.log),
    *(torch.log10, torch.log1p, torch.log2, torch.rsqrt, torch.sin, torch.sinh, torch.sqrt),
    torch.tan,
):
    FUNCTIONS[_function.__name__] = _function
FUNCTIONS |= DIFFERENTIABLE

numbers = st.floats(-1e3, 1e3) | st.sampled_from(
    [0.0, -0.0, math.inf, -math.inf, 1e-300, 1e18, -1e18, 1e200]
)


def check_equal(function, scalar, values):
    x = torch.tensor(values, dtype=torch.float64)
    wanted = function(x).detach().numpy()
    found = np.array([scalar(value) for value in values])
    np.testing.assert_allclose(found, wanted, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", sorted(FUNCTIONS))
def test_what_is_found_is_what_torch_computes(name):
    function = FUNCTIONS[name]
    scalars = scalar_functions_of(Elementwise(function, torch.ones_like))
    assert scalars.functions is not None, scalars.reason
    scalar = compiled_scalar(scalars.functions[0]).ctypes

    @settings(max_examples=15, deadline=None, derandomize=True)
    @given(st.lists(numbers, min_size=1, max_size=9))
    def check(values):
        check_equal(function, scalar, values)

    check()
    check_equal(function, scalar, [math.nan] * 8)


@pytest.mark.parametrize("name", sorted(DIFFERENTIABLE))
def test_derivatives_by_automatic_differentiation_are_found(name):
    activation = Elementwise(DIFFERENTIABLE[name])
    scalars = scalar_functions_of(activation)
    assert scalars.functions is not None, scalars.reason
    scalar = compiled_scalar(scalars.functions[1]).ctypes

    @settings(max_examples=15, deadline=None, derandomize=True)
    @given(st.lists(numbers, min_size=1, max_size=9))
    def check(values):
        check_equal(activation.derivative, scalar, values)

    check()
    kinks = [-3.0, -1.0, -0.5, 0.0, 0.3, 0.5, 1.0, 2.0, 3.0, 6.0, 7.5]
    near = [np.nextafter(kink, side) for kink in kinks for side in (-math.inf, math.inf)]
    for value in [*kinks, *near]:
        check_equal(activation.derivative, scalar, [value])


def test_forms_are_of_operations_that_there_are_with_their_arguments():
    from string import Formatter

    for key, template in NUMBERS.items():
        packet = getattr(torch.ops.aten, key.partition(":")[0])
        fields = {field for _, field, _, _ in Formatter().parse(template) if field}
        arguments = [
            {argument.name for argument in getattr(packet, overload)._schema.arguments}
            for overload in packet.overloads()
        ]
        assert any(fields <= some for some in arguments), key


REFUSED = {
    "batch normalisation": (lambda x: x - x.mean(), "makes an element of others"),
    "softmax": (lambda x: x.softmax(-1), "calls aten._softmax.default, which has no known"),
    "sorted": (lambda x: x.sort(-1).values, "computes in torch.int64"),
    "turned": (lambda x: x.flip(0), "makes an element of others"),
    "one number each": (lambda x: x * torch.arange(3), "does not do the same to every element"),
    "first": (lambda x: x - x[..., :1], "makes an element of others"),
    "noise": (lambda x: x + torch.randn_like(x), "calls aten.randn_like.default"),
    "more noise": (lambda x: x + torch.randn(x.shape), "does not do the same to every element"),
    "one noise": (lambda x: x + torch.randn(()), "does not do at"),
    "dropout": (F.dropout, "does not do the same to every element"),
    "branch": (lambda x: x if x[0, 0] > 0 else 2 * x, "looks at the values of its input"),
    "numbers": (lambda x: x * float(x.reshape(-1)[0]), "looks at the values of its input"),
    "numpy": (lambda x: torch.from_numpy(np.tanh(x.detach().numpy())), "does not do the same"),
    "numpy branch": (lambda x: x if x.detach().numpy().max() < 5 else 2 * x, "does not do at"),
    "chosen": (lambda x: x[x > 0], "chooses elements by their values"),
    "table": (lambda x: torch.arange(9.0)[x.long().clamp(0, 8)], "computes in torch.int64"),
    "size": (lambda x: x * x.numel(), "does not do at"),
    "shape": (lambda x: x if x.ndim == 2 else 2 * x, "does not do at"),
    "flattened": (lambda x: x.flatten(), "does not return a tensor of the shape of its input"),
    "a number": (lambda x: 1.0, "does not return a tensor of the shape of its input"),
    "single precision": (lambda x: x.float().tanh().double(), "computes in torch.float32"),
    "half of single": (lambda x: x + 0.1 * (x > 0), "computes in torch.float32"),
    "truth": (lambda x: x > 0, "returns torch.bool"),
    "bits": (lambda x: x.view(torch.int64).double(), "looks at the bits of numbers"),
    "no form": (
        torch.special.i0e,
        "calls aten.special_i0e.default, which has no known scalar form",
    ),
    "options": (lambda x: x.round(decimals=1), "calls aten.round.decimals"),
    "long": (lambda x: sum(torch.sin(i * x) for i in range(2000)), "takes too many operations"),
    "error": (lambda x: x @ x, "could not be followed .RuntimeError"),
}


@pytest.mark.parametrize("name", sorted(REFUSED))
def test_what_is_no_scalar_function_is_refused_with_the_reason(name):
    function, reason = REFUSED[name]
    for activation, method in (
        (Elementwise(function, torch.ones_like), "forward"),
        (Elementwise(torch.tanh, function), "derivative"),
    ):
        scalars = scalar_functions_of(activation)
        assert scalars.functions is None
        assert scalars.reason.startswith(f"`{method}` ")
        assert re.search(reason, scalars.reason), scalars.reason


@pytest.mark.parametrize(
    ("function", "scalar"),
    [
        (torch.tanh, lambda x: math.tanh(x) * (1 + 1e-12)),
        (lambda x: (x > 0).to(x.dtype), lambda x: float(x >= 0)),
        (lambda x: (x.abs() < 1.5).to(x.dtype), lambda x: float(-1.5 <= x < 1.5)),
        (torch.relu, lambda x: max(0.0, x)),  # at NaN
        (F.softplus, lambda x: math.log1p(math.exp(min(x, 700))) if x == x else 0.0),
        (F.softplus, lambda x: x if x > 21 else math.log1p(math.exp(x))),
        (lambda x: x.clamp(max=1e200), lambda x: x),
        (lambda x: 1 - torch.tanh(x) ** 2, lambda x: 1 - math.tanh(x) ** 2 + 1e-12),
    ],
)
def test_a_difference_is_noticed(function, scalar):
    assert disagreement(function, scalar, trial_numbers([1.5, 20.0])) is not None


def test_a_difference_of_rounding_is_none():
    """Far out little is left of 1 - tanh(x)^2 but the rounding of tanh."""
    assert (
        disagreement(
            lambda x: 1 - torch.tanh(x) ** 2,
            lambda x: (1 - math.tanh(x)) * (1 + math.tanh(x)),
            trial_numbers(),
        )
        is None
    )


def test_the_source_is_short():
    assert trace(lambda x: 1 - torch.tanh(x) ** 2).splitlines() == [
        "n0 = math.tanh(x)",
        "n1 = n0 * n0",
        "n2 = 1.0 - 1.0 * n1",
        "return n2",
    ]
    with pytest.raises(UntraceableError):
        trace(lambda x: x.sum())


def test_equal_code_is_compiled_once():
    one, two = scalar_functions_of(Softplus()), scalar_functions_of(Softplus())
    assert one.functions[0] is two.functions[0]
    assert compiled_scalar(one.functions[0]) is compiled_scalar(two.functions[0])


def test_numbers_are_those_of_the_moment():
    activation = Scaled()
    for scale in (2.0, -0.5):
        with torch.no_grad():
            activation.scale.fill_(scale)
        value, slope = scalar_functions_of(activation).functions
        assert value(0.3) == math.tanh(scale * 0.3)
        assert slope(0.3) == pytest.approx(scale * (1 - math.tanh(scale * 0.3) ** 2), rel=1e-14)


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode, torch.enable_grad])
def test_the_mode_of_the_caller_does_not_matter(mode):
    activation = Elementwise(torch.tanh)
    with mode():
        value, slope = scalar_functions_of(activation).functions
    assert slope(0.5) == pytest.approx(1 - math.tanh(0.5) ** 2, rel=1e-14)


def experiment(activation, dim=20):
    mixture = gd.data_model("xor", dim=dim, variance=0.3)
    network = gd.network(
        "committee", dim=dim, hidden=3, activation=activation, init_scale=1.0, seed=1
    )
    return gd.Experiment(mixture, network, gd.OnlineSGD(0.5, 0.1))


@pytest.mark.parametrize("engine", [ChainEngine, DenseEngine])
def test_an_engine_runs_as_with_functions_written_by_hand(engine):
    states = []
    for activation in (Softplus(), ByHand()):
        one = experiment(activation)
        built = engine(one.data_model, one.network, one.algorithm, replicas=2, block_size=500)
        built.advance(Segment(0, 0, 500))
        states.append([state.clone() for state in built.parameters(recurse=False)])
    for mine, theirs in zip(*states, strict=True):
        torch.testing.assert_close(
            mine, theirs, rtol=0, atol=1e-6 if mine.dtype == torch.float32 else 1e-13
        )


def test_five_lines_take_the_chain_engine():
    assert experiment(Softplus()).simulate(1.0).metadata["engine"] == "chain"
    opaque = experiment(Elementwise(torch.special.i0e, torch.ones_like))
    assert opaque.simulate(1.0).metadata["engine"] == "dense"
    with pytest.raises(IncompatibleError, match=r"Elementwise's `forward` calls aten.special_i0e"):
        opaque.simulate(1.0, engine="chain")


def test_many_threads_find_the_same():
    activation = Elementwise(lambda x: x * torch.sigmoid(1.5 * x))
    found = []
    threads = [
        threading.Thread(target=lambda: found.append(scalar_functions_of(activation).functions))
        for _ in range(6)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 6
    assert len({value(0.7) for value, _ in found}) == 1


def test_an_activation_travels_to_other_processes_as_before():
    activation = Softplus()
    before = pickle.dumps(activation)
    scalar_functions_of(activation)
    assert pickle.dumps(activation) == before
    assert scalar_functions_of(pickle.loads(before)).functions is not None


@pytest.mark.science
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", sorted(FUNCTIONS))
def test_what_is_found_compiles_for_gpus(name):
    from numba import cuda, float64
    from numba.cuda.cudadrv import nvvm

    if not nvvm.is_available():
        pytest.skip("numba's toolkit for CUDA is not installed")
    slope = None if name in DIFFERENTIABLE else torch.ones_like
    for function in scalar_functions_of(Elementwise(FUNCTIONS[name], slope)).functions:
        code, _ = cuda.compile_ptx(function, (float64,), device=True, cc=(9, 0))
        assert "ret;" in code
