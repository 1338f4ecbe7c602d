"""The best linear classifier of a Gaussian mixture: a baseline between chance and Bayes."""

from __future__ import annotations

import itertools
import math
from typing import NamedTuple

import numpy as np
import torch
from scipy.optimize import minimize
from scipy.special import ndtr

from gmmdyn.errors import IncompatibleError
from gmmdyn.gaussian.bayes import Mixture

Array = np.ndarray


class LinearClassifier(NamedTuple):
    r"""The rule $\operatorname{sign}(u\cdot x - \theta)$.

    Attributes:
        direction: $u$, shape `(D,)`, of length 1, or 0 for a rule that always gives one label.
        threshold: $\theta$; infinite for such a rule.
        error: its classification error.
    """

    direction: np.ndarray
    threshold: float
    error: float


def best_linear_classifier(mixture: Mixture, starts: int = 20, seed: int = 0) -> LinearClassifier:
    r"""Find the linear classifier of the lowest error.

    Its error is $\sum_\alpha p_\alpha \Phi(-y_\alpha (u\cdot m_\alpha - \theta)/s_\alpha)$ with
    $m_\alpha = \mu_\alpha/\sqrt{D}$ and $s_\alpha^2 = u^T\Omega_\alpha u$: exact, but with many
    minima in $u$ and $\theta$. They are searched from the differences of means and from random
    directions. With isotropic noise that is a search in the span of the means, at most `C`
    dimensions; with other noise in all `D`. The rule that always gives the likelier label counts
    as linear, so that the error never exceeds that label's complement.

    For the XOR without noise it is 1/4, one cluster cut off from the others, not 1/2.

    Args:
        mixture: the mixture.
        starts: random starts beside the differences of means, at least 0.
        seed: of the random starts.

    Returns:
        The best classifier found.

    Raises:
        IncompatibleError: if the labels are not -1 and +1.
    """
    if mixture.labels.ndim == 2:
        raise IncompatibleError(
            "the best linear classifier is that of two classes, with labels -1 and +1 of shape "
            f"(C,); here `labels` has shape {tuple(mixture.labels.shape)}."
        )
    means = mixture.means.detach().cpu().double().numpy() / math.sqrt(mixture.dim)
    labels, priors = (x.detach().cpu().double().numpy() for x in (mixture.labels, mixture.priors))
    if mixture.covariance_structure == "isotropic":
        # A direction orthogonal to all means adds noise and nothing else.
        _, size, basis = np.linalg.svd(means, full_matrices=False)
        basis = basis[size > 1e-12 * max(size.max(initial=0.0), 1e-300)]
    else:
        basis = np.eye(mixture.dim)
    centres = means @ basis.T  # (C, r)
    vectors = torch.from_numpy(basis).to(mixture.means)
    covariances = mixture.covariance_product(vectors).cpu().double().numpy() @ basis.T  # (C, r, r)
    chance = float(min(priors[labels > 0].sum(), priors[labels < 0].sum()))
    best = LinearClassifier(np.zeros(mixture.dim), math.inf, chance)

    def spreads(direction: Array) -> tuple[Array, Array]:
        """Return s of each cluster, `(C,)`, and Omega u / s in the basis, `(C or 1, r)`."""
        product = covariances @ direction
        # Without noise the error is a step; a little noise leaves it one in effect.
        size = np.sqrt(np.maximum((product * direction).sum(1), 1e-12 * direction @ direction))
        return np.broadcast_to(size, labels.shape), product / size[:, None]

    def error(point: Array) -> tuple[float, Array]:
        direction, threshold = point[:-1], point[-1]
        size, slope = spreads(direction)
        margin = labels * (centres @ direction - threshold) / size
        density = priors * np.exp(-(margin**2) / 2) / math.sqrt(2 * math.pi)
        pull = (density * labels / size) @ centres
        pull -= ((density * margin / size)[:, None] * slope).sum(0)
        gradient = np.append(-pull, (density * labels / size).sum())
        return float(priors @ ndtr(-margin)), gradient

    for start in _starts(centres, labels, starts, np.random.default_rng(seed)):
        found = minimize(error, start, jac=True, method="L-BFGS-B")
        length = float(np.linalg.norm(found.x[:-1]))
        if length > 0 and found.fun < best.error - 1e-15:
            direction = found.x[:-1] @ basis / length
            best = LinearClassifier(direction, float(found.x[-1]) / length, float(found.fun))
    return best


def _starts(centres: Array, labels: Array, count: int, rng: np.random.Generator) -> list[Array]:
    """Directions and thresholds to search from."""
    found = []
    for one, two in itertools.combinations(range(len(labels)), 2):
        apart = (centres[one] - centres[two]) * (1 if labels[one] > 0 else -1)
        if not apart.any():
            continue
        apart = apart / np.linalg.norm(apart)
        # Between neighbouring clusters along the line, whatever their labels.
        along = np.unique((centres @ apart).round(12))
        for threshold in (along[1:] + along[:-1]) / 2:
            found += [np.append(apart, threshold), -np.append(apart, threshold)]
    for _ in range(count if centres.shape[1] else 0):
        drawn = np.asarray(rng.standard_normal(centres.shape[1]))
        direction = drawn / np.linalg.norm(drawn)
        along = centres @ direction
        found.append(np.append(direction, rng.uniform(along.min(), along.max())))
    return found
