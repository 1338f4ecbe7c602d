"""The program `gmmdyn`, and what plugins make commands of.

A module with commands imports `Command` at its top, and all other names where they are needed: they
are imported on first use, as those of `gmmdyn` are.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from gmmdyn import lazily
from gmmdyn.errors import ConvergenceError, GmmdynError, OutputError, PluginError

if TYPE_CHECKING:
    from gmmdyn.cli.arguments import Arguments as Arguments
    from gmmdyn.cli.command import AXIS as AXIS
    from gmmdyn.cli.command import CONFIGURATION as CONFIGURATION
    from gmmdyn.cli.command import DATA as DATA
    from gmmdyn.cli.command import OUTPUT as OUTPUT
    from gmmdyn.cli.command import TIME_UNIT as TIME_UNIT
    from gmmdyn.cli.command import Command as Command
    from gmmdyn.cli.console import say as say
    from gmmdyn.cli.directory import CONFIG as CONFIG
    from gmmdyn.cli.directory import ERRORS as ERRORS
    from gmmdyn.cli.directory import claim as claim
    from gmmdyn.cli.directory import run_directory as run_directory
    from gmmdyn.cli.directory import target_of as target_of
    from gmmdyn.cli.overrides import configured as configured
    from gmmdyn.cli.record import header as header
    from gmmdyn.cli.report import write_report as write_report
    from gmmdyn.cli.runs import run_experiment as run_experiment

_HOME = {
    "Arguments": "arguments",
    **dict.fromkeys(("AXIS", "CONFIGURATION", "DATA", "OUTPUT", "TIME_UNIT", "Command"), "command"),
    "say": "console",
    **dict.fromkeys(("CONFIG", "ERRORS", "claim", "run_directory", "target_of"), "directory"),
    "configured": "overrides",
    "header": "record",
    "write_report": "report",
    "run_experiment": "runs",
}
# What a shell reports for a program that Ctrl-C, or a reader that went away, has ended.
_INTERRUPTED, _READER_GONE = 130, 141

__getattr__ = lazily(__name__, _HOME)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        argv: the arguments; those of the process by default.

    Returns:
        The exit status: 0; 1 for a run that failed or results that could not be written; 2 for bad
        input; 130 if interrupted.
    """
    from gmmdyn.cli.program import run

    try:
        run(list(sys.argv[1:] if argv is None else argv))
    except GmmdynError as error:
        print(f"gmmdyn: error: {' '.join(str(error).split())}", file=sys.stderr)
        failed = isinstance(error, ConvergenceError | OutputError | PluginError)
        return 1 if failed else 2
    except KeyboardInterrupt as interrupt:
        # A command that leaves something behind says so in its message; others leave nothing.
        left = str(interrupt) or "nothing was written"
        print(f"gmmdyn: interrupted; {left}.", file=sys.stderr)
        return _INTERRUPTED
    except BrokenPipeError:
        return _READER_GONE
    return 0
