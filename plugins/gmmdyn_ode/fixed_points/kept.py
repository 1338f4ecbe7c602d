"""Fixed points that are kept as they are found, so that a search that was killed goes on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple, final

from gmmdyn import Trajectory
from gmmdyn.sweeping import Outcome, Store, key_of

# Below the folder of a search, as below that of a sweep.
POINTS = "points"
_ABOUT = "search"


class Entry(NamedTuple):
    """What came of one value of a parameter, or of one start.

    Attributes:
        found: the fixed point, or the point that the solver gave up at, or None.
        message: why it did not converge, or an empty string.
        branch: the number of its branch from 0; -1 where there is none.
        end: how the branch before it ended, if it begins another, in JSON types.
    """

    found: Trajectory | None
    message: str
    branch: int = -1
    end: Mapping[str, Any] | None = None


@final
class Kept:
    """Entries on disk, each under what it depends on; without a folder none are.

    Args:
        folder: of the search, or None.
        job: what all of them depend on, in plain values.
    """

    def __init__(self, folder: str | Path | None, job: Mapping[str, Any]) -> None:
        self._store = None if folder is None else Store(Path(folder) / POINTS)
        self._job = job

    def find(self, which: Mapping[str, Any]) -> Entry | None:
        """Return an entry that was kept.

        Args:
            which: what it depends on besides the job, in plain values.

        Returns:
            The entry, or None if there is none.
        """
        known = self._store and self._store.find(self._key(which), (), True)
        if not known:
            return None
        if known.trajectory is None:
            return Entry(None, known.message)
        metadata = dict(known.trajectory.metadata)
        about = metadata.pop(_ABOUT, None)
        if about is None:  # put there by something else
            return None
        return Entry(replace(known.trajectory, metadata=metadata), **about)

    def keep(self, which: Mapping[str, Any], entry: Entry) -> None:
        """Write an entry.

        Args:
            which: what it depends on besides the job, in plain values.
            entry: what came of it.

        Raises:
            OutputError: if it cannot be written.
        """
        if self._store is None:
            return
        found = entry.found
        if found is not None:
            about = {"message": entry.message, "branch": entry.branch, "end": entry.end}
            found = replace(found, metadata={**found.metadata, _ABOUT: about})
        self._store.keep(self._key(which), Outcome((), found, entry.message))

    def _key(self, which: Mapping[str, Any]) -> str:
        return key_of({"search": self._job, **which}, "fixed-point")
