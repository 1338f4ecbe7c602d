"""From states at recorded times to trajectories."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor

from gmmdyn import Trajectory
from gmmdyn.errors import ConvergenceError
from gmmdyn.interfaces import Integrator
from gmmdyn_ode.equations import Equations, S
from gmmdyn_ode.solver import Options, StoppedError

_ERRORS = ("pmse", "classification_error", "tie_rate", "loss")


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


def record(states: Iterable[Tensor], start: S, equations: Equations[S]) -> Record:
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


def described(integrator: Integrator, options: Options, reason: str) -> dict[str, Any]:
    """Return what a trajectory says of its solver.

    Args:
        integrator: which was taken.
        options: how it was solved.
        reason: why this integrator.

    Returns:
        Entries of the metadata.
    """
    spec = integrator.spec
    return {
        **options._asdict(),
        "integrator": spec.name if spec else type(integrator).__name__,
        "integrator_reason": reason,
        "integration_error": integrator.relative_error,
    }


def concluded(
    times: Tensor, found: Record | None, about: Mapping[str, Any], stopped: StoppedError | None
) -> Trajectory | ConvergenceError:
    """Return what a solve comes to.

    Args:
        times: recorded, shape `(T,)`.
        found: the curves at these times, or None if there were none.
        about: how it was solved.
        stopped: why it ended early, or None.

    Returns:
        The trajectory, on the CPU; or an error that holds it.
    """
    trajectory = None
    if found is not None:
        curves, errors = (
            {name: value.detach().cpu().numpy() for name, value in group.items()} for group in found
        )
        metadata = {"theory": "ode", "solver": dict(about)}
        trajectory = Trajectory(times.cpu().numpy(), curves, "theory", errors, metadata)
    if stopped is None and trajectory is not None:
        return trajectory
    when, why, status = "the start", "there was no state to begin with", "no state"
    if stopped is not None:
        when, why, status = f"t = {stopped.time:.6g}", stopped.reason, stopped.status
    return ConvergenceError(f"the theory `ode` stopped at {when}: {why}.", trajectory, status)
