"""Whether a simulation and a theory describe one experiment."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from gmmdyn.errors import ArgumentError, IncompatibleError
from gmmdyn.trajectory import Trajectory

# Where a digest stands, which tells a reader nothing.
_DIGESTS = (".state", ".sha256")


def check_source(name: str, value: Any, source: str) -> None:
    """Refuse what is no trajectory, or one from elsewhere.

    Args:
        name: of the argument, for the message.
        value: what was given.
        source: `"simulation"` or `"theory"`.

    Raises:
        ArgumentError: if it is no trajectory.
        IncompatibleError: if its source is another.
    """
    if not isinstance(value, Trajectory):
        raise ArgumentError(f"`{name}` is a {type(value).__name__}; give a Trajectory.")
    if value.source != source:
        raise IncompatibleError(
            f"`{name}` is a {value.source}; give the simulation first and the theory second."
        )


def check_same_experiment(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> None:
    """Refuse trajectories of different experiments, as far as their metadata tell.

    Args:
        ours: metadata of the simulation.
        theirs: metadata of the theory.

    Raises:
        IncompatibleError: naming the part that differs.
    """
    if "experiment" not in ours or "experiment" not in theirs:
        return
    # A trajectory that was saved and loaded has lists where it had tuples.
    first, second = (json.loads(json.dumps(x["experiment"])) for x in (ours, theirs))
    where = _difference(first, second, "")
    if where is not None:
        raise IncompatibleError(
            f"`simulated` and `predicted` differ in {where}; simulate and solve one experiment."
        )


def _difference(ours: Any, theirs: Any, path: str) -> str | None:
    """Say where two nested mappings first differ, or None if they do not."""
    if ours == theirs:
        return None
    if isinstance(ours, dict) and isinstance(theirs, dict):
        for key in [*ours, *(key for key in theirs if key not in ours)]:
            below = f"{path}.{key}" if path else key
            found = _difference(ours.get(key), theirs.get(key), below)
            if found is not None:
                return found
        return None  # an option left out is one that is None
    if isinstance(ours, dict | list) or isinstance(theirs, dict | list):
        return f"`{path}`"
    if path.endswith(_DIGESTS):
        return f"`{path.rpartition('.')[0]}`, in what it holds"
    return f"`{path}` ({ours!r} and {theirs!r})"
