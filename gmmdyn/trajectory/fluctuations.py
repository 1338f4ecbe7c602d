"""How single networks differ from the mean over networks, as a theory predicts it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import final

import numpy as np

# The end of the name of a variable of a dataset, and its dimensions after time.
SUFFIXES: Mapping[str, tuple[str, ...]] = {"std": (), "cov": ("time_",), "member": ("member",)}


@final
@dataclass(frozen=True)
class Fluctuations:
    """How curves of single networks fluctuate around the curves of a trajectory.

    Attributes:
        std: standard deviations over networks by curve, shape `(T, ...)`.
        cov: covariances between recorded times by curve, of each entry with itself, shape
            `(T, T, ...)`.
        member: curves of N networks of an ensemble by curve, shape `(T, N, ...)`; none where the
            fluctuations are Gaussian.
    """

    std: Mapping[str, np.ndarray] = field(default_factory=dict)
    cov: Mapping[str, np.ndarray] = field(default_factory=dict)
    member: Mapping[str, np.ndarray] = field(default_factory=dict)
