"""What the forms of the equations have in common, for the solver and the theory."""

from __future__ import annotations

from typing import Protocol, Self, TypeVar

from torch import Tensor

from gmmdyn import OrderParameters
from gmmdyn.interfaces import Errors


class Packed(Protocol):
    """A state that a solver can take as one vector."""

    def pack(self) -> Tensor:
        """Return the vector."""
        ...

    def unpack(self, flat: Tensor) -> Self:
        """Return the state that another vector stands for."""
        ...

    def sizes(self) -> list[int]:
        """Return the lengths of the parts of the vector whose errors are judged apart."""
        ...


S = TypeVar("S", bound=Packed)


class Equations(Protocol[S]):
    """The right-hand side and what is measured, as functions of time and state."""

    def derivative(self, time: Tensor | float, state: S) -> S:
        """Return the time derivatives of a state."""
        ...

    def errors(self, state: S) -> Errors:
        """Return the errors at a state, averaged over clusters."""
        ...

    def overlaps(self, state: S) -> OrderParameters:
        """Return Q, R, v (and b) of a state."""
        ...

    def overlap_rates(self, time: Tensor | float, state: S) -> OrderParameters:
        """Return the time derivatives of Q, R, v (and b) at a state."""
        ...
