"""What fixed points are looked for in: a configuration, and the theory that finds them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gmmdyn.errors import IncompatibleError
from gmmdyn.experiment import Experiment
from gmmdyn.experiment.configuration import Configuration
from gmmdyn.experiment.plain_values import plain
from gmmdyn.interfaces import GaussianMixture, Theory, TwoLayerNetwork
from gmmdyn.registry.components import theory as build

_THEORY = "state-evolution"


@dataclass(frozen=True)
class Search:
    """A configuration with the theory of fixed points.

    Attributes:
        base: with the options of the theory.
        theory: finds the fixed point that a start leads to.
        newton: the same with Newton's method, which finds one near its start.
        flows: whether `theory` follows the dynamics, so that it leaves saddles.
        integrator: what was given for the theory's, in plain values.
    """

    base: Configuration
    theory: Theory
    newton: Theory
    flows: bool
    integrator: Any

    @property
    def job(self) -> dict[str, Any]:
        """What the fixed points depend on, in plain values."""
        whole = self.base.to_mapping()
        parts = {key: whole[key] for key in ("data_model", "network", "algorithm", "theory")}
        return {**parts, "integrator": self.integrator}

    def parts(self, experiment: Experiment) -> tuple[GaussianMixture, TwoLayerNetwork]:
        """Check an experiment, and return its mixture and its network.

        Args:
            experiment: what the fixed points are of.

        Returns:
            Both.

        Raises:
            IncompatibleError: if the theory does not describe it.
        """
        experiment.check(self.theory)
        mixture, network = experiment.data_model, experiment.network
        if not (isinstance(mixture, GaussianMixture) and isinstance(network, TwoLayerNetwork)):
            raise IncompatibleError(
                "fixed points are looked for in two-layer networks on Gaussian mixtures."
            )
        return mixture, network


def search_of(
    source: str | Path | Configuration | Experiment, options: Mapping[str, Any]
) -> Search:
    """Settle what is looked for, and how.

    Args:
        source: a preset, a YAML file, a configuration, or an experiment that was built by names.
        options: keywords of the theory `state-evolution`.

    Returns:
        The search.

    Raises:
        ConfigError: if the source is none of these.
        GmmdynError: if an option is unknown or out of range.
    """
    if isinstance(source, Configuration):
        base = source
    elif isinstance(source, Experiment):
        base = source.configuration()
    else:
        base = Configuration.load(source)
    if (base.theory or {}).get("name") != _THEORY:
        base = base.updated("theory", {"name": _THEORY})
    given = {key: value for key, value in options.items() if key != "integrator"}
    base = base.updated("theory", plain(given)) if given else base
    described = {key: value for key, value in (base.theory or {}).items() if key != "name"}
    if "integrator" in options:  # may be an object
        described["integrator"] = options["integrator"]
    theory = build(_THEORY, **described)
    newton = build(_THEORY, **{**described, "method": "newton"})
    flows = described.get("method", "flow") == "flow"
    return Search(base, theory, newton, flows, plain(options.get("integrator")))
