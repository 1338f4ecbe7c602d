"""Means of an activation of Gaussian fields: what centring on a mixture subtracts."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from gmmdyn.interfaces import Activation, GaussianMixture

# Beyond this many standard deviations a Gaussian is below the rounding errors of a double.
_REACH = 9.0
# Numbers held at once.
_NUMBERS = 2**23


def gaussian_mean(activation: Activation, mean: Tensor, deviation: Tensor) -> Tensor:
    r"""Return $E[\psi(m + s\xi)]$ for a standard normal $\xi$.

    In closed form for a piecewise-linear activation. Otherwise by the trapezoidal rule, which for a
    smooth function converges faster than any power of its step; the step resolves what varies on
    a scale of 1 in the field.

    Args:
        activation: $\psi$.
        mean: $m$, shape `(n,)`, float64.
        deviation: $s$, shape `(n,)`, not negative.

    Returns:
        The means, shape `(n,)`.
    """
    if activation.slopes:
        return _piecewise_linear_mean(activation, mean, deviation)
    step = min(0.1, 0.3 / max(float(deviation.max()), 1e-9))
    count = 2 * math.ceil(_REACH / step) + 1
    nodes = torch.linspace(-_REACH, _REACH, count, dtype=mean.dtype, device=mean.device)
    weights = torch.exp(-(nodes**2) / 2)
    weights = weights / weights.sum()
    rows = max(1, _NUMBERS // count)
    parts = [
        activation(m.unsqueeze(1) + s.unsqueeze(1) * nodes) @ weights
        for m, s in zip(torch.split(mean, rows), torch.split(deviation, rows), strict=True)
    ]
    return torch.cat(parts)


def _piecewise_linear_mean(activation: Activation, mean: Tensor, deviation: Tensor) -> Tensor:
    r"""Sum hinges: $\psi(x) = \psi(c) + a\,(x - c) + \sum_j J_j\,((x - c_j)_+ - (c - c_j)_+)$.

    Here $a$ is the first slope and $J_j$ the jump of the slope at the kink $c_j$, and
    $E[(m + s\xi - c_j)_+] = (m - c_j)\,\Phi(u) + s\,\varphi(u)$ with $u = (m - c_j)/s$.
    """
    anchor = torch.tensor(
        [activation.kinks[0] if activation.kinks else 0.0], dtype=mean.dtype, device=mean.device
    )
    total: Tensor = activation(anchor) + activation.slopes[0] * (mean - anchor)
    tiny = torch.finfo(mean.dtype).tiny
    slopes = zip(activation.slopes, activation.slopes[1:], strict=False)
    for kink, (before, after) in zip(activation.kinks, slopes, strict=True):
        above = mean - kink
        u = above / deviation.clamp_min(tiny)
        density = torch.exp(-(u**2) / 2) / math.sqrt(2 * math.pi)
        total = total + (after - before) * (above * torch.special.ndtr(u) + deviation * density)
    return total


def mixture_mean(activation: Activation, projection: Tensor, mixture: GaussianMixture) -> Tensor:
    r"""Return the mean over a mixture of the features $\psi(F^\top x/\sqrt{D})$.

    Exact: in cluster $\alpha$ each field is Gaussian, with mean $F_i \cdot \mu_\alpha/D$ and
    variance $F_i^\top \Omega_\alpha F_i/D$.

    Args:
        activation: $\psi$.
        projection: $F$, shape `(D, P)`.
        mixture: of input dimension `D`.

    Returns:
        The mean, shape `(P,)`, float64.
    """
    dim = mixture.dim
    clusters = len(mixture.labels)
    columns = max(1, _NUMBERS // (clusters * dim))
    parts = []
    for part in torch.split(projection, columns, dim=1):
        vectors = part.T.to(mixture.means)  # (p, D)
        means = mixture.means @ vectors.T / dim  # (C, p)
        variances = (mixture.covariance_product(vectors) * vectors).sum(-1) / dim
        deviations = variances.clamp_min(0).sqrt().expand(clusters, -1)
        values = gaussian_mean(activation, means.reshape(-1), deviations.reshape(-1))
        parts.append(mixture.priors @ values.view(clusters, -1))
    return torch.cat(parts)
