"""A mixture with the overlaps, variance and priors of a reference file."""

from __future__ import annotations

import numpy as np
import torch

import gmmdyn as gd


def reference_mixture(arrays: dict[str, np.ndarray], rho: float, dim: int = 100_000):
    """D is large, since the 2021 equations leave out the term T/D of |x|²/D."""
    overlaps = torch.tensor(arrays["T"], dtype=torch.float64)
    values, vectors = torch.linalg.eigh(overlaps)
    means = torch.zeros(len(overlaps), dim, dtype=torch.float64)
    root = (vectors * values.clamp_min(0).sqrt()) @ vectors.T
    means[:, : len(overlaps)] = root * dim**0.5
    half = len(overlaps) // 2
    return gd.data_model(
        "isotropic",
        means=means,
        labels=[-1.0] * half + [1.0] * half,
        priors=[(1 - rho) / half] * half + [rho / half] * half,
        variance=float(arrays["var"]),
    )
