"""Components and their options as plain values: what YAML and JSON can hold."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from gmmdyn.experiment.state_digest import state_digest
from gmmdyn.interfaces import Component


def describe(component: Any, most: float = math.inf) -> dict[str, Any]:
    """Return a component as plain values: its name and options, or its class and state.

    Args:
        component: a data model, network, activation, ….
        most: numbers in an array, beyond which its shape and digest stand for it.

    Returns:
        JSON types only.
    """
    if component.spec is None:
        return _by_state(component)
    return {"name": component.spec.name, **plain(component.spec.options, most)}


def plain(value: Any, most: float = math.inf) -> Any:
    """Return a value as plain values.

    Args:
        value: an option of a component, or a mapping of options.
        most: numbers in an array, beyond which its shape and digest stand for it.

    Returns:
        JSON types only; what is none of them as text, or by its class and a digest of its state
        where its text says no more than where it is in memory.
    """
    if isinstance(value, Mapping):
        return {str(key): plain(item, most) for key, item in value.items()}
    if isinstance(value, Component):
        return describe(value, most)
    if hasattr(value, "tolist"):  # arrays, tensors and NumPy's numbers
        if math.prod(np.shape(value)) > most:
            return _digest(value)
        return value.tolist()
    if isinstance(value, list | tuple):
        return [plain(item, most) for item in value]
    if isinstance(value, str | int | float | bool | None):
        return value
    text = str(value)
    return _by_state(value) if " at 0x" in text else text


def _by_state(value: Any) -> dict[str, str]:
    cls = type(value)
    return {"class": f"{cls.__module__}.{cls.__qualname__}", "state": state_digest(value)}


def _digest(value: Any) -> dict[str, Any]:
    """Stand for a large array, so that two experiments can still be told apart."""
    array = value.detach().cpu() if hasattr(value, "detach") else value
    numbers = np.ascontiguousarray(array, dtype=np.float64)
    return {"shape": list(numbers.shape), "sha256": hashlib.sha256(numbers.data).hexdigest()}
