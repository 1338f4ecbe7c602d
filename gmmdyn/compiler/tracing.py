"""The scalar function that elementwise torch code computes, found by running it once.

Every operation that torch carries out on a small input, below automatic differentiation, is seen by
a dispatch mode. Beside each number in memory that depends on the input stands the expression that
made it. Views share memory, so they need no care, and what moves numbers is done to the expressions
too. If each element of the result is one and the same expression of the element of the input in its
place, this is the function; anything else is refused, with the reason.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

from gmmdyn.compiler.operations import LOOKS, MAKERS, MOVES, SUMS, scalar_form
from gmmdyn.errors import IncompatibleError

# What the arguments are called, and numbers whose values mean nothing: only where they go is looked
# at.
ARGUMENTS = ("x", "y")
_INPUTS = (((-1.7, -0.6, 0.3), (0.9, 1.4, 2.2)), ((0.7, -1.1, 1.9), (-0.2, 0.4, -2.3)))
# Expressions of all elements together; of one with more, compiling takes seconds.
_MOST = 6000
_TYPES = (torch.float64, torch.bool)
_WHOLE = (torch.int32, torch.int64)
# Exact in float64 for such whole numbers as come of counting what is true.
_COUNTS = MOVES | {"_to_copy", "add", "mul", "neg", "sub", "sum", "where"}


class UntraceableError(IncompatibleError):
    """Code that is no scalar function; the message is a clause that goes on from its name."""


def trace(
    function: Callable[..., Tensor], arguments: int = 1, device: torch.device | None = None
) -> str:
    """Find the scalar function that elementwise code computes in float64.

    Args:
        function: of one tensor of any shape, or of two of the same.
        arguments: how many.
        device: where its own tensors are.

    Returns:
        Source: the body of a function of `x`, or of `x` and `y`, which uses `math`.

    Raises:
        UntraceableError: if it is none, or is made of operations whose scalar form is not known.
    """
    inputs = [
        torch.tensor(_INPUTS[i], dtype=torch.float64, device=device) for i in range(arguments)
    ]
    tracer = _Tracer(inputs)
    with tracer:
        result = function(*inputs)
    return tracer.source(result)


class _Call(NamedTuple):
    """An operation and its arguments; `given` are all of them by name."""

    func: Any
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    given: Mapping[str, Any]
    defaults: Mapping[str, Any]

    @property
    def name(self) -> str:
        """What the operation is called, in place or not."""
        name: str = self.func._schema.name.removeprefix("aten::")
        return name.removesuffix("_") if self.func._schema.is_mutable else name


class _Tracer(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Follows what becomes of inputs of one shape."""

    def __init__(self, inputs: Sequence[Tensor]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        # An expression is a template and the numbers of the expressions in it; number 0 is zero.
        self._expressions: list[tuple[str, tuple[int, ...]]] = []
        self._numbers: dict[tuple[str, tuple[int, ...]], int] = {}
        self._number("0.0")
        # By address: the memory, kept from being used again; what is in it; the expressions.
        self._followed: dict[int, tuple[Any, torch.dtype, Tensor]] = {}
        self._shape = inputs[0].shape
        # What each element of the result may be made of: the elements in its place, by argument.
        self._places: list[dict[int, str]] = [{} for _ in range(self._shape.numel())]
        for name, x in zip(ARGUMENTS, inputs, strict=False):
            numbers = [self._number(f"{name}{i}") for i in range(x.numel())]
            self._write(x, torch.tensor(numbers).view(x.shape))
            for place, number in zip(self._places, numbers, strict=True):
                place[number] = name
        self._inputs = {number for place in self._places for number in place}

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        """Carry out an operation, and do it to the expressions."""
        kwargs = kwargs or {}
        leaves = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        if not any(map(self._follows, leaves)):
            return func(*args, **kwargs)  # of constants, whatever it is
        arguments = func._schema.arguments
        defaults = {argument.name: argument.default_value for argument in arguments}
        given = defaults | dict(zip(defaults, args, strict=False)) | kwargs
        for argument in arguments:
            if argument.is_write and not self._follows(given[argument.name]):
                self._write(given[argument.name], self._read(given[argument.name]))
        result = func(*args, **kwargs)
        self._record(_Call(func, args, kwargs, given, defaults), leaves, result)
        return result

    def source(self, result: Any) -> str:
        """Write the function that the result is of the inputs; see `trace`."""
        if not isinstance(result, Tensor) or result.shape != self._shape:
            raise UntraceableError("does not return a tensor of the shape of its input")
        if result.dtype != torch.float64:
            raise UntraceableError(f"returns {result.dtype} for torch.float64")
        numbers = self._read(result).flatten().tolist()
        found = {self._body(*pair) for pair in zip(numbers, self._places, strict=True)}
        if len(found) > 1:
            raise UntraceableError("does not do the same to every element")
        return found.pop()

    def _body(self, number: int, own: Mapping[int, str]) -> str:
        """Write an expression of one element of each input."""
        wanted, stack = set[int](), [number]
        while stack:
            top = stack.pop()
            if top not in wanted:
                wanted.add(top)
                stack.extend(self._expressions[top][1])
        lines, names = list[str](), dict[int, str]()
        for one in sorted(wanted):  # what an expression is made of comes before it
            template, parts = self._expressions[one]
            names[one] = template.format(*(names[part] for part in parts))
            if one in self._inputs:
                if one not in own:
                    raise UntraceableError("makes an element of others")
                names[one] = own[one]
            elif parts:
                lines.append(f"n{len(lines)} = {names[one]}")
                names[one] = f"n{len(lines) - 1}"
        return "\n".join([*lines, f"return {names[number]}"])

    def _number(self, template: str, *parts: int) -> int:
        """Return the number of an expression."""
        key = template, parts
        if key not in self._numbers:
            if len(self._expressions) == _MOST:
                raise UntraceableError("takes too many operations")
            self._numbers[key] = len(self._expressions)
            self._expressions.append(key)
        return self._numbers[key]

    def _follows(self, tensor: Tensor) -> bool:
        return tensor.untyped_storage().data_ptr() in self._followed

    def _read(self, tensor: Tensor) -> Tensor:
        """Return the numbers of a tensor's expressions, as a view if it is followed."""
        if self._follows(tensor):
            _, dtype, numbers = self._followed[tensor.untyped_storage().data_ptr()]
            if dtype != tensor.dtype:
                raise UntraceableError("looks at the bits of numbers")
            return numbers.as_strided(tensor.shape, tensor.stride(), tensor.storage_offset())
        if tensor.numel() > _MOST:
            raise UntraceableError("takes too many numbers")
        found = [self._number(_literal(value)) for value in tensor.detach().flatten().tolist()]
        return torch.tensor(found, dtype=torch.int64).view(tensor.shape)

    def _write(self, tensor: Tensor, numbers: Tensor) -> None:
        """Set the expressions of a tensor, and follow it from now on."""
        storage = tensor.untyped_storage()
        if not self._follows(tensor):
            whole = torch.empty(0, dtype=tensor.dtype, device=tensor.device).set_(storage)
            before = self._read(whole)  # more than the tensor, if it is a view
            self._followed[storage.data_ptr()] = (storage, tensor.dtype, before)
        self._read(tensor).copy_(numbers)

    def _put(self, template: str, operands: Mapping[str, Tensor]) -> Tensor:
        """Put expressions into a template, elementwise."""
        if not operands:
            return torch.tensor(self._number(template))
        template = template.format(**{name: f"{{{i}}}" for i, name in enumerate(operands)})
        shape = torch.broadcast_shapes(*(each.shape for each in operands.values()))  # type: ignore[no-untyped-call]
        columns = (each.expand(shape).flatten().tolist() for each in operands.values())
        found = [self._number(template, *parts) for parts in zip(*columns, strict=True)]
        return torch.tensor(found, dtype=torch.int64).view(shape)

    def _as_number(self, value: Any) -> Tensor:
        if not isinstance(value, Tensor):
            return torch.tensor(self._number(_literal(float(value))))
        read = self._read(value)
        return self._put("1.0 if {x} else 0.0", {"x": read}) if _is_truth(value) else read

    def _as_truth(self, value: Any) -> Tensor:
        if _is_truth(value):
            return self._read(value)
        return self._put("{x} != 0.0", {"x": self._as_number(value)})

    def _record(self, call: _Call, arguments: Sequence[Tensor], result: Any) -> None:
        """Set the expressions of an operation's outputs."""
        name, outputs = call.name, [t for t in tree_leaves(result) if isinstance(t, Tensor)]
        if name in LOOKS:
            raise UntraceableError("looks at the values of its input")
        if not call.func._schema.is_mutable and all(map(self._follows, outputs)):
            return  # a view
        if name in MAKERS:
            return
        for output in outputs:
            counts = output.dtype in _WHOLE and name in _COUNTS
            if output.dtype not in _TYPES and (
                not counts or any(argument.is_floating_point() for argument in arguments)
            ):
                raise UntraceableError(f"computes in {output.dtype} for an input in torch.float64")
        for place, output in enumerate(outputs):
            if name in MOVES:
                numbers = self._moved(call, output)
            elif name in SUMS:
                numbers = self._summed(call).view(output.shape)
            else:
                numbers = self._computed(call, f"{name}:{place}" if place else name, output)
            self._write(output, numbers.expand(output.shape))

    def _moved(self, call: _Call, output: Tensor) -> Tensor:
        """Move expressions as an operation moves numbers."""
        first, *others = call.args
        if any(isinstance(leaf, Tensor) and self._follows(leaf) for leaf in tree_leaves(others)):
            raise UntraceableError("chooses elements by their values")
        if call.given.get("value"):  # not zero, between them
            raise UntraceableError(f"calls {call.func}, which has no known scalar form")
        convert = self._as_truth if _is_truth(output) else self._as_number
        others = tree_map(lambda leaf: leaf.cpu() if isinstance(leaf, Tensor) else leaf, others)
        moved: Tensor = call.func(tree_map(convert, first), *others, **call.kwargs)
        return moved

    def _summed(self, call: _Call) -> Tensor:
        """Add up along some axes, from the first element on."""
        terms = self._as_number(call.given["self"])
        axes = call.given.get("dim")
        factors = [call.given[key] for key in ("mat2", "vec", "tensor") if key in call.given]
        if factors:
            factor, axes = self._as_number(factors[0]), [-1]
            if factor.ndim > 1:  # (…, n, k) times (…, k, m)
                terms, factor, axes = terms.unsqueeze(-1), factor.unsqueeze(-3), [-2]
            terms = self._put("{left} * {right}", {"left": terms, "right": factor})
        axes = list(range(terms.ndim)) if axes is None or axes == [] else axes
        axes = axes if isinstance(axes, list) else [axes]
        last = terms.movedim(axes, list(range(-len(axes), 0))).flatten(-len(axes))
        sign = "*" if call.name == "prod" else "+"
        total = last[..., 0]
        for term in last.unbind(-1)[1:]:
            total = self._put(f"{{left}} {sign} {{right}}", {"left": total, "right": term})
        if call.name == "mean":
            count = self._as_number(last.shape[-1])
            total = self._put("{left} / {right}", {"left": total, "right": count})
        return total

    def _computed(self, call: _Call, name: str, output: Tensor) -> Tensor:
        """Do what an operation does to each element."""
        given = dict(call.given)
        if name == "index_put":  # y[mask] = value
            mask, value = given["indices"], given["values"]
            if len(mask) == 1 and _is_truth(mask[0]) and value.numel() == 1:
                given["indices"] = mask[0]
        form = scalar_form(name, given, call.defaults, is_truth=_is_truth(output))
        if form is None:
            raise UntraceableError(f"calls {call.func}, which has no known scalar form")
        operands = {field: self._as_number(given[field]) for field in form.numbers}
        operands |= {field: self._as_truth(given[field]) for field in form.truths}
        return self._put(form.template, operands)


def _is_truth(value: Any) -> bool:
    return isinstance(value, Tensor) and value.dtype == torch.bool


def _literal(value: float | bool) -> str:
    text = repr(value if isinstance(value, bool) else float(value))
    return text.replace("inf", "math.inf").replace("nan", "math.nan")
