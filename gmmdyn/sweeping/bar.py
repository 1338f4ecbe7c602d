"""A bar that counts finished points, on standard error."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def point_bar(progress: bool | None) -> Iterator[Callable[[int, int], None]]:
    """Show how many points are done.

    Args:
        progress: whether to show the bar; None shows it where standard error is a terminal.

    Yields:
        What to call with how many points are done, and of how many.
    """
    if not (sys.stderr.isatty() if progress is None else progress):
        yield lambda done, total: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

    console = Console(stderr=True)
    columns = ("points", BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console) as bar:
        task = bar.add_task("points", total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)
