"""Sentences for what an integrator does not describe."""

from __future__ import annotations

from gmmdyn import Loss
from gmmdyn.errors import IncompatibleError


def square_loss_only(name: str, loss: Loss) -> str | None:
    """Return the sentence of an integrator that needs the square loss, or None."""
    if loss.quadratic:
        return None
    return (
        f"the integrator `{name}` describes the square loss, whose error signal is linear in the "
        "output, and not any other; take `sobol`."
    )


def refuse(obstacle: str | None) -> None:
    """Raise what `Integrator.obstacle` says.

    Args:
        obstacle: its sentence, or None.

    Raises:
        IncompatibleError: with the sentence.
    """
    if obstacle is not None:
        raise IncompatibleError(obstacle)
