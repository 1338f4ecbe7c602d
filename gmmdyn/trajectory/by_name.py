"""Curves as items and attributes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from gmmdyn import checks
from gmmdyn.errors import RangeError, UnknownCurveError
from gmmdyn.trajectory.curve import CURVES


class CurvesByName:
    """What has curves, and gives them by name.

    Attributes:
        curves: arrays by name.
    """

    curves: Mapping[str, Any]

    def __getitem__(self, name: str) -> np.ndarray:
        """Return one curve.

        Args:
            name: a key of `curves`; a `tie_rate` that was left out is 0 at all times.

        Returns:
            The array.

        Raises:
            RangeError: if there is none of that name.
        """
        if name == "tie_rate" and name not in self.curves and "classification_error" in self.curves:
            return np.zeros_like(self.classification_error)
        if name not in self.curves:
            raise RangeError(f"no curve `{name}`; {checks.suggestion(name, self.curves)}")
        return np.asarray(self.curves[name])

    if not TYPE_CHECKING:  # types know which attributes there are

        def __getattr__(self, name: str) -> Any:
            """Return a curve of one's own, or say which curves there are.

            Args:
                name: what was asked for.

            Raises:
                UnknownCurveError: if there is none.
            """
            curves = self.__dict__.get("curves", {})  # none yet where a copy is being made
            if name in curves and name not in CURVES:
                return curves[name]
            near = checks.suggestion(name, curves)
            raise UnknownCurveError(
                f"this trajectory has no curve or other attribute `{name}`; {near}"
            )

    def _curve(self, name: str) -> np.ndarray:
        if name not in self.curves:
            raise UnknownCurveError(name)  # `__getattr__` says it
        return np.asarray(self.curves[name])

    @property
    def pmse(self) -> np.ndarray:
        """½E[(y − φ)²], shape `(T,)` or `(T, N)`."""
        return self._curve("pmse")

    @property
    def classification_error(self) -> np.ndarray:
        """P(yφ < 0) + ½P(φ = 0), shape `(T,)` or `(T, N)`."""
        return self._curve("classification_error")

    @property
    def tie_rate(self) -> np.ndarray:
        """P(φ = 0), shape `(T,)` or `(T, N)`; 0 where there is no such curve."""
        return self["tie_rate"]

    @property
    def loss(self) -> np.ndarray:
        """E[ℓ], shape `(T,)` or `(T, N)`; there is none for the square loss, where it is `pmse`."""
        return self._curve("loss")

    @property
    def Q(self) -> np.ndarray:  # noqa: N802 # its name everywhere
        """Overlaps of the weights, shape `(T, K, K)` or `(T, N, K, K)`."""
        return self._curve("Q")

    @property
    def R(self) -> np.ndarray:  # noqa: N802
        """Overlaps of means and weights, shape `(T, C, K)` or `(T, N, C, K)`."""
        return self._curve("R")

    @property
    def v(self) -> np.ndarray:
        """The second layer, shape `(T, K)` or `(T, N, K)`."""
        return self._curve("v")

    @property
    def b(self) -> np.ndarray:
        """The first-layer bias, if there is one, shape `(T, K)` or `(T, N, K)`."""
        return self._curve("b")
