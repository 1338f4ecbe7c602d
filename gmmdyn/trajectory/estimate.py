"""A number with its standard error."""

from __future__ import annotations

from typing import NamedTuple


class Estimate(NamedTuple):
    """A number with its standard error.

    Attributes:
        value: the number.
        standard_error: its standard error; 0 if it is exact.
    """

    value: float
    standard_error: float = 0.0
