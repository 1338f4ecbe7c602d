"""The errors that gmmdyn raises: one tree, each class also the builtin a caller expects."""

from __future__ import annotations

from typing import Any


class GmmdynError(Exception):
    """Root of every error that gmmdyn raises on purpose; its message is one sentence."""


class ShapeError(GmmdynError, ValueError):
    """Two arrays whose shapes do not fit together."""


class RangeError(GmmdynError, ValueError):
    """A number outside the range in which it means anything."""


class UnknownCurveError(GmmdynError, AttributeError):
    """A curve, or another attribute, that a trajectory does not have."""


class NotPositiveError(GmmdynError, ValueError):
    """A covariance with a negative eigenvalue beyond rounding."""


class IncompatibleError(GmmdynError, ValueError):
    """A theory or an engine asked about something that it does not describe."""


class ArgumentError(GmmdynError, TypeError):
    """An unknown or missing keyword of a component."""


class ConfigError(GmmdynError, ValueError):
    """A configuration that cannot be read or does not describe an experiment."""


class DataError(GmmdynError, ValueError):
    """A data folder or file that is missing, cut short or of another format."""


class OutputError(GmmdynError, OSError):
    """Results that could not be written; nothing half-written is left behind."""


class PluginError(GmmdynError, RuntimeError):
    """A plugin that cannot be loaded or breaks a rule of registration."""


class UnknownComponentError(GmmdynError, KeyError):
    """A name that no installed plugin registers."""

    # KeyError prints the repr of its argument, which would put the sentence in quotes.
    def __str__(self) -> str:
        """Return the sentence itself."""
        return str(self.args[0])


class ConvergenceError(GmmdynError, RuntimeError):
    """A solver or a run that gave up.

    Attributes:
        partial: what had been computed by then, a `Trajectory`, or None.
        status: why, in a word that a program can look at: `"evaluations"` (it took all that were
            allowed), `"blow-up"`, `"stuck"` (its step vanished), `"no state"` (a covariance that
            is none) or `"residual"` (a search that ended far from a root); empty where there is
            none.
    """

    def __init__(self, message: str, partial: Any = None, status: str = "") -> None:
        super().__init__(message)
        # Whatever type a trajectory has: errors are imported by all, and import nothing.
        self.partial = partial
        self.status = status


class DivergenceError(ConvergenceError):
    """Weights or order parameters that left the range of floating-point numbers."""
