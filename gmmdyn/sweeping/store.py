"""Outcomes on disk, one file a point, so that a sweep that was killed goes on where it was."""

from __future__ import annotations

import json
from pathlib import Path
from typing import final

from gmmdyn.errors import DataError
from gmmdyn.sweeping.points import Outcome
from gmmdyn.trajectory import Trajectory
from gmmdyn.trajectory.files import write_text


@final
class Store:
    """A folder of outcomes, each under the key of its job.

    Args:
        folder: the folder; made when the first outcome is kept.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def _paths(self, key: str) -> tuple[Path, Path]:
        return self._folder / f"{key}.nc", self._folder / f"{key}.failed.json"

    def find(self, key: str, index: tuple[int, ...], failures: bool) -> Outcome | None:
        """Return an outcome that was kept.

        Args:
            key: of the job.
            index: of the point that asks.
            failures: whether a failure counts as an outcome.

        Returns:
            The outcome, or None if there is none that can be read.
        """
        done, failed = self._paths(key)
        try:
            if done.is_file():
                return Outcome(index, Trajectory.load(done), "")
            if failures and failed.is_file():
                kept = json.loads(failed.read_text(encoding="utf-8"))
                # Whatever else may stand there, it is no outcome: the point is run again.
                if isinstance(kept, dict) and isinstance(kept.get("message"), str):
                    return Outcome(index, None, kept["message"])
        except (DataError, OSError, ValueError, RecursionError):
            return None
        return None

    def keep(self, key: str, outcome: Outcome) -> None:
        """Write an outcome.

        Args:
            key: of the job.
            outcome: what came of it.

        Raises:
            OutputError: if it cannot be written.
        """
        done, failed = self._paths(key)
        if outcome.trajectory is None:
            write_text(failed, json.dumps({"message": outcome.message}))
            return
        outcome.trajectory.save(done)
        failed.unlink(missing_ok=True)
