"""What there is to say of the stability of a fixed point."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

# Of the roots of the reduced equations.
REDUCED = "stability: not computed for the reduced equations"


def stability_in_words(about: Mapping[str, Any]) -> str:
    """Return what is known of the stability of a fixed point.

    Args:
        about: metadata of the trajectory that it is.

    Returns:
        One line.
    """
    if "reduced" in about:
        return REDUCED
    said = str(about["stability"])
    if said == "unknown":
        return "stability: unknown, as the right-hand side has no derivative there"
    if about.get("marginal"):
        said += f", {_counted(about['marginal'], 'eigenvalue')} zero within the error"
    if about.get("left_saddles"):
        said += f", after {_counted(about['left_saddles'], 'saddle')} left on the way"
    rates = about.get("eigenvalues")
    return f"{said}: largest real part of an eigenvalue {max(rates):.3g}" if rates else said


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}{'' if count == 1 else 's'}"
