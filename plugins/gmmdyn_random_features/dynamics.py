r"""How online SGD learns the readout of features: mean of the weights, and noise around it.

With u~ = (u, b), z~ = (z, 1), h = eta/P, S = E[z~ z~ᵀ], A = S + kappa (not on b) and c = E[y z~],
one update is u~' = u~ - h (A u~ - c) + h zeta with zeta of mean 0 given u~. So the mean is exact,

    E u~_n = u* + (1 - h A)^n (u~_0 - u*),   A u* = c,

and so is the recursion of the covariance, Cov' = (1 - h A) Cov (1 - h A) + h² E[zeta zetaᵀ]. With
Gaussian features in every cluster E[zeta zetaᵀ] is sum_a p_a e_a B_a, B_a = E_a[z~ z~ᵀ],
e_a = E_a[Delta²], plus terms of rank one or second order in h: of order 1/P, except for
directions in which A has an eigenvalue of order P, where they are kept. In the eigenbasis of A

    e_a(n) = e0_a(n) + h² sum_{m<n} sum_b p_b K_ab(n - 1 - m) e_b(m),
    K_ab(k) = sum_ij B_a,ij B_b,ij q_ij^k,   q_ij = (1 - h l_i)(1 - h l_j) + O(h²),

where e0 is the error of the mean weights: a Volterra equation for C numbers. K is a sum of
exponentials; it is put on a grid of rates, on which a step costs C² numbers a rate, of any length.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from gmmdyn.errors import ConvergenceError
from gmmdyn_random_features.classification import error_probability
from gmmdyn_random_features.statistics import FeatureStatistics

# Neighbouring rates of the kernel, and neighbouring steps, differ by these factors.
_RATES, _STEPS = 1.02, 1.02
# A kernel that falls below this in one step is forgotten, as one that changes sign is.
_FORGOTTEN = 1e-12


class LearningCurve(NamedTuple):
    """Errors in the course of online SGD, on average over its noise.

    Attributes:
        pmse: ½E[Δ²], shape `(T,)`.
        gaussian_error: P(yŷ < 0) + ½P(ŷ = 0) for Gaussian outputs in each cluster, shape `(T,)`.
        tie_rate: P(ŷ = 0), shape `(T,)`.
        weights: mean of u~ in the eigenbasis of A, shape `(T, M)`.
        output_means: mean of the output in each cluster, shape `(T, C)`.
        output_variances: its variance over inputs and noise of SGD, shape `(T, C)`.
        level: where pmse comes to rest, infinite if it does not.
    """

    pmse: np.ndarray
    gaussian_error: np.ndarray
    tie_rate: np.ndarray
    weights: np.ndarray
    output_means: np.ndarray
    output_variances: np.ndarray
    level: float


class Modes(NamedTuple):
    """The mixture in the eigenbasis of A, with M = P + 1 directions (P without intercept).

    Attributes:
        rates: eigenvalues l of A, shape `(M,)`.
        start: u~ at time 0, shape `(M,)`.
        rest: u*, shape `(M,)`; the start where A has no eigenvalue.
        means: E_a[z~], shape `(C, M)`.
        moments: E_a[z~ z~ᵀ], shape `(C, M, M)`.
        labels: shape `(C,)`.
        priors: shape `(C,)`.
        decay: diagonal of the weight decay, shape `(M,)`.
        basis: the directions as columns, in features and intercept, shape `(M, M)`.
    """

    rates: np.ndarray
    start: np.ndarray
    rest: np.ndarray
    means: np.ndarray
    moments: np.ndarray
    labels: np.ndarray
    priors: np.ndarray
    decay: np.ndarray
    basis: np.ndarray


def modes(
    statistics: FeatureStatistics,
    weights: np.ndarray,
    intercept: float | None,
    ridge: float,
    order: str = "first",
) -> Modes:
    r"""Diagonalise the mean dynamics.

    Args:
        statistics: of the features.
        weights: $u = w/\sqrt{P}$ at time 0, shape `(P,)`.
        intercept: $b$ at time 0, or None if there is none.
        ridge: $\kappa$.
        order: of the covariances of features, `"first"` or `"exact"`.

    Returns:
        The modes.
    """
    priors, labels, size = statistics.priors, statistics.labels, statistics.size
    total = size + (intercept is not None)
    means = np.ones((len(priors), total))
    means[:, :size] = statistics.means
    moments = np.zeros((len(priors), total, total))
    for alpha, mean in enumerate(means):
        moments[alpha, :size, :size] = statistics.covariance(alpha, order)
        moments[alpha] += mean[:, None] * mean
    drift = np.tensordot(priors, moments, 1)
    decay = np.full(total, ridge)
    start = np.array(weights, dtype=np.float64)
    if intercept is not None:
        decay[-1] = 0.0
        start = np.append(start, intercept)
    drift[np.diag_indices(total)] += decay
    rates, vectors = np.linalg.eigh(drift)
    for alpha in range(len(priors)):
        moments[alpha] = vectors.T @ moments[alpha] @ vectors
    means = means @ vectors
    start = start @ vectors
    alive = rates > total * np.finfo(float).eps * rates[-1]
    rest = start.copy()
    np.divide((priors * labels) @ means, rates, out=rest, where=alive)
    rates = np.where(alive, rates, 0.0)
    return Modes(rates, start, rest, means, moments, labels, priors, decay @ vectors**2, vectors)


def mean_weights(found: Modes, step: float, counts: np.ndarray) -> np.ndarray:
    """Return E u~ after so many updates, exact.

    Args:
        found: the modes.
        step: h.
        counts: numbers of updates n, shape `(N,)`.

    Returns:
        Shape `(N, M)`.
    """
    factor = (1 - step * found.rates) ** counts[:, None]
    return np.asarray(found.rest + factor * (found.start - found.rest))


class _Kernel(NamedTuple):
    """K on a grid of rates -log q, shape `(R,)`; `weights` is h² K, shape `(R, C, C)`."""

    rates: np.ndarray
    weights: np.ndarray


def _diverging(share: float) -> ConvergenceError:
    return ConvergenceError(
        f"the weights diverge at this `learning_rate`; lower it to {share:.1g} of that or less, or "
        "centre the features."
    )


def _kernel(found: Modes, step: float, batch: int, last: int) -> _Kernel:
    diagonals = found.moments.diagonal(axis1=1, axis2=2)  # (C, M)
    second = found.priors @ diagonals
    clusters = len(found.priors)
    shrink = 1 - step * found.rates
    weighted = (2 * found.priors)[:, None] * diagonals
    doubled = (2 * found.priors)[:, None] * found.means**2

    def memory(i: int) -> np.ndarray:
        """q_ij for j <= i."""
        upto = slice(0, i + 1)
        noise = weighted[:, i] @ diagonals[:, upto] - doubled[:, i] @ found.means[:, upto] ** 2
        noise -= second[i] * second[upto]
        return np.asarray(shrink[i] * shrink[upto] + step**2 / batch * noise)

    # A rate below 1e-3 of one over the whole run cannot be told from 0.
    lowest = min(1e-3 / max(last, 1), 1.0)
    size = int(np.ceil(np.log(-np.log(_FORGOTTEN) / lowest) / np.log(_RATES))) + 2
    weights = np.zeros((clusters, clusters, size))
    for i in range(len(shrink)):
        q = memory(i)
        if q.max() > 1 + 1e-9:
            raise _diverging(1 / (step * found.rates[i]))
        rate = -np.log(np.clip(q, _FORGOTTEN, 1.0))
        place = np.log(np.maximum(rate, lowest) / lowest) / np.log(_RATES)
        below = place.astype(np.int64)
        above = place - below
        rows = found.moments[:, i, : i + 1]
        for a in range(clusters):
            for b in range(a + 1):
                product = rows[a] * rows[b]
                product[:-1] *= 2  # j < i stands for both orders
                upper = product * above
                line = weights[a, b]
                line += np.bincount(below, product - upper, minlength=size)
                line += np.bincount(below + 1, upper, minlength=size)
    for a in range(clusters):
        for b in range(a):
            weights[b, a] = weights[a, b]
    return _Kernel(lowest * _RATES ** np.arange(size), np.moveaxis(weights, 2, 0) * step**2 / batch)


def learning_curve(found: Modes, step: float, counts: np.ndarray, batch: int = 1) -> LearningCurve:
    """Follow the errors through online SGD.

    Args:
        found: the modes.
        step: h = eta/P, positive.
        counts: numbers of updates at which to report, increasing, dtype int64, shape `(T,)`.
        batch: samples averaged in an update.

    Returns:
        The curve.

    Raises:
        ConvergenceError: if the weights diverge at this learning rate.
    """
    if step * found.rates[-1] >= 2:
        raise _diverging(2 / found.rates[-1] / step)
    last = int(counts[-1])
    inner = np.round(np.geomspace(1, max(last, 1), _points(last))).astype(np.int64)
    grid = np.unique(np.concatenate([[0], counts, inner[inner <= last]]))
    weights = mean_weights(found, step, grid)
    outputs = weights @ found.means.T  # (N, C)
    bare = np.empty_like(outputs)
    for alpha, moment in enumerate(found.moments):
        # E_a[(y - u·z)²] = 1 - 2 y u·M + uᵀ B u
        bare[:, alpha] = 1 - 2 * found.labels[alpha] * outputs[:, alpha]
        bare[:, alpha] += np.einsum("ni,ni->n", weights @ moment, weights)
    kernel = _kernel(found, step, batch, last)
    squares = _volterra(kernel, found.priors, grid, bare)
    at = np.searchsorted(grid, counts)
    squares, outputs = squares[at], outputs[at]
    variances = squares - (found.labels - outputs) ** 2
    wrong = error_probability(found.labels * outputs, np.maximum(variances, 0)) @ found.priors
    tie = ((outputs == 0) & (variances <= 0)) @ found.priors
    level = _level(kernel, found)
    pmse = 0.5 * squares @ found.priors
    return LearningCurve(pmse, wrong, tie, weights[at], outputs, variances, level)


def _points(last: int) -> int:
    return int(np.log(max(last, 1)) / np.log(_STEPS)) + 2


def _volterra(
    kernel: _Kernel, priors: np.ndarray, grid: np.ndarray, bare: np.ndarray
) -> np.ndarray:
    """Solve e = e0 + K * (p e) with e linear between the points of the grid."""
    loss = -np.expm1(-kernel.rates)  # 1 - q
    weights = kernel.weights * priors  # (R, C, C)
    state = np.zeros((len(loss), bare.shape[1]))
    squares = np.empty_like(bare)
    squares[0] = bare[0]
    for n, gap in enumerate(np.diff(grid).astype(np.float64)):
        kept = np.exp(-kernel.rates * gap)
        constant = -np.expm1(-kernel.rates * gap) / loss  # sum of q^k, k < gap
        # sum of k q^(gap-1-k): for slow rates by its series, since the two parts cancel
        slow = loss * gap < 1e-4
        ramp = np.where(slow, gap * (gap - 1) / 2, (gap - constant) / loss)
        now = squares[n]
        state = kept[:, None] * state
        state += ((constant - ramp / gap)[:, None, None] * weights) @ now
        implicit = np.tensordot(ramp / gap, weights, 1)
        right = bare[n + 1] + state.sum(axis=0)
        new = np.linalg.solve(np.eye(len(priors)) - implicit, right)
        state += ((ramp / gap)[:, None, None] * weights) @ new
        squares[n + 1] = new
    return squares


def _level(kernel: _Kernel, found: Modes) -> float:
    """½E[Δ²] where the noise balances, infinite if it grows for ever."""
    gain = np.tensordot(-1 / np.expm1(-kernel.rates), kernel.weights, 1) * found.priors
    if np.abs(np.linalg.eigvals(gain)).max() >= 1:
        return float("inf")
    outputs = found.means @ found.rest
    bare = 1 - 2 * found.labels * outputs
    bare += np.einsum("i,aij,j->a", found.rest, found.moments, found.rest)
    squares = np.linalg.solve(np.eye(len(bare)) - gain, bare)
    return 0.5 * float(squares @ found.priors)
