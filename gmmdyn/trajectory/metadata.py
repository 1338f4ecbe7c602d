"""Metadata of which some are computed when somebody reads them."""

from __future__ import annotations

from collections.abc import Callable, ItemsView, Iterator, Mapping, ValuesView
from typing import Any, final


@final
class Metadata(dict[str, Any]):
    """Plain values by name, some of them computed when they are first read.

    To iterate over the names computes nothing; to read, compare or save all values does.

    Args:
        known: values.
        later: functions that return the others.
    """

    def __init__(self, known: Mapping[str, Any], later: Mapping[str, Callable[[], Any]]) -> None:
        super().__init__(known)
        self._later = {name: compute for name, compute in later.items() if name not in known}
        super().update(dict.fromkeys(self._later))

    @property
    def known(self) -> dict[str, Any]:
        """The values that need no computation, and those that were computed."""
        return {name: value for name, value in super().items() if name not in self._later}

    def __getitem__(self, name: str) -> Any:
        """Return a value, computing it if need be."""
        if name in self._later:
            self[name] = self._later[name]()
            del self._later[name]  # and what it holds on to
        return super().__getitem__(name)

    def __iter__(self) -> Iterator[str]:
        """Go over the names."""
        # A dict that defines this is copied by its names and values, not by what is stored.
        return super().__iter__()

    def get(self, name: str, default: Any = None) -> Any:
        """Return a value, computing it if need be, or the default if there is none."""
        return self[name] if name in self else default  # noqa: SIM401 # it is that

    def items(self) -> ItemsView[str, Any]:  # type: ignore[override]
        """Return names and values, computing all."""
        self._compute()
        return super().items()

    def values(self) -> ValuesView[Any]:  # type: ignore[override]
        """Return the values, computing all."""
        self._compute()
        return super().values()

    def __eq__(self, other: object) -> bool:
        """Compare values, computing all."""
        self._compute()
        if isinstance(other, Metadata):
            other._compute()
        return super().__eq__(other)

    __hash__ = None

    def __repr__(self) -> str:
        """Show what is known, and the names of the rest."""
        rest = f", to be computed: {', '.join(self._later)}" if self._later else ""
        return f"{self.known!r}{rest}"

    def _compute(self) -> None:
        for name in list(self._later):
            self[name]
