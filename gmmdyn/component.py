"""What every registered component has in common: the record of how it was built."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import nn


@dataclass(frozen=True)
class Spec:
    """How to build a component again.

    Attributes:
        name: the registered name.
        options: the keywords it was built with, as the caller gave them.
    """

    name: str
    options: Mapping[str, Any] = field(default_factory=dict)


class Component(nn.Module):
    """A part that plugins supply.

    A module, so that its buffers follow `.to(device, dtype)`.

    Attributes:
        spec: the name and keywords it was built with, or None for an object that the
            user made without the registry.
    """

    spec: Spec | None = None
