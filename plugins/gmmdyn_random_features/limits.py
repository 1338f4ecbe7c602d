r"""The limit of many dimensions at a fixed number of features per dimension, gamma = P/D.

For isotropic noise sigma² and means with T_ab = mu_a·mu_b/D of order one (low signal-to-noise), the
covariance of the features is sigma-independent of the cluster to leading order, r + a1² FᵀF/D with
Hermite coefficients of psi(sigma s), s standard normal,

    a1 = E[psi s],   a2 = E[psi (s² - 1)]/sqrt 2,   r = Var psi - a1²,

and the means are a1 m/sigma + a2 m²/(sqrt 2 sigma²) + const with fields m = Fᵀmu/D of order
1/sqrt D. Averages over the Marchenko-Pastur law of FᵀF/D then give the Gram matrix of the means in
the metric of the noise,

    G_ab = (a1²/sigma²) h T_ab + (a2²/2 sigma⁴) (gamma/D) g (T_aa T_bb + 2 T_ab²),
    g = E_P[1/(r + a1² l)],   h = E_D[l/(r + a1² l)],

from which the best readout of C clusters follows. The first term is what a linear classifier
of the inputs has, the second vanishes with D: the XOR has nothing else.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import ClassVar, NamedTuple, final

import numpy as np

from gmmdyn import OnlineSGD, OrderParameters, Trajectory, checks
from gmmdyn import activation as build_activation
from gmmdyn.errors import IncompatibleError
from gmmdyn.gaussian import hermite_coefficients
from gmmdyn.interfaces import (
    Activation,
    DataModel,
    GaussianMixture,
    IsotropicMixture,
    Network,
)
from gmmdyn_random_features.classification import error_probability
from gmmdyn_random_features.statistics import to_numpy
from gmmdyn_random_features.theory import FeatureTheory


class Limit(NamedTuple):
    """Errors of the best readout for large D.

    Attributes:
        pmse: ½E[(y − ŷ)²].
        classification_error: P(yŷ < 0) + ½P(ŷ = 0).
    """

    pmse: float
    classification_error: float


def marchenko_pastur_resolvent(ratio: float, shift: float) -> float:
    r"""Return $E[1/(\lambda + z)]$ over the Marchenko-Pastur law of $F^TF/D$.

    The law of all P eigenvalues, the $1 - 1/\gamma$ of zeros for $\gamma > 1$ included, where F is
    D by P with entries of mean 0 and variance 1.

    Args:
        ratio: $\gamma = P/D$, positive.
        shift: $z$, positive.

    Returns:
        The positive root of $\gamma z m^2 + (1 - \gamma + z) m - 1 = 0$.

    Raises:
        RangeError: if an argument is not positive.
    """
    ratio = checks.number("ratio", ratio, above=0)
    shift = checks.number("shift", shift, above=0)
    b = 1 - ratio + shift
    root = math.sqrt(b * b + 4 * ratio * shift)
    # Of the two forms of the root the one in which nothing cancels.
    return 2 / (b + root) if b > 0 else (root - b) / (2 * ratio * shift)


def limit_constant(
    ratio: float, activation: str | Activation = "relu", sigma: float = 1.0, ridge: float = 0.0
) -> float:
    r"""Return $k(\gamma) = 2 a_2^2\, E[1/(r + \kappa + a_1^2\lambda)]$ of the low-SNR XOR.

    The error tends to $\Phi(-\tfrac12\sqrt{\gamma k/(D\sigma^4)})$, so that curves of every D and
    $\gamma$ coincide in $x = \sigma\,(D/(\gamma k))^{1/4}$. As $\gamma$ grows k tends to
    the kernel limit $2a_2^2/(r + \kappa)$, for ReLU without ridge $2/(\pi - 2)$; it is 0 for an
    odd activation.

    Args:
        ratio: $\gamma = P/D$, positive, or infinity for the kernel limit.
        activation: $\psi$, by name or as an object.
        sigma: standard deviation of the noise, positive; it does not matter for ReLU without ridge.
        ridge: $\kappa$, not negative.

    Returns:
        k.

    Raises:
        RangeError: if an argument is out of range.
    """
    sigma = checks.number("sigma", sigma, above=0)
    ridge = checks.number("ridge", ridge, at_least=0)
    a1, a2, rest = hermite_coefficients(_activation(activation), sigma)
    if a2 == 0:
        return 0.0
    if math.isinf(ratio):
        return 2 * a2**2 / (rest + ridge)
    return 2 * a2**2 * _inverse(ratio, a1, rest + ridge)


def limit_errors(
    mixture: GaussianMixture,
    ratio: float,
    activation: str | Activation = "relu",
    ridge: float = 0.0,
) -> Limit:
    r"""Return the errors for large D of a readout with an intercept, up to smaller powers of 1/D.

    For isotropic noise and means with $|\mu|^2$ of order D. For the XOR at equal priors,

    $$\text{error} = \Phi\Big(-\tfrac12\sqrt{\gamma k(\gamma)/(D\sigma^4)}\Big), \qquad
      \text{pmse} = \frac{1/2}{1 + \gamma k(\gamma)/(4D\sigma^4)}.$$

    Args:
        mixture: the mixture.
        ratio: $\gamma = P/D$, positive.
        activation: $\psi$, by name or as an object.
        ridge: $\kappa$, not negative.

    Returns:
        The errors.

    Raises:
        IncompatibleError: if the noise is not isotropic, or vanishes.
        RangeError: if a number is out of range.
    """
    if not isinstance(mixture, IsotropicMixture) or mixture.variance <= 0:
        raise IncompatibleError(
            "the limit of large D is known for isotropic noise of positive variance; take the "
            "theory `random-features` at finite D."
        )
    checks.number("ratio", ratio, above=0)
    variance, dim = mixture.variance, mixture.dim
    overlaps = to_numpy(mixture.mean_overlaps)
    a1, a2, rest = hermite_coefficients(_activation(activation), math.sqrt(variance))
    rest += checks.number("ridge", ridge, at_least=0)
    gram = np.zeros_like(overlaps)
    if a1 != 0:
        # Over the D eigenvalues of FFᵀ/D, by gamma times the mean over the P of FᵀF/D.
        seen = ratio * (1 - rest * _inverse(ratio, a1, rest)) if rest > 0 else min(1.0, ratio)
        gram += seen / variance * overlaps
    if a2 != 0:
        lengths = np.diag(overlaps)
        second = lengths[:, None] * lengths + 2 * overlaps**2
        gram += (a2 / variance) ** 2 / 2 * ratio / dim * _inverse(ratio, a1, rest) * second
    return _best(gram, to_numpy(mixture.labels), to_numpy(mixture.priors))


def _best(gram: np.ndarray, labels: np.ndarray, priors: np.ndarray) -> Limit:
    """Solve the regression in the span of the means, where the noise has covariance 1."""
    centring = np.eye(len(priors)) - priors
    gram = centring @ gram @ centring.T
    root = np.sqrt(priors)
    scaled = root[:, None] * gram * root
    solved = np.linalg.solve(np.eye(len(priors)) + scaled, root * labels)
    means = priors @ labels + gram @ (root * solved)
    variance = np.full(len(priors), max(float(solved @ scaled @ solved), 0.0))
    pmse = 0.5 * float(priors @ ((labels - means) ** 2 + variance))
    # Where nothing is learnt and the labels are balanced the output is 0: a coin for any rounding.
    if variance[0] < 1e-30 and abs(priors @ labels) < 1e-15:
        return Limit(pmse, 0.5)
    return Limit(pmse, float(priors @ error_probability(labels * means, variance)))


def _inverse(ratio: float, a1: float, rest: float) -> float:
    """E[1/(rest + a1² l)] over the P eigenvalues l of FᵀF/D."""
    if a1 == 0:
        return 1 / rest
    return marchenko_pastur_resolvent(ratio, rest / a1**2) / a1**2


def _activation(activation: str | Activation) -> Activation:
    return build_activation(activation) if isinstance(activation, str) else activation


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
