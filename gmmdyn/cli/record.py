"""The comment lines on top of the configuration of a run."""

from __future__ import annotations

import platform
import shlex
from importlib.metadata import version

from gmmdyn.cli.arguments import Arguments
from gmmdyn.cli.command import Command

_PACKAGES = ("gmmdyn", "torch", "numpy", "scipy", "pytorch-lightning", "torchdiffeq")


def header(command: Command, arguments: Arguments) -> str:
    """Say which command wrote a run, and with which versions.

    Args:
        command: the command.
        arguments: the words after it.

    Returns:
        Two lines that start with `#`.
    """
    words = shlex.join(["gmmdyn", command.name, *arguments.words()])
    versions = ", ".join(f"{name} {version(name)}" for name in _PACKAGES)
    return (
        f"# Written by: {' '.join(words.split())}\n"
        f"# Python {platform.python_version()}, {versions}\n"
    )
