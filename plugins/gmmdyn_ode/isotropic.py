r"""The closed equations of Q, R, v (and b) for noise $\sigma^2$ times the identity.

Legend: eta, kappa the rates; p (C,) priors; T (C, C) overlaps of the means; e, n, s, f the moments of
the error signal in each cluster (`Moments`). With E = p e and S = Σ p s,

    dR_bk = eta v_k [ Σ_a E_ak T_ab + σ² Σ_i S_ki R_bi ] - eta kappa R_bk
    A_kl  = eta v_k [ Σ_a E_ak R_al + σ² Σ_i S_ki Q_il ]
    dQ    = A + Aᵀ + eta² v_k v_l Σ_a p_a n_akl (σ² + T_aa/D) - 2 eta kappa Q
    dv    = eta Σ_a p_a f_a - eta kappa v,    db = eta v E - eta kappa b

The term T_aa/D is the mean's share of |x|²/D; it vanishes as D grows when |mu|² ~ D and is of order
one when |mu|² ~ D² (high and mixed SNR).
"""

from __future__ import annotations

from typing import final

import torch
from torch import Tensor, nn

from gmmdyn import OnlineSGD, OrderParameters
from gmmdyn.interfaces import Activation, Errors, Fields, Integrator, IsotropicMixture


@final
class IsotropicDynamics(nn.Module):
    """The right-hand side and the errors, as functions of the state.

    Args:
        mixture: the mixture.
        activation: of the hidden units.
        algorithm: the rates.
        integrator: prepared for the number of hidden units.
    """

    def __init__(
        self,
        mixture: IsotropicMixture,
        activation: Activation,
        algorithm: OnlineSGD,
        integrator: Integrator,
    ) -> None:
        super().__init__()
        self._activation = activation
        self._algorithm = algorithm
        self._integrator = integrator
        self._variance = mixture.variance
        overlaps = mixture.mean_overlaps.double()
        self.register_buffer("_overlaps", overlaps, persistent=False)
        self.register_buffer("_labels", mixture.labels.double(), persistent=False)
        self.register_buffer("_priors", mixture.priors.double(), persistent=False)
        # |x|²/D in each cluster
        self.register_buffer(
            "_length", mixture.variance + overlaps.diagonal() / mixture.dim, persistent=False
        )

    def fields(self, state: OrderParameters) -> Fields:
        """Return the distribution of the local fields at a state."""
        covariance = (self._variance * state.Q).unsqueeze(-3)
        labels = self.get_buffer("_labels")
        return Fields(state.field_mean, covariance, state.v, labels, self._activation)

    def forward(self, state: OrderParameters) -> OrderParameters:
        """Return the time derivatives of a state.

        Args:
            state: shapes with any leading batch `...`.

        Returns:
            dQ, dR, dv and, if the state has a bias, db.
        """
        eta, kappa = self._algorithm.learning_rate, self._algorithm.weight_decay
        priors, overlaps = self.get_buffer("_priors"), self.get_buffer("_overlaps")
        m = self._integrator.moments(self.fields(state))
        drive = priors[:, None] * m.drive  # (..., C, K)
        stein = torch.einsum("a,...aki->...ki", priors, m.stein)
        noise = torch.einsum("a,...akl->...kl", priors * self.get_buffer("_length"), m.noise)
        v = state.v
        pull = eta * v[..., None, :]
        dr = pull * (overlaps.T @ drive + self._variance * state.R @ stein.mT)
        along = drive.mT @ state.R + self._variance * stein @ state.Q
        growth = eta * v[..., :, None] * along
        dq = growth + growth.mT + eta**2 * v[..., :, None] * v[..., None, :] * noise
        dv = torch.zeros_like(v)
        if self._algorithm.train_readout:
            dv = eta * torch.einsum("a,...ak->...k", priors, m.readout) - eta * kappa * v
        db: Tensor | None = None
        if state.b is not None:
            db = eta * v * drive.sum(-2) - eta * kappa * state.b
        return OrderParameters(
            Q=dq - 2 * eta * kappa * state.Q, R=dr - eta * kappa * state.R, v=dv, b=db
        )

    def errors(self, state: OrderParameters) -> Errors:
        """Return the errors at a state, averaged over clusters.

        Args:
            state: shapes with any leading batch `...`.

        Returns:
            Errors of shape `(...)`. The integration errors of clusters are added, not
            combined in squares: clusters share their points.
        """
        priors = self.get_buffer("_priors")
        by_cluster = self._integrator.errors(self.fields(state))
        return Errors(*(value @ priors for value in by_cluster))
