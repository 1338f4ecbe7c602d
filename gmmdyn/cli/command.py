"""What a command of the program is; plugins add commands by subclassing it.

Imports nothing heavy, as all commands are listed before one runs.
"""

from __future__ import annotations

import abc
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, final

from gmmdyn.cli.arguments import Arguments

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser

CONFIGURATION = ("config", "a preset (`gmmdyn presets` lists them) or a YAML file")
_EVERY_OPTION = (
    "Every number and choice of the configuration is an option too, such as --data_model.variance "
    "0.1; `gmmdyn {} CONFIG --help` lists them."
)
# Options that mean the same wherever there are.
TIME_UNIT = {"--time-unit": "of the figures: t, t*sqrt(D) or t*D; the same as --figures.time_unit"}
OUTPUT = {
    "--output": "the directory to write (default: runs/NAME-TIME)",
    "--overwrite": "flag: replace the directory if it holds an earlier run",
}
DATA = {"--data": "the folder with the data set's files; the same as --data_model.folder"}
AXIS = (
    "NAME=FIRST:LAST:lin:COUNT (evenly spaced; `lin:` may be left out), NAME=FIRST:LAST:log:COUNT "
    "or NAME=VALUE,VALUE,…"
)


class Command(abc.ABC):
    """One command of the program `gmmdyn`.

    The program makes one object of the class, under the name that it is registered by, and calls
    `run`. A module with commands is imported whenever commands are listed, so it leaves imports
    that take long to the methods.

    Args:
        name: what is typed after `gmmdyn`.

    Attributes:
        summary: one line for the help.
        positional: name and help of the argument that it needs, or None.
        options: names and help of its options; a help that starts with `flag:` takes no value.
        configurable: whether the argument is a configuration, so that every number and choice of it
            is an option too; `configured` reads them.
        results: files and folders that it writes into the directory of a run, besides those that
            every run may write. Where the first one is, the run is its own: `gmmdyn plot` and
            `gmmdyn report` call `draw` and `table`, and `--overwrite` replaces all of them.
        title: of the report of its run, where that has no configuration with a data model.
    """

    summary: ClassVar[str]
    positional: ClassVar[tuple[str, str] | None] = None
    options: ClassVar[Mapping[str, str]] = {}
    configurable: ClassVar[bool] = False
    results: ClassVar[tuple[str, ...]] = ()
    title: ClassVar[str] = ""

    @final
    def __init__(self, name: str) -> None:
        self.name = name

    @abc.abstractmethod
    def run(self, arguments: Arguments) -> None:
        """Do what the command is for.

        Args:
            arguments: the words after it; its positional argument is there, and all options are
                known unless it is configurable.

        Raises:
            GmmdynError: if the input is bad (exit status 2), or what runs fails (1).
            KeyboardInterrupt: if it is interrupted, with what is left as its message (130).
        """

    def draw(self, run: Path) -> None:  # noqa: B027 # a default, not forgotten
        """Draw the figures of one of its runs again; by default there are none.

        Args:
            run: the directory.

        Raises:
            DataError: if its results cannot be read.
            OutputError: if a figure cannot be written.
        """

    def table(self, run: Path) -> str:
        """Return the results of one of its runs as text; by default there is none.

        Args:
            run: the directory.

        Returns:
            Lines for the screen and the report.

        Raises:
            DataError: if its results cannot be read.
        """
        return ""

    @final
    def parser(self) -> ArgumentParser:
        """Return its parser, without the options that depend on a configuration."""
        from jsonargparse import ArgumentParser

        parser = ArgumentParser(
            prog=f"gmmdyn {self.name}",
            description=self.summary,
            epilog=_EVERY_OPTION.format(self.name) if self.configurable else None,
            exit_on_error=False,
            allow_abbrev=False,
        )
        if self.positional is not None:
            parser.add_argument(self.positional[0], type=str, help=self.positional[1])
        for option, text in self.options.items():
            if text.startswith("flag:"):
                parser.add_argument(option, action="store_true", help=text.removeprefix("flag: "))
            else:
                parser.add_argument(option, type=str | None, help=text)
        return parser
