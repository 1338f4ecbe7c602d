"""Metadata of which some are computed when somebody reads them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, final


@final
class Metadata(Mapping[str, Any]):
    """Plain values by name, some of them computed when they are first read.

    To iterate over the names computes nothing; to read, compare or save all values does.

    Args:
        known: values.
        later: functions that return the others.
    """

    def __init__(self, known: Mapping[str, Any], later: Mapping[str, Callable[[], Any]]) -> None:
        self._known = dict(known)
        self._later = dict(later)

    @property
    def known(self) -> dict[str, Any]:
        """The values that need no computation, and those that were computed."""
        return dict(self._known)

    def __getitem__(self, name: str) -> Any:
        """Return a value, computing it if need be."""
        if name not in self._known and name in self._later:
            self._known[name] = self._later[name]()
            del self._later[name]  # and what it holds on to
        return self._known[name]

    def __iter__(self) -> Iterator[str]:
        """Go over the names."""
        return iter([*self._known, *(name for name in self._later if name not in self._known)])

    def __len__(self) -> int:
        """Count the names."""
        return len(self._known.keys() | self._later.keys())

    def __contains__(self, name: object) -> bool:
        """Say whether there is such a value, without computing it."""
        return name in self._known or name in self._later

    def __repr__(self) -> str:
        """Show what is known, and the names of the rest."""
        rest = f", to be computed: {', '.join(self._later)}" if self._later else ""
        return f"{self._known!r}{rest}"
