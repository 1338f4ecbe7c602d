"""Replicas in threads: one each, and none inside."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import torch


@contextmanager
def one_torch_thread(wanted: bool = True) -> Iterator[int]:
    """Let torch use one thread for a while.

    Args:
        wanted: whether to, or to leave it as it is.

    Yields:
        How many threads it had.
    """
    threads = torch.get_num_threads()
    if wanted:
        torch.set_num_threads(1)
    try:
        yield threads
    finally:
        if wanted:
            torch.set_num_threads(threads)


def run_in_threads(run: Callable[[range], None], groups: Sequence[range]) -> None:
    """Work on groups of replicas side by side, in as many threads as torch has.

    One thread a group and none inside: threads that wait for each other in small matrix products
    cost more than they save.

    Args:
        run: the work on one group, which spends its time outside of Python's lock.
        groups: of replicas.
    """

    def without_gradients(group: range) -> None:
        with torch.no_grad():  # a new thread has gradients on
            run(group)

    with one_torch_thread() as threads:
        if len(groups) == 1 or threads == 1:
            for group in groups:
                without_gradients(group)
            return
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(without_gradients, groups))
