"""The program `gmmdyn`."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from gmmdyn.errors import ConvergenceError, GmmdynError, OutputError, PluginError

# What a shell reports for a program that Ctrl-C, or a reader that went away, has ended.
_INTERRUPTED, _READER_GONE = 130, 141


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
