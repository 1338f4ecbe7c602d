"""From the expansion in 1/D to a trajectory at one D."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch

from gmmdyn import Trajectory
from gmmdyn.trajectory.fluctuations import Fluctuations
from gmmdyn_ode.finite_size.ensemble import Push, follow_members, gaussian_paths
from gmmdyn_ode.finite_size.expansion import Expansion, expand
from gmmdyn_ode.finite_size.limit import ERRORS, Limit
from gmmdyn_ode.finite_size.observables import Response, respond
from gmmdyn_ode.recording import Record, record

# Fluctuations are Gaussian as long as D is so many times D_c.
_ENOUGH = 10


class Expanded(NamedTuple):
    """An experiment expanded in 1/D: all that does not depend on D.

    Attributes:
        limit: the experiment as D grows.
        expansion: at the recorded times.
        recorded: the curves of the limit.
    """

    limit: Limit
    expansion: Expansion
    recorded: Record

    @classmethod
    def at(cls, limit: Limit, times: np.ndarray) -> Expanded:
        """Expand along the path of the limit.

        Args:
            limit: the experiment as D grows.
            times: recorded, strictly increasing, shape `(T,)`.

        Returns:
            The expansion.

        Raises:
            ConvergenceError: if the solver gives up.
        """
        with torch.no_grad():
            path = limit.path(times)
            expansion = expand(times, path, limit.drift, limit.coordinates)
            start = limit.problem.initial
            states = limit.coordinates.state(torch.from_numpy(expansion.limit))
            recorded = record(states.pack(), start, limit.dynamics)
        return cls(limit, expansion, recorded)

    def predict(self, dim: int, members: int, seed: int) -> Trajectory:
        """Return means to order 1/D and fluctuations at one D.

        Args:
            dim: D.
            members: of the ensemble that goes on where the fluctuations are not Gaussian.
            seed: of its draws.

        Returns:
            The trajectory.

        Raises:
            ConvergenceError: if a member of the ensemble grows beyond all bounds.
        """
        with torch.no_grad():
            return self._predict(dim, members, seed)

    def _predict(self, dim: int, members: int, seed: int) -> Trajectory:
        times = self.expansion.times
        response = respond(self.expansion, dim, self.limit)
        critical, alike = self._critical(response, dim)
        last = int(np.argmin(alike)) - 1 if not alike.all() else len(times) - 1
        curves, fluctuations = self._gaussian(response, dim)
        about: dict[str, Any] = {
            "theory": "finite-size",
            "solver": {
                **self.limit.about,
                **self.limit.options._asdict(),
                "steps": len(self.expansion.nodes),
                "expanded_at": dim,
            },
            "critical_dim": critical.tolist(),
            "gaussian_until": float(times[last]),
        }
        if last < len(times) - 1:
            states = self.ensemble(dim, members, seed, last, noisy=True)
            curves, fluctuations = self._joined(curves, fluctuations, states, last)
            about["ensemble"] = {"members": states.shape[1], "from": float(times[last])}
        errors = {name: value.numpy() for name, value in self.recorded.spread.items()}
        return Trajectory(times, curves, "theory", errors, about, fluctuations=fluctuations)

    def last_gaussian(self, dim: int) -> int:
        """Return the index of the last recorded time at which the fluctuations are Gaussian."""
        with torch.no_grad():
            response = respond(self.expansion, dim, self.limit)
            _, alike = self._critical(response, dim)
        return len(alike) - 1 if alike.all() else int(np.argmin(alike)) - 1

    def ensemble(self, dim: int, members: int, seed: int, last: int, *, noisy: bool) -> np.ndarray:
        """Follow states of the Gaussian.

        Args:
            dim: D.
            members: how many, even.
            seed: of the draws.
            last: index of the time from which they are followed.
            noisy: whether noise goes on from there, or only the flow of the limit.

        Returns:
            Coordinates at all recorded times, shape `(T, N, n)`.
        """
        expansion = self.expansion
        before = gaussian_paths(expansion.until(last), dim, members, seed)
        push = Push(dim, expansion.nodes, expansion.forces) if noisy else None
        after = follow_members(self.limit, before[-1], expansion.times[last:], push, seed)
        return np.concatenate([before[:-1], after])

    def _critical(self, response: Response, dim: int) -> tuple[np.ndarray, np.ndarray]:
        """Return D_c of the pmse at each time, and whether fluctuations are Gaussian up to it.

        Where the pmse comes to rest or its gradient vanishes, its shift is not small compared with
        its deviation, and still the order parameters are Gaussian. So the deviation along the
        leading mode is asked too: both have to say that a shift is not small.
        """
        of_pmse = _ratio(dim * response.shift["pmse"] ** 2, response.variance("pmse"))
        values, vectors = np.linalg.eigh(self.expansion.covariance)
        along = (vectors[..., -1] * self.expansion.shift).sum(-1)
        of_mode = _ratio(along**2, values[:, -1])
        worst = np.maximum.accumulate(np.minimum(of_pmse, of_mode))
        return of_pmse, dim >= _ENOUGH * worst

    def _gaussian(self, response: Response, dim: int) -> tuple[dict[str, np.ndarray], Fluctuations]:
        curves = {name: value.numpy().copy() for name, value in self.recorded.curves.items()}
        between = self.expansion.between() / dim
        std, cov = {}, {}
        for name in ERRORS:
            if name in response.shift:
                curves[name] = curves[name] + response.shift[name]
                std[name] = np.sqrt(response.variance(name))
                cov[name] = response.covariance(name, between)
        mean = torch.from_numpy(self.expansion.limit + self.expansion.shift / dim)
        for name, value in self.limit.overlaps(mean).items():
            curves[name] = value
            rows = self._rows(name)  # (n, ...)
            cov[name] = np.einsum("i...,tsij,j...->ts...", rows, between, rows)
            variance = np.einsum("tt...->t...", cov[name])
            std[name] = np.sqrt(np.clip(variance, 0, None))
        return curves, Fluctuations(std, cov)

    def _rows(self, name: str) -> np.ndarray:
        """Return an order parameter as a linear function of coordinates, shape `(n, ...)`."""
        unit = torch.eye(self.limit.coordinates.count, dtype=torch.float64)
        none = self.limit.overlaps(torch.zeros_like(unit[:1]))[name]
        return np.asarray(self.limit.overlaps(unit)[name] - none)

    def _joined(
        self,
        curves: dict[str, np.ndarray],
        fluctuations: Fluctuations,
        states: np.ndarray,
        last: int,
    ) -> tuple[dict[str, np.ndarray], Fluctuations]:
        """Take means and deviations from members after the last Gaussian time."""
        members = self.limit.curves(states)
        std, cov = {}, {}
        for name, value in members.items():
            curves[name][last + 1 :] = value[last + 1 :].mean(1)
            std[name] = fluctuations.std[name].copy()
            std[name][last + 1 :] = value[last + 1 :].std(1, ddof=1)
            cov[name] = covariance_of(value)
            begun = slice(last + 1)
            cov[name][begun, begun] = fluctuations.cov[name][begun, begun]
        return curves, Fluctuations(std, cov, members)


def covariance_of(members: np.ndarray) -> np.ndarray:
    """Return covariances between times of curves `(T, N, ...)`, shape `(T, T, ...)`."""
    around = members - members.mean(axis=1, keepdims=True)
    total = np.einsum("tn...,sn...->ts...", around, around)
    return np.asarray(total / (members.shape[1] - 1))


def _ratio(square: np.ndarray, variance: np.ndarray) -> np.ndarray:
    """Return their ratio, 0 where nothing fluctuates."""
    return np.asarray(np.where(variance > 0, square / np.where(variance > 0, variance, 1), 0.0))
