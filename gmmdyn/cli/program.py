"""From the words of a command line to the command that they name."""

from __future__ import annotations

from collections.abc import Sequence

from jsonargparse import ArgumentParser

import gmmdyn
from gmmdyn import checks
from gmmdyn.cli.arguments import Arguments
from gmmdyn.cli.command import Command
from gmmdyn.cli.commands import command, commands
from gmmdyn.cli.console import say
from gmmdyn.errors import ConfigError


def run(words: Sequence[str]) -> None:
    """Do what the words say.

    Args:
        words: the command line without the program's name.

    Raises:
        GmmdynError: if the input is bad or the run fails.
    """
    if not words or words[0].startswith("-"):
        _top_level(words)
        return
    name, rest = words[0], words[1:]
    chosen = command(name)
    if chosen is None:
        raise ConfigError(f"there is no command `{name}`; {_nearest(name)}")
    asks_help = "--help" in rest or "-h" in rest
    if asks_help:
        words_before = Arguments.sort(_before_help(rest)).positional
        if not (chosen.configurable and words_before):
            say(chosen.parser().format_help().rstrip())
            return
    arguments = Arguments.sort(rest)
    _check_positional(chosen, arguments)
    if not chosen.configurable:
        arguments.check_known(list(chosen.options))
    chosen.run(arguments)


def _before_help(words: Sequence[str]) -> list[str]:
    """Leave out the request for help, and an option before it that has no value yet."""
    return [word for word in words if not word.startswith("-") or "=" in word]


def _top_level(words: Sequence[str]) -> None:
    if list(words) == ["--version"]:
        say(f"gmmdyn {gmmdyn.__version__}")
    elif not words or words[0] in ("--help", "-h"):
        parser = ArgumentParser(
            prog="gmmdyn",
            description=(gmmdyn.__doc__ or "").splitlines()[0],
            epilog="`gmmdyn COMMAND --help` says more about each.",
        )
        parser.add_argument("--version", action="store_true", help="print the version")
        subcommands = parser.add_subcommands(required=False, dest="command")
        for name, one in commands().items():
            subcommands.add_subcommand(name, ArgumentParser(), help=one.summary)
        say(parser.format_help().rstrip())
    else:
        raise ConfigError(f"there is no option `{words[0]}` before a command; {_nearest('')}")


def _nearest(name: str) -> str:
    known = commands()
    near = checks.nearest(name, known)
    hint = "" if near is None else f"did you mean `{near}`? "
    return f"{hint}there are: {', '.join(known)}."


def _check_positional(chosen: Command, arguments: Arguments) -> None:
    wanted, given = chosen.positional, arguments.positional
    if wanted is not None and not given:
        raise ConfigError(f"`gmmdyn {chosen.name}` needs `{wanted[0]}`: {wanted[1]}.")
    surplus = given[0 if wanted is None else 1 :]
    if surplus:
        raise ConfigError(f"`gmmdyn {chosen.name}` has no use for `{surplus[0]}`.")
