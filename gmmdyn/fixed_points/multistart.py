"""The distinct fixed points that many starts lead to."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from gmmdyn import checks
from gmmdyn.config import Configuration
from gmmdyn.errors import ConvergenceError, IncompatibleError
from gmmdyn.experiment import Experiment
from gmmdyn.fixed_points.continuation import configuration_of, theories
from gmmdyn.fixed_points.dataset import assemble
from gmmdyn.fixed_points.symmetry import distance, symmetries
from gmmdyn.interfaces import GaussianMixture, TwoLayerNetwork
from gmmdyn.order_parameters import OrderParameters
from gmmdyn.trajectory import Trajectory

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
        **options: keywords of the theory `state-evolution`.

    Returns:
        As `follow_fixed_point`, along `fixed_point` (numbers from 0, lowest pmse first), with
        `starts`: how many led to each.

    Raises:
        RangeError: if a number is out of range.
        IncompatibleError: if the theory does not describe the experiment.
        ConvergenceError: if no start converged.
    """
    count = checks.whole("starts", starts)
    near = checks.number("alike", alike, above=0)
    generator = np.random.default_rng(checks.whole("seed", seed, at_least=0))
    base, theory, _ = theories(configuration_of(source), options)
    experiment = base.experiment()
    experiment.check(theory)
    mixture, network = experiment.data_model, experiment.network
    if not (isinstance(mixture, GaussianMixture) and isinstance(network, TwoLayerNetwork)):
        raise IncompatibleError("starts are drawn for two-layer networks on Gaussian mixtures.")
    allowed = symmetries(mixture)
    found: list[Trajectory] = []
    reached: list[int] = []
    failed: ConvergenceError | None = None
    failures = 0
    for index in range(count):
        start = _start(mixture, network, generator, informed=index % 2 == 1)
        try:
            trajectory = experiment.solve(theory, initial=start)
        except ConvergenceError as error:
            failed, failures = error, failures + 1
            continue
        state = trajectory.order_parameters(0)
        for place, known in enumerate(found):
            if distance(known.order_parameters(0), state, allowed) < near:
                reached[place] += 1
                break
        else:
            found.append(trajectory)
            reached.append(1)
    if not found:
        assert failed is not None
        raise failed
    order = sorted(range(len(found)), key=lambda place: float(found[place].pmse[0]))
    about = {
        "starts": count,
        "failed": failures,
        "seed": seed,
        "bayes_error": found[0].metadata.get("bayes_error", {}).get("value"),
        "base": base.to_mapping(),
    }
    chosen = [found[place] for place in order]
    dataset = assemble("fixed_point", range(len(chosen)), chosen, [""] * len(chosen), about)
    return dataset.assign(starts=("fixed_point", [reached[place] for place in order]))


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
