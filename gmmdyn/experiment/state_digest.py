"""A digest of what an object holds: the same in every process, another for other values."""

from __future__ import annotations

import functools
import hashlib
import inspect
import types
from collections.abc import Mapping
from typing import Any, final

import numpy as np
import torch
from torch import Tensor, nn

# What every module has, whatever it is a model of, and how it was built by name.
_OF_MODULES = frozenset({*vars(nn.Module()), "spec"})


def state_digest(value: Any) -> str:
    """Return a digest of the state of an object.

    It is made of its class, its arrays (parameters and buffers too) and its other attributes, each
    again with what it holds. Arrays go in as their bytes, a second for a gigabyte. Left out is what
    is no state: a `functools.cached_property`, whether a module is in training, who requires
    gradients, on which device a tensor is.

    Args:
        value: a component, or anything else.

    Returns:
        64 hexadecimal digits.
    """
    state = _State()
    state.add(value)
    return state.hash.hexdigest()


@final
class _State:
    """Feeds a hash, each part with a word for its kind before it."""

    def __init__(self) -> None:
        self.hash = hashlib.sha256()
        # The objects within which we are: one that holds itself has no end otherwise.
        self._open: list[int] = []

    def add(self, value: Any) -> None:
        if value is None or isinstance(value, str | bytes | bool):
            self._put(type(value).__name__, value)
        elif isinstance(value, int):
            self._put("number", value)
        elif isinstance(value, float):  # 1 and 1.0 are one number
            self._put("number", int(value) if value.is_integer() else value.hex())
        elif isinstance(value, Tensor):
            self._tensor(value)
        elif isinstance(value, np.ndarray | np.generic):
            self._array(np.asarray(value))
        elif id(value) in self._open:
            self._put("within", self._open.index(id(value)))
        else:
            self._open.append(id(value))
            self._composite(value)
            self._open.pop()

    def _composite(self, value: Any) -> None:
        if isinstance(value, Mapping):
            self._put(_name(type(value)), len(value))
            for key in sorted(value, key=state_digest):
                self.add(key)
                self.add(value[key])
        elif isinstance(value, list | tuple):
            self._put(_name(type(value)), len(value))
            for item in value:
                self.add(item)
        elif isinstance(value, set | frozenset):
            self._put("set", len(value))
            for item in sorted(value, key=state_digest):
                self.add(item)
        elif isinstance(value, type | types.ModuleType | types.BuiltinFunctionType):
            self._put("named", _name(value))
        elif isinstance(value, types.FunctionType):
            self._function(value)
        elif isinstance(value, types.CodeType):
            self._put("code", value.co_code)
            self.add([value.co_consts, value.co_names])
        elif isinstance(value, types.MethodType):
            self._put("method", value.__func__.__qualname__)
            self.add([value.__func__, value.__self__])
        elif isinstance(value, torch.Generator):
            self._put("generator", "")
            self.add(value.get_state())
        elif isinstance(value, np.random.Generator):
            self._put("generator", "")
            self.add(value.bit_generator.state)
        else:
            self._object(value)

    def _put(self, kind: str, value: Any) -> None:
        data = value if isinstance(value, bytes) else str(value).encode()
        self.hash.update(f"{kind}:{len(data)}:".encode())
        self.hash.update(data)

    def _tensor(self, tensor: Tensor) -> None:
        dense = tensor.detach().cpu().resolve_conj().resolve_neg()
        dense = dense.to_dense() if dense.layout != torch.strided else dense
        self._put("array", f"{tuple(dense.shape)} {dense.dtype}".replace("torch.", ""))
        # NumPy has not all types of torch; bytes are bytes.
        self.hash.update(dense.contiguous().reshape(-1).view(torch.uint8).numpy().data)

    def _array(self, array: np.ndarray[Any, Any]) -> None:
        self._put("array", f"{array.shape} {array.dtype}")
        if array.dtype.hasobject:
            self.add(array.tolist())
        else:
            self.hash.update(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)

    def _function(self, function: types.FunctionType) -> None:
        self._put("function", _name(function))
        cells = [cell.cell_contents for cell in function.__closure__ or () if _filled(cell)]
        self.add([function.__code__, function.__defaults__, function.__kwdefaults__, cells])

    def _object(self, value: Any) -> None:
        cls = type(value)
        self._put("object", _name(cls))
        held = dict(getattr(value, "__dict__", {}))
        for base in cls.__mro__:
            slots = base.__dict__.get("__slots__", ())
            for slot in [slots] if isinstance(slots, str) else slots:
                if slot not in ("__dict__", "__weakref__") and hasattr(value, slot):
                    held[slot] = getattr(value, slot)
        if isinstance(value, nn.Module):
            children = {**value._parameters, **value._buffers, **value._modules}
            held = {k: v for k, v in held.items() if k not in _OF_MODULES} | children
        elif isinstance(value, functools.partial):
            held |= {"func": value.func, "args": value.args, "keywords": value.keywords}
        elif not held and " at 0x" not in repr(value):
            held = {"shown": repr(value)}
        for name in sorted(held):
            if not isinstance(inspect.getattr_static(cls, name, None), functools.cached_property):
                self._put("attribute", name)
                self.add(held[name])


def _filled(cell: types.CellType) -> bool:
    try:
        cell.cell_contents  # noqa: B018
    except ValueError:
        return False
    return True


def _name(value: Any) -> str:
    return f"{getattr(value, '__module__', '')}.{getattr(value, '__qualname__', value.__name__)}"
