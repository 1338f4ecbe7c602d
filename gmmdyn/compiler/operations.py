"""What torch's operations do to one element, as source that numba compiles.

By the name of an operation of ATen, a word among its arguments after a colon. Fields are named as
in the operation's schema. Each expression is what torch's kernel computes in float64, kinks,
infinities and NaN included; no branch can raise where division by zero is infinite. Of Python's
functions only those that exist on GPUs too.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from string import Formatter
from typing import Any, NamedTuple

from torch import Tensor


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


# They only move numbers, or put zeros between them.
MOVES = _names(
    """_unsafe_view cat clone constant_pad_nd flip gather index index_select lift_fresh repeat roll
    select_backward slice_backward stack tril triu"""
)
# They make something of the shape of an argument alone.
MAKERS = _names(
    """empty_like full_like new_empty new_empty_strided new_full new_ones new_zeros ones_like
    zeros_like"""
)
# What they return is not followed.
LOOKS = _names("_local_scalar_dense allclose equal is_nonzero item nonzero")
# They compute, of functions of up to 1, sums that may be small.
CANCELLING = _names("gelu gelu_backward mish_backward silu_backward")
# They add, or multiply, along axes.
SUMS = _names("bmm dot mean mm mv prod sum")

# Of the largest numbers that have a fractional part, rounded up; adding 1.5 of them rounds to even.
_WHOLE = "4503599627370496.0"
_ROUND = "6755399441055744.0"
_X = "{self}"


def _whole(function: str, x: str) -> str:
    """Write a rounding that also takes what no integer can hold, and keeps the sign of zero."""
    return f"math.copysign(float({function}({x})), {x}) if abs({x}) < {_WHOLE} else {x}"


def _sigmoid(x: str) -> str:
    return f"(1.0 / (1.0 + math.exp(-{x})))"


_CLIPPED = "(0.0 if {self} <= -3.0 else (6.0 if {self} >= 3.0 else {self} + 3.0))"
_FAST_TANH = "math.tanh(0.7978845608028654 * ({self} + 0.044715 * ({self} * {self} * {self})))"
_SOFT_TANH = "math.tanh(math.log1p(math.exp({self})))"
_IN_FAST_TANH = "0.7978845608028654 * (1.0 + 0.134145 * {self} * {self})"
_DECAY = "math.exp(-abs({self}))"

# Of numbers; what is true or false counts as 1 or 0.
NUMBERS: dict[str, str] = {
    "abs": "abs({self})",
    "add": "{self} + {alpha} * {other}",
    "addcdiv": "{self} + {value} * {tensor1} / {tensor2}",
    "addcmul": "{self} + {value} * {tensor1} * {tensor2}",
    "atan2": "math.atan2({self}, {other})",
    "ceil": _whole("math.ceil", _X),
    "celu": "math.expm1({self} * (1.0 / {alpha})) * {alpha} if {self} <= 0.0 else {self}",
    "copysign": "math.copysign({self}, {other})",
    "deg2rad": "{self} * 0.017453292519943295",
    "div": "{self} / {other}",
    "elu": "math.expm1({self} * {input_scale}) * ({alpha} * {scale}) if {self} <= 0.0 "
    "else {self} * {scale}",
    "elu_backward:False": "{grad_output} * {input_scale} * ({alpha} * {scale}) "
    "* math.exp({self_or_result} * {input_scale}) if {self_or_result} <= 0.0 "
    "else {grad_output} * {scale}",
    "elu_backward:True": "{grad_output} * {input_scale} * ({self_or_result} + {alpha} * {scale}) "
    "if {self_or_result} <= 0.0 else {grad_output} * {scale}",
    "eq": "{self} == {other}",
    "exp2": "math.pow(2.0, {self})",
    "floor": _whole("math.floor", _X),
    "fmax": "{self} if {self} >= {other} or {other} != {other} else {other}",
    "fmin": "{self} if {self} <= {other} or {other} != {other} else {other}",
    "fmod": "math.copysign(abs({self}) % abs({other}), {self})",
    "ge": "{self} >= {other}",
    "gelu:none": "{self} * 0.5 * (1.0 + math.erf({self} * 0.7071067811865476))",
    "gelu:tanh": "0.5 * {self} * (1.0 + " + _FAST_TANH + ")",
    "gelu_backward:none": "{grad_output} * (0.5 * (1.0 + math.erf({self} * 0.7071067811865476)) "
    "+ {self} * (0.3989422804014327 * math.exp(-0.5 * {self} * {self})))",
    "gelu_backward:tanh": "{grad_output} * (0.5 * (1.0 + "
    + _FAST_TANH
    + ") + 0.5 * {self} * (1.0 - "
    + f"{_FAST_TANH} * {_FAST_TANH}) * ({_IN_FAST_TANH}))",
    "gt": "{self} > {other}",
    "hardshrink": "0.0 if -{lambd} <= {self} <= {lambd} else {self}",
    "hardshrink_backward": "0.0 if -{lambd} <= {self} <= {lambd} else {grad_out}",
    "hardsigmoid": _CLIPPED + " / 6.0",
    # torch has 1/6 in single precision here.
    "hardsigmoid_backward": "{grad_output} * 0.1666666716337204 if -3.0 < {self} < 3.0 else 0.0",
    "hardswish": "{self} * " + _CLIPPED + " / 6.0",
    "hardswish_backward": "0.0 if {self} <= -3.0 else ({grad_output} if {self} >= 3.0 "
    "else {grad_output} * ({self} / 3.0 + 0.5))",
    "hardtanh_backward": "0.0 if {self} <= {min_val} or {self} >= {max_val} else {grad_output}",
    "heaviside": "{values} if {self} == 0.0 else (1.0 if {self} > 0.0 else 0.0)",
    "hypot": "math.hypot({self}, {other})",
    "isinf": "abs({self}) == math.inf",
    "isnan": "{self} != {self}",
    "le": "{self} <= {other}",
    "leaky_relu": "{self} if {self} > 0.0 else {self} * {negative_slope}",
    "leaky_relu_backward:False": "{grad_output} if {self} > 0.0 "
    "else {grad_output} * {negative_slope}",
    "lerp": "{self} + {weight} * ({end} - {self}) if abs({weight}) < 0.5 "
    "else {end} - ({end} - {self}) * (1.0 - {weight})",
    "log_sigmoid_backward": "{grad_output} * ((1.0 if {self} < 0.0 else 0.0) "
    "- (1.0 if {self} < 0.0 else -1.0) * ({buffer} / (1.0 + {buffer})))",
    "log_sigmoid_forward:1": _DECAY,
    "log_sigmoid_forward": "({self} if {self} < 0.0 else 0.0) - math.log1p(" + _DECAY + ")",
    "logaddexp": "{self} if {self} == {other} and abs({self}) == math.inf else "
    "({self} if {self} > {other} else {other}) + math.log1p(math.exp(-abs({self} - {other})))",
    "logit": "math.log({self} / (1.0 - {self}))",
    "logit_backward": "{grad_output} / ({self} * (1.0 - {self})) "
    "if 0.0 <= {self} <= 1.0 else math.nan",
    "lt": "{self} < {other}",
    "maximum": "{other} if {self} <= {other} or {other} != {other} else {self}",
    "minimum": "{other} if {self} >= {other} or {other} != {other} else {self}",
    "mish": "{self} * " + _SOFT_TANH,
    "mish_backward": "{grad_output} * ("
    + f"{_SOFT_TANH} + {_X} * {_sigmoid(_X)} * (1.0 - {_SOFT_TANH} * {_SOFT_TANH}))",
    "mul": "{self} * {other}",
    "ne": "{self} != {other}",
    "neg": "-{self}",
    "pow": "math.pow({self}, {exponent})",
    "rad2deg": "{self} * 57.29577951308232",
    "reciprocal": "1.0 / {self}",
    "relu": "0.0 if {self} <= 0.0 else {self}",
    "remainder": "{self} % {other}",
    "round": "({self} + "
    + f"{_ROUND}) - {_ROUND}"
    + " if abs({self}) < 2251799813685248.0 else {self}",
    "rsqrt": "1.0 / math.sqrt({self})",
    "rsub": "{other} - {alpha} * {self}",
    "sgn": "1.0 if {self} > 0.0 else (-1.0 if {self} < 0.0 else 0.0)",
    "sigmoid": _sigmoid(_X),
    "sigmoid_backward": "{grad_output} * (1.0 - {output}) * {output}",
    "sign": "1.0 if {self} > 0.0 else (-1.0 if {self} < 0.0 else 0.0)",
    "signbit": "math.copysign(1.0, {self}) < 0.0",
    "silu": "{self} / (1.0 + math.exp(-{self}))",
    "silu_backward": "{grad_output} * " + f"{_sigmoid(_X)} * (1.0 + {_X} * (1.0 - {_sigmoid(_X)}))",
    "sinc": "1.0 if {self} == 0.0 else "
    "math.sin(3.141592653589793 * {self}) / (3.141592653589793 * {self})",
    "softplus": "{self} if {self} * {beta} > {threshold} "
    "else math.log1p(math.exp({self} * {beta})) / {beta}",
    "softplus_backward": "{grad_output} if {self} * {beta} > {threshold} else {grad_output} "
    "* math.exp({self} * {beta}) / (math.exp({self} * {beta}) + 1.0)",
    "softshrink": "{self} - {lambd} if {self} > {lambd} else "
    "({self} + {lambd} if {self} < -{lambd} else {self} * 0.0)",
    "softshrink_backward": "0.0 if -{lambd} <= {self} <= {lambd} else {grad_output}",
    "special_entr": "-{self} * math.log({self}) if {self} > 0.0 else "
    "({self} if {self} != {self} else (0.0 if {self} == 0.0 else -math.inf))",
    "special_xlog1py": "{other} if {other} != {other} else "
    "(0.0 if {self} == 0.0 else {self} * math.log1p({other}))",
    "sub": "{self} - {alpha} * {other}",
    "tanh_backward": "{grad_output} * (1.0 - {output} * {output})",
    "threshold": "{value} if {self} <= {threshold} else {self}",
    "threshold_backward": "0.0 if {self} <= {threshold} else {grad_output}",
    "trunc": _whole("math.trunc", _X),
    "xlogy": "{other} if {other} != {other} else "
    "(0.0 if {self} == 0.0 else {self} * math.log({other}))",
}
NUMBERS["leaky_relu_backward:True"] = NUMBERS["leaky_relu_backward:False"]
NUMBERS["_prelu_kernel"] = "{self} if {self} > 0.0 else {weight} * {self}"
NUMBERS["_prelu_kernel_backward"] = "{grad_output} if {self} > 0.0 else {weight} * {grad_output}"
NUMBERS["_prelu_kernel_backward:1"] = "0.0 if {self} > 0.0 else {self} * {grad_output}"
NUMBERS["div:floor"] = NUMBERS["floor_divide"] = "{self} // {other}"
NUMBERS["div:trunc"] = _whole("math.trunc", "({self} / {other})")
NUMBERS["frac"] = "{self} - (" + NUMBERS["trunc"] + ")"


def _between(low: str, high: str) -> tuple[str, str, str]:
    """Write how a number is kept above a bound, below one, and between both; NaN stays NaN."""
    above = f"{low} if {_X} <= {low} or {low} != {low} else {_X}"
    below = f"{high} if {_X} >= {high} or {high} != {high} else {_X}"
    return above, below, below.replace(_X, f"({above})")


NUMBERS["clamp_min"], NUMBERS["clamp_max"], NUMBERS["clamp"] = _between("{min}", "{max}")
NUMBERS["hardtanh"] = _between("{min_val}", "{max_val}")[2]
for _name in _names(
    """acos acosh asin asinh atan atanh cos cosh erf erfc exp expm1 lgamma log log10 log1p log2 sin 
    sinh sqrt tan tanh"""
):
    NUMBERS[_name] = f"math.{_name}({_X})"
# torch's kernels for these powers are other than that of all powers.
_POWERS: dict[float, str] = {
    0.5: "math.sqrt({self})",
    2.0: "{self} * {self}",
    3.0: "{self} * {self} * {self}",
    -0.5: "1.0 / math.sqrt({self})",
    -1.0: "1.0 / {self}",
    -2.0: "1.0 / ({self} * {self})",
}
# Of truths; numbers count as whether they are not 0.
_TRUTHS: dict[str, str] = {
    "bitwise_and": "{self} and {other}",
    "bitwise_not": "not {self}",
    "bitwise_or": "{self} or {other}",
    "bitwise_xor": "{self} != {other}",
    "logical_and": "{self} and {other}",
    "logical_not": "not {self}",
    "logical_or": "{self} or {other}",
    "logical_xor": "{self} != {other}",
}
# Of what the result is, numbers or truths, and of conditions.
_CHOICES: dict[str, str] = {
    "_to_copy": "{self}",
    "copy": "{src}",
    "fill": "{value}",
    "index_put": "{values} if {indices} else {self}",
    "masked_fill": "{value} if {mask} else {self}",
    "where": "{self} if {condition} else {other}",
    "zero": "0.0",
}
_CONDITIONS = frozenset(("condition", "indices", "mask"))
# They choose among forms.
_WORDS = ("approximate", "is_result", "rounding_mode", "self_is_result")
# What is overwritten, where and how results are stored, and what has chosen a form already.
_ASIDE = _names("device dtype exponent layout memory_format non_blocking out pin_memory self")
# The standard of arithmetic defines the others to the last bit.
_ROUNDED = re.compile(r"math\.(?!ceil|copysign|floor|inf|sqrt|trunc)")


class ScalarForm(NamedTuple):
    """What an operation does to one element.

    Attributes:
        template: an expression whose fields are names of arguments.
        numbers: these names, of those that are numbers.
        truths: of those that are true or false.
    """

    template: str
    numbers: tuple[str, ...]
    truths: tuple[str, ...]


def scalar_form(
    name: str, given: Mapping[str, Any], defaults: Mapping[str, Any], *, is_truth: bool
) -> ScalarForm | None:
    """Find what an operation does to one element.

    Args:
        name: of the operation, as `"add"`.
        given: its arguments by name.
        defaults: those values they would have otherwise.
        is_truth: whether its result is true or false.

    Returns:
        The form, or None if it is not known.
    """
    word = next((str(given[key]) for key in _WORDS if given.get(key) is not None), None)
    key = name if word is None else f"{name}:{word}"
    if name == "clamp" and None in (given["min"], given["max"]):
        key = "clamp_max" if given["min"] is None else "clamp_min"
    template = _CHOICES.get(key) or _TRUTHS.get(key) or NUMBERS.get(key)
    if name == "pow" and isinstance(given["exponent"], int | float):
        template = _POWERS.get(given["exponent"], template)
    if template is None:
        return None
    fields = sorted({field for _, field, _, _ in Formatter().parse(template) if field})
    for other in given.keys() - _ASIDE.union(fields, _WORDS):
        if not isinstance(given[other], Tensor) and given[other] != defaults.get(other):
            return None  # an option that the template does not know
    every = key in _TRUTHS or (key in _CHOICES and is_truth)
    truths = tuple(field for field in fields if every or field in _CONDITIONS)
    return ScalarForm(template, tuple(field for field in fields if field not in truths), truths)


@cache
def is_rounded(name: str) -> bool:
    """Say whether implementations may differ in the last bits.

    Args:
        name: of an operation, as `"tanh"`.

    Returns:
        Whether they may.
    """
    return any(
        _ROUNDED.search(template)
        for key, template in NUMBERS.items()
        if key.partition(":")[0] == name
    )
