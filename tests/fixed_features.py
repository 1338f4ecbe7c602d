"""A network of given features, written from the interface alone."""

from __future__ import annotations

import torch

import gmmdyn as gd


class FixedFeatures(gd.FeatureNetwork):
    """Features of a given projection; zero readout unless one is given."""

    def __init__(self, projection, activation="relu", centre=None, readout=None, bias=None):
        super().__init__()
        named = isinstance(activation, str)
        self._activation = gd.activation(activation) if named else activation
        self._projection = torch.as_tensor(projection)
        size = self._projection.shape[1]
        self._readout = torch.zeros(size, dtype=torch.float64) if readout is None else readout
        self._centre, self._bias = centre, None
        if bias is not None:
            self._bias = torch.as_tensor(bias, dtype=torch.float64)

    @property
    def activation(self):
        return self._activation

    @property
    def projection(self):
        return self._projection

    @property
    def centre(self):
        return self._centre

    @property
    def readout(self):
        return self._readout

    @property
    def bias(self):
        return self._bias


def random_projection(dim, size, seed=0):
    """Gaussian columns of length sqrt(D)."""
    generator = torch.Generator().manual_seed(seed)
    columns = torch.randn(dim, size, generator=generator, dtype=torch.float64)
    return columns / columns.norm(dim=0) * dim**0.5
