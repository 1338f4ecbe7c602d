"""Single instructions that numba's compiled loops lack: bits of numbers, and 32-bit arithmetic.

Numba widens the whole numbers of 32 bits that it computes with to 64, which halves what a vector
instruction does.
"""

# mypy: disable-error-code="no-untyped-def,no-untyped-call,import-untyped,misc"
# ruff: noqa: ANN001, ANN202

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import float32, float64, int32, int64
from numba.extending import intrinsic


def _instruction(result: Any, arguments: tuple[Any, ...], build: Any) -> Any:
    """Return a function that is one instruction.

    Args:
        result: its type.
        arguments: types of its one or two arguments.
        build: makes it of LLVM's builder and operands.
    """
    if len(arguments) == 1:

        @intrinsic
        def one(typing_context, x):
            return result(*arguments), lambda c, builder, s, operands: build(builder, *operands)

        return one

    @intrinsic
    def two(typing_context, x, y):
        return result(*arguments), lambda c, builder, s, operands: build(builder, *operands)

    return two


_I32, _I64, _F32, _F64 = ir.IntType(32), ir.IntType(64), ir.FloatType(), ir.DoubleType()
bits_of = _instruction(int32, (float32,), lambda b, x: b.bitcast(x, _I32))
float_of = _instruction(float32, (int32,), lambda b, x: b.bitcast(x, _F32))
number_of = _instruction(float32, (int32,), lambda b, x: b.sitofp(x, _F32))
minus = _instruction(int32, (int32, int32), lambda b, x, y: b.sub(x, y))
both = _instruction(int32, (int32, int32), lambda b, x, y: b.and_(x, y))
shift_left = _instruction(int32, (int32, int32), lambda b, x, y: b.shl(x, y))
shift_right = _instruction(int32, (int32, int32), lambda b, x, y: b.ashr(x, y))
bits_of64 = _instruction(int64, (float64,), lambda b, x: b.bitcast(x, _I64))
float_of64 = _instruction(float64, (int64,), lambda b, x: b.bitcast(x, _F64))
shifted64 = _instruction(int64, (int64, int64), lambda b, x, y: b.lshr(x, y))
root = _instruction(
    float32, (float32,), lambda b, x: b.call(b.module.declare_intrinsic("llvm.sqrt", [_F32]), [x])
)
root64 = _instruction(
    float64, (float64,), lambda b, x: b.call(b.module.declare_intrinsic("llvm.sqrt", [_F64]), [x])
)
