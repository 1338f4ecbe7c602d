"""What the closed forms and the quadrature of single units share."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import torch

from gmmdyn.interfaces import Activation

# A correlation is kept this far from 1 and -1.
_NEAREST = 1e-15
# Means and deviations of fields, each shape `(N,)`.
Fields = tuple[np.ndarray, np.ndarray]


class UnitMoments(NamedTuple):
    """Moments of psi(u), u ~ N(m, s²), each of the shape of m and s.

    Attributes:
        mean: E[psi(u)].
        slope: E[psi'(u)].
        residual: Var psi(u) - slope² s², not negative.
    """

    mean: np.ndarray
    slope: np.ndarray
    residual: np.ndarray


class UnitCumulants(NamedTuple):
    """Moments of c = psi(u) - E psi(u) with u = m + s xi, each of the shape of m and s.

    With the normalised Hermite polynomials h_1 = xi, h_2 = (xi² - 1)/sqrt 2 and
    h_3 = (xi³ - 3 xi)/sqrt 6.

    Attributes:
        first: E[c h_1].
        second: E[c h_2].
        third: E[c h_3].
        square_first: E[c² h_1].
        square_second: E[c² h_2].
        cube: E[c³].
    """

    first: np.ndarray
    second: np.ndarray
    third: np.ndarray
    square_first: np.ndarray
    square_second: np.ndarray
    cube: np.ndarray


def evaluate(activation: Activation, x: np.ndarray) -> np.ndarray:
    """Return psi(x)."""
    with torch.no_grad():
        return np.asarray(activation(torch.from_numpy(x)).numpy())


def density(x: np.ndarray) -> np.ndarray:
    """Return the standard normal density."""
    return np.asarray(np.exp(-0.5 * x * x) / math.sqrt(2 * math.pi))


def correlation(covariance: np.ndarray, left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Return correlations, shape `(M, N)`, from deviations `(M,)` and `(N,)`; 0 without noise."""
    with np.errstate(divide="ignore", invalid="ignore"):
        rho = np.nan_to_num(covariance / (left[:, None] * right[None, :]))
    return np.asarray(np.clip(rho, -1 + _NEAREST, 1 - _NEAREST))
