"""What there is: presets and plugins."""

from __future__ import annotations

from collections.abc import Sequence

from gmmdyn import presets
from gmmdyn.cli.console import say


def list_presets() -> None:
    """Print each preset and what it shows."""
    _print_columns([(name, presets.summary(name)) for name in presets.available()])


def list_plugins() -> None:
    """Print each component and command of a plugin, and where it comes from."""
    from gmmdyn import registry
    from gmmdyn.cli.registered import plugin_commands

    rows = [
        (
            entry.name,
            entry.kind,
            f"{entry.cls.__module__}.{entry.cls.__qualname__}",
            entry.distribution,
            entry.version,
        )
        for entry in (*registry.registrations(), *plugin_commands().values())
    ]
    _print_columns([("NAME", "KIND", "CLASS", "DISTRIBUTION", "VERSION"), *rows])


def _print_columns(rows: Sequence[Sequence[str]]) -> None:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=True)]
        say("  ".join(cells).rstrip())
