"""Where the points of a sweep run."""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import Executor, Future
from contextlib import contextmanager
from typing import Any, NamedTuple, final

from gmmdyn.errors import ConfigError

# Seconds that a scheduler which is already there, and one that is started here, may take.
_ANSWERING, _STARTING = 5, 30


class Place(NamedTuple):
    """Where to run.

    Attributes:
        executor: takes the tasks.
        workers: how many tasks it runs at a time, as far as is known.
        threads: for torch in each task, or None to leave it alone.
    """

    executor: Executor
    workers: int
    threads: int | None


@final
class Here(Executor):
    """Runs a task at once, in this process."""

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Run a task; see `Executor.submit`."""
        future: Future[Any] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as error:
            future.set_exception(error)
        return future


def cores() -> int:
    """Return how many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@contextmanager
def place(
    executor: Executor | None, workers: int | None, scheduler: str | None, tasks: int
) -> Iterator[Place]:
    """Give a place to run tasks in, and clear it up afterwards.

    Args:
        executor: the caller's own, which is left running; or
        workers: processes on this machine, each with one thread; None for one a core, and with
            one the tasks run in this process; or
        scheduler: the address of a Dask scheduler, or `"local"` for a cluster on this machine.
        tasks: how many there will be.

    Yields:
        The place.

    Raises:
        ConfigError: if more than one is given, or Dask is not installed or not reached.
    """
    if sum(given is not None for given in (executor, workers, scheduler)) > 1:
        raise ConfigError("give one of `executor`, `workers` and `scheduler`, not several.")
    if executor is not None:
        yield Place(executor, getattr(executor, "_max_workers", None) or 64, None)
        return
    if scheduler is not None:
        with _dask(scheduler) as found:
            yield found
        return
    count = min(workers or cores(), max(1, tasks))
    if count == 1:
        yield Place(Here(), 1, None)
        return
    # Processes without a fork (torch's threads do not survive one) that need no `__main__` guard.
    from loky import ProcessPoolExecutor

    pool = ProcessPoolExecutor(max_workers=count, env={"OMP_NUM_THREADS": "1"})
    try:
        yield Place(pool, count, 1)
        pool.shutdown(wait=True)
    except BaseException:
        pool.shutdown(wait=False, kill_workers=True)
        raise


@contextmanager
def _dask(scheduler: str) -> Iterator[Place]:
    try:
        from distributed import Client, LocalCluster
    except ImportError:
        raise ConfigError(
            "a `scheduler` needs Dask; install it with `pip install 'gmmdyn[distributed]'`."
        ) from None
    cluster = None
    try:
        if scheduler == "local":
            cluster = LocalCluster(  # type: ignore[no-untyped-call]
                n_workers=cores(), threads_per_worker=1, dashboard_address=":0"
            )
        seconds = _STARTING if cluster else _ANSWERING
        client: Any = Client(cluster or scheduler, timeout=seconds)  # type: ignore[no-untyped-call]
    except (OSError, ValueError, TimeoutError, MemoryError) as error:
        # Dask takes what another kind of server says for the length of a message.
        reason = "what answers is none" if isinstance(error, MemoryError) else str(error)
        raise ConfigError(
            f"there is no Dask scheduler at `{scheduler}`: {reason.rstrip('.')}."
        ) from None
    try:
        workers = sum(client.nthreads().values()) or 64
        yield Place(client.get_executor(pure=False), workers, 1)
    finally:
        client.close()
        if cluster is not None:
            cluster.close()
