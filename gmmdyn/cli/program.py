"""Which code runs each command; imports no more than the command needs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from jsonargparse import ArgumentParser

import gmmdyn
from gmmdyn.cli.arguments import Arguments
from gmmdyn.cli.commands import COMMANDS, RUNS, command_parser
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
    if name not in COMMANDS:
        raise ConfigError(f"there is no command `{name}`; {_nearest(name)}")
    asks_help = "--help" in rest or "-h" in rest
    if asks_help and (name not in RUNS or not Arguments.sort(_before_help(rest)).positional):
        say(command_parser(name).format_help().rstrip())
        return
    arguments = Arguments.sort(rest)
    _check_positional(name, arguments)
    if name == "sweep":
        from gmmdyn.cli.sweeps import run_sweep

        run_sweep(arguments)
        return
    if name == "random-features":
        from gmmdyn.cli.random_features import run_random_features

        run_random_features(arguments)
        return
    if name in RUNS:
        from gmmdyn.cli.runs import run_command

        run_command(name, arguments)
        return
    arguments.check_known(list(COMMANDS[name].options))
    _SIMPLE[name](arguments)


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
        for name, command in COMMANDS.items():
            subcommands.add_subcommand(name, ArgumentParser(), help=command.summary)
        say(parser.format_help().rstrip())
    else:
        raise ConfigError(f"there is no option `{words[0]}` before a command; {_nearest('')}")


def _nearest(name: str) -> str:
    from difflib import get_close_matches

    near = get_close_matches(name, COMMANDS, n=1, cutoff=0.5)
    hint = f"did you mean `{near[0]}`? " if near else ""
    return f"{hint}there are: {', '.join(COMMANDS)}."


def _check_positional(name: str, arguments: Arguments) -> None:
    wanted = COMMANDS[name].positional
    given = arguments.positional
    if wanted is not None and not given:
        raise ConfigError(f"`gmmdyn {name}` needs `{wanted[0]}`: {wanted[1]}.")
    surplus = given[0 if wanted is None else 1 :]
    if surplus:
        raise ConfigError(f"`gmmdyn {name}` has no use for `{surplus[0]}`.")


def _presets(arguments: Arguments) -> None:
    from gmmdyn.cli.listing import list_presets

    list_presets()


def _plugins(arguments: Arguments) -> None:
    from gmmdyn.cli.listing import list_plugins

    list_plugins()


def _plot(arguments: Arguments) -> None:
    from gmmdyn.cli.runs import draw_again

    draw_again(Path(arguments.positional[0]), arguments.last("--time-unit"))


def _report(arguments: Arguments) -> None:
    from gmmdyn.cli.runs import report_again

    report_again(Path(arguments.positional[0]))


_SIMPLE: Mapping[str, Callable[[Arguments], None]] = {
    "presets": _presets,
    "plugins": _plugins,
    "plot": _plot,
    "report": _report,
}
