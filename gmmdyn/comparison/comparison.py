"""Simulation and theory side by side: z-scores, a table, figures."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from gmmdyn import checks
from gmmdyn.comparison import tables
from gmmdyn.comparison.same_experiment import check_same_experiment, check_source
from gmmdyn.errors import IncompatibleError, RangeError, ShapeError
from gmmdyn.trajectory import CURVES, Trajectory
from gmmdyn.trajectory.estimate import Estimate
from gmmdyn.trajectory.times import interpolated, logarithmic_choice, span

if TYPE_CHECKING:
    from gmmdyn.plot import Figure

# Simulated weights are float32: differences below this, relative plus absolute, are rounding.
ROUNDING = 1e-6


@dataclass(frozen=True)
class Comparison:
    r"""A simulation and what a theory predicts for it.

    The score of a curve at one time is $z = (m - p) / \sqrt{s_m^2 + s_p^2}$: the mean $m$ over
    replicas with its standard error $s_m$, the prediction $p$ with its integration error $s_p$ (0
    where the theory estimates none). It counts statistical error only. Theory is the limit of
    large D, so deviations of order 1/D are expected beside it and show as |z| above 1 once replicas
    are many. Standard errors are themselves estimated: with N replicas z of a correct theory
    follows Student's t with N - 1 degrees of freedom, whose tails are heavy when N is small. Times
    share their replicas, so their z are not independent.

    Attributes:
        simulated: the simulation, with or without its replicas averaged.
        predicted: the theory, or None where none applies.

    Raises:
        ArgumentError: if an argument is no trajectory.
        IncompatibleError: if `simulated` is no simulation, `predicted` no theory, they describe
            different experiments, or they have no curve in common.
        ShapeError: if they have different numbers of units or clusters.
        RangeError: if they have no time in common.
    """

    simulated: Trajectory
    predicted: Trajectory | None = None

    def __post_init__(self) -> None:
        check_source("simulated", self.simulated, "simulation")
        if self.predicted is None:
            return
        check_source("predicted", self.predicted, "theory")
        check_same_experiment(self.simulated.metadata, self.predicted.metadata)
        if not self.names:
            raise IncompatibleError("`simulated` and `predicted` have no curve in common.")
        for name in (n for n in self.names if CURVES[n]):
            count = len(CURVES[name])
            ours, theirs = (t[name].shape[-count:] for t in (self.simulated, self.predicted))
            if ours != theirs:
                raise ShapeError(
                    f"`{name}` of `simulated` has units and clusters {ours} but that of "
                    f"`predicted` has {theirs}; compare runs of one experiment."
                )
        if self.times.size == 0:
            raise RangeError(
                f"`simulated` covers t = {span(self.simulated.times)} and `predicted` "
                f"t = {span(self.predicted.times)}; solve the theory for the times of the "
                "simulation."
            )

    @property
    def bayes_error(self) -> Estimate | None:
        """The smallest classification error possible, as `simulated` knows it, or None."""
        return self.simulated.bayes_error

    @property
    def names(self) -> tuple[str, ...]:
        """The curves that both have, or that the simulation has if there is no prediction.

        A `tie_rate` that one of them leaves out is 0, and counts as one that it has.
        """
        both = [t for t in (self.simulated, self.predicted) if t is not None]
        shared = {n for n in CURVES if all(n in t.curves for t in both)}
        if "classification_error" in shared and any("tie_rate" in t.curves for t in both):
            shared.add("tie_rate")
        return tuple(n for n in CURVES if n in shared)

    @property
    def times(self) -> np.ndarray:
        """The simulation's times that the prediction covers, shape `(T,)`."""
        return np.asarray(self.simulated.times[self._covered])

    @property
    def _covered(self) -> np.ndarray:
        times = self.simulated.times
        if self.predicted is None:
            return np.full(times.shape, True)
        known = self.predicted.times[np.isfinite(self.predicted.times)]
        if known.size == 0:
            return np.full(times.shape, False)
        slack = 1e-9 * known[-1]
        return np.asarray((times >= known[0] - slack) & (times <= known[-1] + slack))

    def simulation(self, name: str) -> tuple[np.ndarray, np.ndarray]:
        """Return what was measured at `times`.

        Args:
            name: a curve.

        Returns:
            The mean over replicas and its standard error, each `(T, ...)`; the standard error is
            NaN if it is unknown, as for one replica. Where all replicas count the same number of
            errors (or ties), so that their spread says nothing, the standard error of the
            classification error (of the tie rate) is that of the count, or of one point if there
            is none.

        Raises:
            RangeError: if there is no such curve.
        """
        value = self.simulated[name]
        count = self.simulated.replicas
        mean = value if count is None else value.mean(axis=1)
        error = self.simulated.standard_error(name)
        if count is None and name not in self.simulated.errors:
            error = np.full_like(error, np.nan)
        size = self.simulated.metadata.get("test_size")
        if name in ("classification_error", "tie_rate") and size and count:
            points = size * count
            rate = np.clip(mean, 1 / points, 1 - 1 / points)
            error = np.where(error == 0, np.sqrt(rate * (1 - rate) / points), error)
        return mean[self._covered], error[self._covered]

    def theory(self, name: str) -> tuple[np.ndarray, np.ndarray]:
        """Return what is predicted at `times`.

        Args:
            name: a curve.

        Returns:
            The prediction and its integration error, each `(T, ...)`; linear in log t between the
            times of the prediction (in t after t = 0), exact at them.

        Raises:
            IncompatibleError: if there is no prediction.
            RangeError: if there is no such curve.
        """
        if self.predicted is None:
            raise IncompatibleError("there is no prediction to compare with; give `predicted`.")
        finite = np.isfinite(self.predicted.times)
        known = self.predicted.times[finite]
        curves = (self.predicted.mean()[name], self.predicted.standard_error(name))
        value, error = (interpolated(known, curve[finite], self.times) for curve in curves)
        return value, error

    def z_scores(self, name: str) -> np.ndarray:
        r"""Return how many standard errors the simulation is above the theory.

        Args:
            name: a curve.

        Returns:
            $z = (m - p) / \sqrt{s_m^2 + s_p^2}$, shape `(T, ...)` at `times`. Where both errors
            are 0, as at t = 0 or where no replica has moved yet, it is 0 if simulation and theory
            agree to rounding (1e-6). NaN, unknown, if they do not (replicas that agree exactly
            tell nothing about their spread), for one replica, and where a curve diverged.

        Raises:
            IncompatibleError: if there is no prediction.
            RangeError: if there is no such curve.
        """
        (mean, mean_error), (theory, theory_error) = self.simulation(name), self.theory(name)
        error = np.hypot(mean_error, theory_error)
        scale = 1 + np.abs(theory)
        with np.errstate(divide="ignore", invalid="ignore"):  # also of curves that diverged
            difference = np.where(np.isfinite(mean) & np.isfinite(theory), mean - theory, np.nan)
            # The mean of equal replicas is off by rounding in float64, and so is their spread.
            z = np.where(error <= 1e-12 * scale, np.nan, difference / error)
        alike = (np.abs(difference) <= ROUNDING * scale) & (error <= ROUNDING * scale)
        return np.where(alike, 0.0, z)

    def worst(self, name: str) -> tuple[float, float]:
        """Return where a curve is furthest from the theory.

        Args:
            name: a curve.

        Returns:
            The time, and z of the entry with the largest |z|; both NaN if no z is known.

        Raises:
            IncompatibleError: if there is no prediction.
            RangeError: if there is no such curve.
        """
        z = self.z_scores(name).reshape(self.times.size, -1)
        size = np.where(np.isnan(z), -1.0, np.abs(z))
        time, entry = np.unravel_index(int(size.argmax()), size.shape)
        if size[time, entry] < 0:
            return float("nan"), float("nan")
        return float(self.times[time]), float(z[time, entry])

    def table(self, rows: int = 8) -> str:
        """Return a short table in plain text.

        Args:
            rows: how many times to show, log-spaced from the first to the last; at least 2.

        Returns:
            Lines with both errors, simulated and predicted, and their z; then the Bayes error, the
            largest |z| of every curve, and what z means.

        Raises:
            RangeError: if `rows` is too small.
        """
        times = self.times
        shown = logarithmic_choice(times, checks.whole("rows", rows, at_least=2))
        columns = [["t", *(f"{t:.4g}" for t in times[shown])]]
        for name in ("pmse", "classification_error"):
            if name not in self.names:
                continue
            mean, error = (x[shown] for x in self.simulation(name))
            theory = scores = None
            if self.predicted is not None:
                theory, scores = self.theory(name)[0][shown], self.z_scores(name)[shown]
            label = name.removeprefix("classification_")
            columns += tables.scored_columns(label, (mean, error), theory, scores)
        return "\n".join([*tables.aligned(columns), "", *self._notes()])

    def _notes(self) -> list[str]:
        """Return what stands below the table."""
        notes = []
        if self.bayes_error is not None:
            notes.append(f"Bayes error: {tables.with_error(*self.bayes_error)}")
        if self.predicted is None:
            return [*notes, "There is no prediction to compare with."]
        replicas = self.simulated.replicas
        times = {name: self.worst(name)[0] for name in self.names}
        if all(np.isnan(time) for time in times.values()) and replicas in (None, 1):
            return [*notes, "z is unknown: a standard error takes at least 2 replicas."]
        dim = self.simulated.metadata.get("dim")
        order = "1/D" if dim is None else f"1/D = 1/{dim}"
        return [
            *notes,
            *(
                tables.largest_score(name, time, self.z_scores(name), replicas)
                for name, time in times.items()
            ),
            "z = (simulation - theory) / standard error. It counts statistical error only;",
            f"deviations of order {order} are expected beside it.",
        ]

    def plot(self, path: str | Path | None = None, time_unit: str = "t") -> Figure:
        """Draw both errors against time.

        Args:
            path: a PNG or PDF file to write as well; an existing one is replaced.
            time_unit: `"t"`, `"t*sqrt(D)"` or `"t*D"`.

        Returns:
            The figure: simulation as points with standard errors, theory as lines, the Bayes error
            dashed.

        Raises:
            RangeError: if the ending of `path` or `time_unit` is unknown.
            OutputError: if it cannot be written.
        """
        from gmmdyn.plot import plot_errors

        return plot_errors(self, path, time_unit)

    def plot_order_parameters(self, path: str | Path | None = None, time_unit: str = "t") -> Figure:
        """Draw Q, R and v against time.

        Args:
            path: a PNG or PDF file to write as well; an existing one is replaced.
            time_unit: `"t"`, `"t*sqrt(D)"` or `"t*D"`.

        Returns:
            The figure: simulation as points with standard errors, theory as lines.

        Raises:
            RangeError: if no order parameters were recorded or the ending of `path` is unknown.
            OutputError: if it cannot be written.
        """
        from gmmdyn.plot import plot_order_parameters

        return plot_order_parameters(self, path, time_unit)


def compare(simulated: Trajectory, predicted: Trajectory | None = None) -> Comparison:
    """Compare a simulation with what a theory predicts for it.

    Args:
        simulated: from `Experiment.simulate`; replicas are averaged.
        predicted: from `Experiment.solve` of the same experiment, on the same or other times; None
            if no theory applies.

    Returns:
        The comparison.

    Raises:
        ArgumentError: if an argument is no trajectory.
        IncompatibleError: if `simulated` is no simulation, `predicted` no theory, they describe
            different experiments (the message says which part differs), or they have no curve in
            common.
        ShapeError: if they have different numbers of units or clusters.
        RangeError: if they have no time in common, as with a fixed point.

    Examples:
        >>> import numpy as np
        >>> from gmmdyn.comparison import compare
        >>> from gmmdyn.trajectory import Trajectory
        >>> runs = Trajectory(np.ones(1), {"pmse": np.array([[0.1, 0.3]])}, "simulation")
        >>> line = Trajectory(np.ones(1), {"pmse": np.array([0.1])}, "theory")
        >>> compare(runs, line).z_scores("pmse").round(6)
        array([1.])
    """
    return Comparison(simulated, predicted)
