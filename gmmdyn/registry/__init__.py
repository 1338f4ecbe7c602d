"""The components that plugins provide: their hooks, the look-up by name, and how they are built.

The names are imported on first use: the command line asks for commands alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gmmdyn import lazily

if TYPE_CHECKING:
    from gmmdyn.registry.plugins import GROUP as GROUP
    from gmmdyn.registry.plugins import KINDS as KINDS
    from gmmdyn.registry.plugins import Kind as Kind
    from gmmdyn.registry.plugins import Plugin as Plugin
    from gmmdyn.registry.plugins import Registration as Registration
    from gmmdyn.registry.plugins import available as available
    from gmmdyn.registry.plugins import build as build
    from gmmdyn.registry.plugins import collect as collect
    from gmmdyn.registry.plugins import discover as discover
    from gmmdyn.registry.plugins import get as get
    from gmmdyn.registry.plugins import options_of as options_of
    from gmmdyn.registry.plugins import registrations as registrations

_NAMES = (
    "GROUP",
    "KINDS",
    "Kind",
    "Plugin",
    "Registration",
    "available",
    "build",
    "collect",
    "discover",
    "get",
    "options_of",
    "registrations",
)

__getattr__ = lazily(__name__, dict.fromkeys(_NAMES, "plugins"))
