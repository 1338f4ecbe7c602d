"""The theory `random-features-limit`: the best readout at D → ∞ and a fixed P/D."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, final

import numpy as np

from gmmdyn import OnlineSGD, OrderParameters, Trajectory
from gmmdyn.errors import IncompatibleError
from gmmdyn.interfaces import DataModel, IsotropicMixture, Network
from gmmdyn_random_features._feature_theory import FeatureTheory
from gmmdyn_random_features.limits import limit_constant, limit_errors


@final
class RandomFeaturesLimit(FeatureTheory):
    r"""Errors of the best readout of random features to leading order in 1/D: t = ∞.

    For isotropic noise and means at low SNR, $|\mu|^2$ of order D; see `limit_errors`. Of the
    network only $\psi$ and $P/D$ matter, not its projection. An intercept is assumed.
    """

    name: ClassVar[str] = "random-features-limit"
    describes: ClassVar[frozenset[str]] = frozenset({"schedule", "batch_size"})
    follows_time: ClassVar[bool] = False

    def check(self, data_model: DataModel, network: Network, algorithm: OnlineSGD) -> None:
        """Say which assumption fails; see `Theory.check`."""
        self.feature_parts(data_model, network)
        if not isinstance(data_model, IsotropicMixture) or data_model.variance <= 0:
            raise IncompatibleError(
                f"the theory `{self.name}` describes isotropic noise of positive variance; take "
                "`random-features`."
            )
        longest = float(data_model.mean_overlaps.diagonal().max())
        if longest > data_model.dim**0.5:
            raise IncompatibleError(
                f"the theory `{self.name}` describes means with |mu|²/D of order one, and it is "
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
        """Return the errors at t = ∞; see `Theory.solve`. The times are ignored.

        The metadata have `limit_constant`, k of the low-SNR XOR.
        """
        mixture, features = self.parts(data_model, network, algorithm, initial)
        assert isinstance(mixture, IsotropicMixture)
        ratio = features.size / features.dim
        ridge = algorithm.weight_decay
        found = limit_errors(mixture, ratio, features.activation, ridge)
        constant = limit_constant(ratio, features.activation, mixture.variance**0.5, ridge)
        curves = {name: np.array([value]) for name, value in found._asdict().items()}
        metadata = {"theory": self.name, "ratio": ratio, "limit_constant": constant}
        return Trajectory(np.array([np.inf]), curves, "theory", metadata=metadata)
