"""The theory `random-features-limit`: the best readout at D → ∞ and a fixed P/D."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, final

import numpy as np

from gmmdyn import OnlineSGD, OrderParameters, Trajectory
from gmmdyn.errors import IncompatibleError
from gmmdyn.interfaces import DataModel, FeatureNetwork, IsotropicMixture, Network, Theory
from gmmdyn_random_features.limits import limit_errors
from gmmdyn_random_features.theory import no_order_parameters, refuse, refuse_initial


@final
class RandomFeaturesLimit(Theory):
    r"""Errors of the best readout of random features to leading order in 1/D: t = ∞.

    For isotropic noise and means at low SNR, $|\mu|^2$ of order D; see `limit_errors`. Of the
    network only $\psi$ and $P/D$ matter, not its projection. An intercept is assumed.
    """

    follows_time: ClassVar[bool] = False

    def check(self, data_model: DataModel, network: Network, algorithm: OnlineSGD) -> None:
        """Say which assumption fails; see `Theory.check`."""
        name = "random-features-limit"
        refuse(name, data_model, network)
        changed = sorted(algorithm.variations & {"loss", "label_noise"})
        if changed:
            raise IncompatibleError(
                f"the theory `{name}` describes the square loss on clean labels; leave "
                f"`{changed[0]}` at its default."
            )
        if not isinstance(data_model, IsotropicMixture) or data_model.variance <= 0:
            raise IncompatibleError(
                f"the theory `{name}` describes isotropic noise of positive variance; take "
                "`random-features`."
            )
        longest = float(data_model.mean_overlaps.diagonal().max())
        if longest > data_model.dim**0.5:
            raise IncompatibleError(
                f"the theory `{name}` describes means with |mu|²/D of order one, and it is "
                f"{longest:.3g} here; take `random-features`."
            )

    def solve(
        self,
        data_model: DataModel,
        network: Network,
        algorithm: OnlineSGD,
        *,
        times: Sequence[float] | np.ndarray = (np.inf,),
        initial: OrderParameters | None = None,
    ) -> Trajectory:
        """Return the errors at t = ∞; see `Theory.solve`. The times are ignored."""
        self.check(data_model, network, algorithm)
        refuse_initial("random-features-limit", initial)
        assert isinstance(data_model, IsotropicMixture)
        assert isinstance(network, FeatureNetwork)
        ratio = network.size / network.dim
        found = limit_errors(data_model, ratio, network.activation, algorithm.weight_decay)
        curves = {name: np.array([value]) for name, value in found._asdict().items()}
        metadata = {"theory": "random-features-limit", "ratio": ratio}
        return Trajectory(np.array([np.inf]), curves, "theory", metadata=metadata)

    def derivative(
        self,
        data_model: DataModel,
        network: Network,
        algorithm: OnlineSGD,
        state: OrderParameters | None = None,
        *,
        time: float = 0.0,
    ) -> OrderParameters:
        """Refuse: random features have no order parameters Q, R, v.

        Raises:
            IncompatibleError: always.
        """
        raise no_order_parameters("random-features-limit")
