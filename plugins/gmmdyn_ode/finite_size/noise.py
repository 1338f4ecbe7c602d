r"""The covariance of one update, times D²: the noise of the order parameters.

With a point p = A_a + sigma xi_p in the span of the means and the fields
l = Mᵀp + sigma Lᵀxi, Lᵀ L = Q - MᵀM, an update changes the coordinates by 1/D times

    d_k l_l + d_l l_k + sigma² d_k d_l (Q),  d_k p_j (M),  eta Delta g_k (v),  d_k (b)

and what decays, which is no noise; d_k = eta v_k g'(l_k + b_k) Delta. Their covariance over
cluster, label and sample is the average over quasi-random points in r + K dimensions.
"""

from __future__ import annotations

from typing import final

import numpy as np
import torch
from scipy.special import ndtri
from scipy.stats import qmc
from torch import Tensor

from gmmdyn_ode.finite_size.coordinates import Coordinates
from gmmdyn_ode.problem import Problem

# The binary logarithm of the number of points of all clusters together, and of each at least.
_POINTS, _FEWEST = 14, 10
# States at once.
_STATES = 16


@final
class Noise:
    """The covariance of an update as a function of time and coordinates.

    Args:
        problem: with isotropic noise and samples one by one.
        coordinates: of the problem.
        seed: of the scrambling of the points.
    """

    def __init__(self, problem: Problem, coordinates: Coordinates, seed: int = 0) -> None:
        self._problem = problem
        self._coordinates = coordinates
        self._deviation = problem.variances.squeeze().sqrt()
        wrong = problem.label_noise
        self._shares = torch.stack([problem.priors * (1 - wrong), problem.priors * wrong])
        self._signs = (1.0, -1.0)[: 1 + bool(wrong > 0)]
        clusters = len(problem.labels)
        power = max(_FEWEST, _POINTS - (clusters - 1).bit_length())
        dimension = coordinates.rank + coordinates.hidden
        engine = qmc.Sobol(dimension, scramble=True, rng=np.random.default_rng(seed))
        uniform = np.clip(engine.random_base2(power), 2.0**-40, 1 - 2.0**-40)
        self._points = torch.from_numpy(ndtri(uniform))

    def covariances(self, times: Tensor, x: Tensor) -> Tensor:
        """Return B at times `(N,)` and coordinates `(N, n)`, shape `(N, n, n)`."""
        parts = (torch.split(part, _STATES) for part in (times, x))
        return torch.cat([self._some(*part) for part in zip(*parts, strict=True)])

    def _some(self, times: Tensor, x: Tensor) -> Tensor:
        count = self._coordinates.count
        mean, square = x.new_zeros(len(x), count), x.new_zeros(len(x), count, count)
        for sign, shares in zip(self._signs, self._shares, strict=False):
            for cluster, share in enumerate(shares.tolist()):
                points = self._points.expand(len(x), -1, -1)
                label = sign * self._problem.labels[cluster]
                change = self.changes(times, x, cluster, label, points)
                mean += share * change.mean(1)
                square += (share / change.shape[1]) * (change.mT @ change)
        return square - mean.unsqueeze(-1) * mean.unsqueeze(-2)

    def changes(
        self, times: Tensor, x: Tensor, cluster: int, label: Tensor, points: Tensor
    ) -> Tensor:
        """Return D times the changes that samples make, what decays left out.

        Args:
            times: shape `(N,)`.
            x: shape `(N, n)`.
            cluster: of the samples.
            label: of the samples, shape `()`.
            points: standard normal, shape `(N, S, r + K)`.

        Returns:
            Shape `(N, S, n)`.
        """
        problem, rank = self._problem, self._coordinates.rank
        q, span, v, b = self._coordinates.parts(x)
        values, vectors = torch.linalg.eigh(q - span.mT @ span)
        root = vectors * values.clamp_min(0).sqrt().unsqueeze(-2)
        inside = self._coordinates.axes[cluster] + self._deviation * points[..., :rank]
        plain = inside @ span + self._deviation * (points[..., rank:] @ root.mT)
        fields = plain if b is None else plain + b.unsqueeze(-2)
        outputs = problem.activation(fields)
        delta = problem.loss.signal(outputs @ v.unsqueeze(-1), label)
        eta = problem.rate(times).expand(len(x))[:, None, None]
        signal = eta * v.unsqueeze(-2) * problem.activation.derivative(fields) * delta
        one, other = self._coordinates.pairs
        parts = [
            signal[..., one] * plain[..., other]
            + signal[..., other] * plain[..., one]
            + self._deviation**2 * signal[..., one] * signal[..., other],
            (inside.unsqueeze(-1) * signal.unsqueeze(-2)).flatten(-2),
        ]
        if self._coordinates.learns:
            parts.append(eta * delta * outputs)
        if b is not None:
            parts.append(signal)
        return torch.cat(parts, -1)
