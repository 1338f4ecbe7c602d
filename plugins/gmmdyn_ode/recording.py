"""From states at recorded times to trajectories."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from gmmdyn import OrderParameters, Trajectory
from gmmdyn.errors import ConvergenceError
from gmmdyn.interfaces import Errors
from gmmdyn_ode.solver import StoppedError
from gmmdyn_ode.state import MatrixState, State

_ERRORS = ("pmse", "classification_error", "tie_rate", "loss")


class Equations(Protocol):
    """The right-hand side and what is measured, as functions of time and state."""

    def derivative(self, time: Tensor | float, state: Any) -> Any:
        """Return the time derivatives of a state."""
        ...

    def errors(self, state: Any) -> Errors:
        """Return the errors at a state, averaged over clusters."""
        ...

    def overlaps(self, state: Any) -> OrderParameters:
        """Return Q, R, v (and b) of a state."""
        ...

    def overlap_rates(self, time: Tensor | float, state: Any) -> OrderParameters:
        """Return the time derivatives of Q, R, v (and b) at a state."""
        ...


class Record(NamedTuple):
    """Curves at recorded times.

    Attributes:
        curves: by name, with a first axis of length T.
        spread: their integration errors, by name.
    """

    curves: Mapping[str, Tensor]
    spread: Mapping[str, Tensor]

    def at(self, *index: slice | int) -> Record:
        """Return a part: `index` goes to the first axes of everything."""
        return Record(*({name: value[index] for name, value in group.items()} for group in self))


def record(states: Iterable[Tensor], start: State | MatrixState, equations: Equations) -> Record:
    """Return the curves at recorded states.

    Args:
        states: packed, one for each time, each of shape `(..., n)`.
        start: any state, for the shapes.
        equations: of the batch shape `...`.

    Returns:
        The curves.
    """
    # One time after another: all at once would hold every point of every time in memory.
    errors, overlaps = [], []
    for flat in states:
        state = start.unpack(flat)
        errors.append(equations.errors(state))
        overlaps.append(equations.overlaps(state))
    curves = {
        name: torch.stack([getattr(o, name) for o in overlaps])
        for name in ("Q", "R", "v", "b")
        if getattr(overlaps[0], name) is not None
    }
    spread = {}
    for name in _ERRORS:
        values = [getattr(e, name) for e in errors]
        if None not in values:
            curves[name] = torch.stack(values)
            spreads = [getattr(e, f"{name}_se") for e in errors]
            if None not in spreads:
                spread[name] = torch.stack(spreads)
    return Record(curves, spread)


def concluded(
    times: Tensor, found: Record | None, solver: Mapping[str, Any], stopped: StoppedError | None
) -> Trajectory | ConvergenceError:
    """Return what a solve comes to.

    Args:
        times: recorded, shape `(T,)`.
        found: the curves at these times, or None if there were none.
        solver: how it was solved, for the metadata.
        stopped: why it ended early, or None.

    Returns:
        The trajectory, on the CPU; or an error that holds it.
    """
    trajectory = None
    if found is not None:
        curves, errors = (
            {name: value.detach().cpu().numpy() for name, value in group.items()} for group in found
        )
        metadata = {"theory": "ode", "solver": dict(solver)}
        trajectory = Trajectory(times.cpu().numpy(), curves, "theory", errors, metadata)
    if stopped is None and trajectory is not None:
        return trajectory
    when, why, status = "the start", "there was no state to begin with", "no state"
    if stopped is not None:
        when, why, status = f"t = {stopped.time:.6g}", stopped.reason, stopped.status
    return ConvergenceError(f"the theory `ode` stopped at {when}: {why}.", trajectory, status)
