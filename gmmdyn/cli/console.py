"""Words to the user on standard output, which may be a full disk or a reader that has gone."""

from __future__ import annotations

import os
import sys
from contextlib import suppress

from gmmdyn.errors import OutputError


def say(text: str) -> None:
    """Print lines.

    Args:
        text: the lines.

    Raises:
        OutputError: if standard output cannot be written.
        BrokenPipeError: if nobody reads it any more.
    """
    try:
        print(text, flush=True)
    except OSError as error:
        # Python would try to write the rest at its end, and fail again.
        with suppress(OSError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if isinstance(error, BrokenPipeError):
            raise
        raise OutputError(f"cannot write to standard output: {error.strerror}.") from None
