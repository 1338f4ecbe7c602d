"""Calls of functions by their address, and arrays without references, for compiled loops.

One compilation of a loop, kept on disk, serves all functions, and the call from Python costs
microseconds; functions as arguments would cost numba a hundred a call.
"""

# mypy: disable-error-code="no-untyped-def,no-untyped-call,import-untyped,attr-defined"
# ruff: noqa: ANN001, ANN202

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import float64, int64, types, void
from numba.extending import intrinsic


def _call_scalar(typing_context, address, number):
    """Call a function of a float."""

    def generate(context, builder, signature, operands):
        function = ir.FunctionType(ir.DoubleType(), [ir.DoubleType()])
        return builder.call(builder.inttoptr(operands[0], function.as_pointer()), [operands[1]])

    return float64(int64, float64), generate


def _call_arrays(typing_context, address, first, second, third):
    """Call a function of three arrays of as many floats."""

    def generate(context, builder, signature, operands):
        arrays = [
            context.make_array(kind)(context, builder, value)
            for kind, value in zip(signature.args[1:], operands[1:], strict=True)
        ]
        pointer, size = ir.DoubleType().as_pointer(), ir.IntType(64)
        function = ir.FunctionType(ir.VoidType(), [pointer] * 3 + [size])
        count = builder.extract_value(arrays[0].shape, 0)
        target = builder.inttoptr(operands[0], function.as_pointer())
        builder.call(target, [*(array.data for array in arrays), count])
        return context.get_dummy_value()

    return void(int64, first, second, third), generate


def _without_references(context, builder, kind, value):
    if isinstance(kind, types.Array):
        view = context.make_array(kind)(context, builder, value)
        view.meminfo = ir.Constant(view.meminfo.type, None)
        view.parent = ir.Constant(view.parent.type, None)
        return view._getvalue()
    if isinstance(kind, types.BaseTuple):
        parts = [
            _without_references(context, builder, part, builder.extract_value(value, i))
            for i, part in enumerate(kind.types)
        ]
        return context.make_tuple(builder, kind, parts)
    return value


def _borrowed(typing_context, value):
    """Return an array, or a tuple of any, whose references numba does not count.

    In a loop that hands arrays to functions, counting costs more than the work. The caller of the
    function that this is used in must hold them: give it arguments only.
    """

    def generate(context, builder, signature, operands):
        return _without_references(context, builder, value, operands[0])

    return value(value), generate


call_scalar: Any = intrinsic(_call_scalar)
call_arrays: Any = intrinsic(_call_arrays)
borrowed: Any = intrinsic(_borrowed)
