"""Calls of scalar functions by their address, for compiled loops."""

# mypy: disable-error-code="no-untyped-def,no-untyped-call,import-untyped"
# ruff: noqa: ANN001, ANN202

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import float64, int64, types
from numba.extending import intrinsic


def _caller(arguments: int) -> Any:
    """Return what calls a function of some floats by its address, from compiled code.

    One compilation of the loop, kept on disk, serves all activations and losses, and the call from
    Python costs microseconds; functions as arguments would cost numba a hundred a call.
    """

    @intrinsic
    def call(typing_context, address, values):
        def generate(context, builder, signature, operands):
            function = ir.FunctionType(ir.DoubleType(), [ir.DoubleType()] * arguments)
            pointer = builder.inttoptr(operands[0], function.as_pointer())
            numbers = [builder.extract_value(operands[1], i) for i in range(arguments)]
            return builder.call(pointer, numbers)

        return float64(int64, types.UniTuple(float64, arguments)), generate

    return call


call1, call2 = _caller(1), _caller(2)
