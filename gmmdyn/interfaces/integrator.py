"""Gaussian expectations of the learning signal."""

from __future__ import annotations

import abc
from typing import NamedTuple

from torch import Tensor

from gmmdyn.algorithm.losses import SQUARE, Loss
from gmmdyn.interfaces.activation import Activation
from gmmdyn.interfaces.component import Component


class Moments(NamedTuple):
    r"""Expectations of the learning signal in each cluster: what the equations know of a network.

    An update moves the weights of unit k by $\eta\gamma_k x/\sqrt{D}$ with the *learning signal*
    $\gamma_k = v_k g'(\lambda_k)\Delta$ and the readout along the slope $g(\lambda_k)\Delta$ of
    the head. For the square loss the error signal $\Delta = -\partial\ell/\partial\phi$ is
    $y - \phi$, and $\partial^2\ell/\partial\phi^2 = 1$.

    Attributes:
        drive: $e_{\alpha k} = E[\gamma_k]$, shape `(..., C, K)`.
        noise: $n_{\alpha kl} = E[\gamma_k\gamma_l]$, shape `(..., C, K, K)`.
        stein: $s_{\alpha ki} = E[\partial\gamma_k/\partial\lambda_i]
            = \delta_{ki} v_k E[g''(\lambda_k)\Delta]
            - v_k v_i E[g'(\lambda_k) g'(\lambda_i) \partial^2\ell/\partial\phi^2]$,
            shape `(..., C, K, K)`.
        readout: $f_{\alpha k} = E[g(\lambda_k)\Delta]$, shape `(..., C, K)`.
    """

    drive: Tensor
    noise: Tensor
    stein: Tensor
    readout: Tensor


class Errors(NamedTuple):
    """Errors of the network in each cluster, with their integration errors.

    Attributes:
        pmse: ½E[Δ²], shape `(..., C)`.
        classification_error: P(yφ < 0) + ½P(φ = 0), shape `(..., C)`, between 0 and 1.
        pmse_se: estimated integration error of `pmse`, same shape.
        classification_error_se: estimated integration error of `classification_error`.
        loss: E[ℓ], shape `(..., C)`, or None for the square loss, where it is the pmse.
        loss_se: estimated integration error of `loss`.
        tie_rate: P(φ = 0), shape `(..., C)`, or None where an output is never exactly 0.
        tie_rate_se: estimated integration error of `tie_rate`.
    """

    pmse: Tensor
    classification_error: Tensor
    pmse_se: Tensor
    classification_error_se: Tensor
    loss: Tensor | None = None
    loss_se: Tensor | None = None
    tie_rate: Tensor | None = None
    tie_rate_se: Tensor | None = None


class Fields(NamedTuple):
    r"""Local fields and the network on top of them: everything an integral depends on.

    A leading `...` is any batch shape, the same in all three.

    Attributes:
        mean: of $\lambda$ in each cluster, shape `(..., C, K)`.
        covariance: of $\lambda$ in each cluster, shape `(..., C, K, K)`, or `(..., 1, K, K)` if all
            clusters share it; positive semi-definite, often singular.
        readout: $v$, shape `(..., K)`.
        labels: $y_\alpha$, shape `(C,)`.
        activation: $g$.
        loss: what the error signal is the slope of.
    """

    mean: Tensor
    covariance: Tensor
    readout: Tensor
    labels: Tensor
    activation: Activation
    loss: Loss = SQUARE


class Integrator(Component, abc.ABC):
    """Computes expectations of the learning signal over Gaussian local fields.

    Deterministic: the same arguments give the same numbers. One that samples draws its base points
    once from its own seed, because an adaptive solver cannot control its step on a noisy
    right-hand side.
    """

    @property
    @abc.abstractmethod
    def smooth(self) -> bool:
        """Whether the moments are smooth in the state even if the activation has kinks."""

    @property
    @abc.abstractmethod
    def relative_error(self) -> float:
        """Typical error of a moment of order one: no solver tolerance below it makes sense."""

    def obstacle(self, activation: Activation, loss: Loss, hidden: int) -> str | None:
        """Say why this integrator does not describe a network; by default it describes all.

        Args:
            activation: of the hidden units.
            loss: what the error signal is the slope of.
            hidden: the number of hidden units `K`.

        Returns:
            A sentence that ends in what to take instead, or None.
        """
        return None

    @abc.abstractmethod
    def prepare(self, hidden: int) -> None:
        """Place the base points for a network.

        Args:
            hidden: the number of hidden units `K`.
        """

    @abc.abstractmethod
    def moments(self, fields: Fields) -> Moments:
        """Compute the moments that drive the dynamics.

        A solver tries states a little outside of the possible ones; put up with eigenvalues down to
        -1e-3 of the largest.

        Args:
            fields: the Gaussian local fields; `prepare` was called with their `K`.

        Returns:
            The moments in the dtype of `fields.mean`.

        Raises:
            NotPositiveError: if a covariance has a negative eigenvalue beyond that.
        """

    @abc.abstractmethod
    def errors(self, fields: Fields) -> Errors:
        """Compute the errors of the network.

        Args:
            fields: the Gaussian local fields; `prepare` was called with their `K`.

        Returns:
            The errors in each cluster.

        Raises:
            NotPositiveError: if a covariance has a negative eigenvalue beyond rounding.
        """
