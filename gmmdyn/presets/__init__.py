"""Configurations that are installed with the package, by name.

Each file starts with a comment line that says what it shows.
"""

from __future__ import annotations

from importlib.resources import files

_ENDING = ".yaml"


def available() -> tuple[str, ...]:
    """List the presets.

    Returns:
        Their names, sorted.
    """
    found = (entry.name for entry in files(__name__).iterdir())
    return tuple(sorted(name.removesuffix(_ENDING) for name in found if name.endswith(_ENDING)))


def read(name: str) -> str:
    """Return the text of a preset.

    Args:
        name: one of `available()`.

    Returns:
        The YAML text, comments included.
    """
    return files(__name__).joinpath(name + _ENDING).read_text(encoding="utf-8")


def summary(name: str) -> str:
    """Return what a preset shows.

    Args:
        name: one of `available()`.

    Returns:
        The comment on its first line.
    """
    return read(name).splitlines()[0].removeprefix("#").strip()
