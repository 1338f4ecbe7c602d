"""The program `gmmdyn`."""

from __future__ import annotations

import os
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
        try:
            run(list(sys.argv[1:] if argv is None else argv))
        finally:
            _flush()
    except GmmdynError as error:
        print(f"gmmdyn: error: {' '.join(str(error).split())}", file=sys.stderr)
        failed = isinstance(error, ConvergenceError | OutputError | PluginError)
        return 1 if failed else 2
    except KeyboardInterrupt:
        print("gmmdyn: interrupted; nothing was written.", file=sys.stderr)
        return _INTERRUPTED
    except BrokenPipeError:
        # Python flushes once more at its end, into a pipe that nobody reads.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return _READER_GONE
    return 0


def _flush() -> None:
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise OutputError(f"cannot write to standard output: {error.strerror}.") from None
