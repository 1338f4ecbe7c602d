"""The distinct fixed points that many starts lead to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from gmmdyn import checks
from gmmdyn.errors import ConvergenceError
from gmmdyn.experiment import Experiment
from gmmdyn.experiment.configuration import Configuration
from gmmdyn.fixed_points.dataset import assemble
from gmmdyn.fixed_points.kept import Entry, Kept
from gmmdyn.fixed_points.source import Search, search_of
from gmmdyn.fixed_points.symmetry import Symmetry, distance, symmetries
from gmmdyn.interfaces import GaussianMixture, TwoLayerNetwork
from gmmdyn.sweeping.bar import point_bar
from gmmdyn.trajectory import Trajectory
from gmmdyn.trajectory.order_parameters import OrderParameters

if TYPE_CHECKING:
    import xarray as xr

# Lengths of the random part of a start, in units of the longest mean.
_SHORTEST, _LONGEST = 0.05, 0.5


def find_fixed_points(
    source: str | Path | Configuration | Experiment,
    starts: int = 20,
    *,
    seed: int = 0,
    alike: float = 0.01,
    folder: str | Path | None = None,
    progress: bool | None = False,
    **options: Any,
) -> xr.Dataset:
    """List the distinct fixed points that many starts lead to.

    Every second start is random and small; the others are informed: each unit lies near a cluster
    drawn at random, with a readout of its label. Two fixed points are one if a permutation of units
    and a symmetry of the mixture takes the one to the other.

    Args:
        source: a preset, a YAML file, a configuration, or an experiment that was built by names.
        starts: how many, at least 1.
        seed: of the starts, not negative.
        alike: how much the order parameters of two may differ, as a share of the largest where
            that exceeds 1, and still be one; positive. They differ by the integration error.
        folder: where to keep every point as it is found; a call with the same seed goes on from
            those there.
        progress: whether to show a progress bar; None shows it on a terminal.
        **options: keywords of the theory `state-evolution`.

    Returns:
        As `follow_fixed_point`, along `fixed_point` (numbers from 0, lowest pmse first), with
        `starts`, how many led to each, and without `branch`.

    Raises:
        RangeError: if a number is out of range.
        IncompatibleError: if the theory does not describe the experiment.
        ConvergenceError: if no start converged.
        OutputError: if a point cannot be kept.
    """
    return multistart(source, starts, seed, alike, options).run(folder, progress)


@dataclass(frozen=True)
class Multistart:
    """Starts to make, checked.

    Attributes:
        search: configuration and theory.
        experiment: what the configuration describes.
        mixture: its data model.
        network: its network.
        starts: how many.
        seed: of them.
        alike: how much two fixed points that are one may differ.
    """

    search: Search
    experiment: Experiment
    mixture: GaussianMixture
    network: TwoLayerNetwork
    starts: int
    seed: int
    alike: float

    def run(self, folder: str | Path | None = None, progress: bool | None = False) -> xr.Dataset:
        """Make them; see `find_fixed_points`."""
        generator = np.random.default_rng(self.seed)
        kept = Kept(folder, self.search.job)
        allowed = symmetries(self.mixture)
        found: list[Entry] = []
        reached: list[int] = []
        failed: list[Entry] = []
        with point_bar(progress) as advance:
            advance(0, self.starts)
            for index in range(self.starts):
                start = _start(self.mixture, self.network, generator, informed=index % 2 == 1)
                which = {"seed": self.seed, "start": index}
                entry = kept.find(which)
                if entry is None:
                    entry = self._reached(start)
                    kept.keep(which, entry)
                advance(index + 1, self.starts)
                if entry.found is None or entry.message:
                    failed.append(entry)
                    continue
                place = self._place(entry.found, found, allowed)
                if place == len(found):
                    found.append(entry)
                    reached.append(0)
                reached[place] += 1
        if not found:
            raise ConvergenceError(failed[-1].message, failed[-1].found)
        order = sorted(range(len(found)), key=lambda place: _pmse(found[place]))
        metadata = found[0].found.metadata if found[0].found is not None else {}
        about = {
            "starts": self.starts,
            "failed": len(failed),
            "seed": self.seed,
            "bayes_error": metadata.get("bayes_error", {}).get("value"),
            "base": self.search.base.to_mapping(),
        }
        chosen = [found[place] for place in order]
        dataset = assemble("fixed_point", range(len(chosen)), chosen, about)
        return dataset.assign(starts=("fixed_point", [reached[place] for place in order]))

    def _reached(self, start: OrderParameters) -> Entry:
        try:
            return Entry(self.experiment.solve(self.search.theory, initial=start), "")
        except ConvergenceError as error:
            return Entry(error.partial, str(error))

    def _place(
        self, trajectory: Trajectory, found: Sequence[Entry], allowed: list[Symmetry]
    ) -> int:
        """Return which of those that were found it is; the next number if it is a new one."""
        state = trajectory.order_parameters(0)
        for place, entry in enumerate(found):
            assert entry.found is not None
            if distance(entry.found.order_parameters(0), state, allowed) < self.alike:
                return place
        return len(found)


def multistart(
    source: str | Path | Configuration | Experiment,
    starts: int,
    seed: int = 0,
    alike: float = 0.01,
    options: Mapping[str, Any] | None = None,
) -> Multistart:
    """Check what starts are to be made, before any work; see `find_fixed_points`.

    Args:
        source: as there.
        starts: as there.
        seed: as there.
        alike: as there.
        options: keywords of the theory.

    Returns:
        The starts to make.
    """
    count = checks.whole("starts", starts)
    near = checks.number("alike", alike, above=0)
    of_starts = checks.whole("seed", seed, at_least=0)
    search = search_of(source, options or {})
    experiment = Experiment.from_configuration(search.base)
    mixture, network = search.parts(experiment)
    return Multistart(search, experiment, mixture, network, count, of_starts, near)


def _pmse(entry: Entry) -> float:
    assert entry.found is not None
    return float(entry.found.pmse[0])


def _start(
    mixture: GaussianMixture,
    network: TwoLayerNetwork,
    generator: np.random.Generator,
    informed: bool,
) -> OrderParameters:
    """Draw weights as D → ∞ would have them: random parts orthogonal to each other and the means.

    A random start still needs an overlap with the means to leave the zero network along them; it is
    that of a random vector in as many dimensions as the mixture has.
    """
    t = mixture.mean_overlaps.double().cpu().numpy()
    hidden, clusters = network.hidden, len(t)
    length = float(np.sqrt(t.diagonal().max())) or 1.0
    noise = length * np.exp(generator.uniform(np.log(_SHORTEST), np.log(_LONGEST)))
    values, vectors = np.linalg.eigh(t)
    root = vectors * np.sqrt(np.maximum(values, 0))  # T = A Aᵀ
    if informed:
        cluster = generator.integers(clusters, size=hidden)
        c = root[cluster].T
        v = mixture.labels.double().cpu().numpy()[cluster]
        c = c + noise * generator.standard_normal(c.shape) / 10
        v = v + noise * generator.standard_normal(hidden) / 10
    else:
        c = noise * generator.standard_normal((clusters, hidden)) / np.sqrt(mixture.dim)
        v = noise * generator.standard_normal(hidden)
    return OrderParameters(
        Q=torch.from_numpy(c.T @ c + noise**2 * np.eye(hidden)),
        R=torch.from_numpy(root @ c),
        v=torch.from_numpy(v),
        b=None if network.bias is None else torch.zeros(hidden, dtype=torch.float64),
    )
