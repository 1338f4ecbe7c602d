"""The commands that plugins add.

They have a group of entry points of their own, `gmmdyn.commands`, so that the program can list them
without loading any theory.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from importlib.metadata import distributions
from sys import modules
from typing import Literal

from gmmdyn.cli.command import Command
from gmmdyn.registry.entry_points import Plugin, Registration, discover, registered
from gmmdyn.registry.hookspecs import hookspec

GROUP = "gmmdyn.commands"
_HOOKS: Mapping[Literal["command"], tuple[str, type[Command]]] = {
    "command": ("gmmdyn_commands", Command)
}


@hookspec
def gmmdyn_commands() -> Mapping[str, type[Command]]:  # type: ignore[empty-body]
    """Return the commands that this plugin adds, by name."""


def collect(plugins: list[Plugin]) -> dict[str, Registration]:
    """Load plugins and take down the commands that they register.

    Args:
        plugins: of the group `gmmdyn.commands`.

    Returns:
        Registrations by the name of the command.

    Raises:
        PluginError: as `gmmdyn.registry.entry_points.registered`.
    """
    found = registered(plugins, modules[__name__], _HOOKS)
    return {name: registration for (_, name), registration in found.items()}


@lru_cache(maxsize=1)
def plugin_commands() -> Mapping[str, Registration]:
    """Return the commands of all installed plugins, by name.

    Returns:
        Their registrations.

    Raises:
        PluginError: as `collect`.
    """
    return collect(discover(distributions(), GROUP))


def command_objects() -> list[Command]:
    """Return the commands of all installed plugins.

    Returns:
        One object of each.

    Raises:
        PluginError: as `collect`.
    """
    return [entry.cls(name) for name, entry in sorted(plugin_commands().items())]
