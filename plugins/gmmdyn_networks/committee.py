"""Two-layer networks with few hidden units."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, final

import numpy as np
import torch
from torch import Tensor, nn

from gmmdyn import activation as build_activation
from gmmdyn import checks
from gmmdyn.errors import ArgumentError, RangeError
from gmmdyn.interfaces import Activation, GaussianMixture, TwoLayerNetwork

ArrayLike = Sequence[Sequence[float]] | Sequence[float] | np.ndarray | Tensor


@final
class Committee(TwoLayerNetwork):
    r"""The network $\phi(x) = \sum_k v_k\, g(w_k\cdot x/\sqrt{D} + b_k)$ with `K` hidden units.

    Weights are drawn as `init_scale` times standard normals, first layer first, then readout; each
    is replaced by what is given explicitly.

    Args:
        dim: input dimension D; not needed with `first_layer` or `mixture`.
        hidden: number of hidden units K, at least 1; not needed with `first_layer`.
        activation: a registered name, or an `Activation`.
        init_scale: standard deviation of the initial weights, not negative.
        init: `"random"`, or `"informed"`: unit k starts at the mean of cluster k mod C of `mixture`
            (plus the random part), with a readout of that cluster's label.
        mixture: the mixture that an informed start is informed of.
        readout: `"random"`, `"ones"`, or the weights themselves, shape `(K,)`.
        first_layer: the weights themselves, shape `(K, D)`.
        bias: False for none, True for one that starts at 0, or its values, shape `(K,)`.
        seed: of the random weights.
        dtype: `"float32"` or `"float64"`; the simulation runs in it.

    Raises:
        ArgumentError: if neither sizes nor weights are given.
        ShapeError: if given weights do not fit each other.
        RangeError: if a number is out of range.
    """

    def __init__(
        self,
        dim: int | None = None,
        hidden: int | None = None,
        activation: str | Activation = "relu",
        init_scale: float = 0.1,
        init: Literal["random", "informed"] = "random",
        mixture: GaussianMixture | None = None,
        readout: str | ArrayLike = "random",
        first_layer: ArrayLike | None = None,
        bias: bool | ArrayLike = False,
        seed: int = 0,
        dtype: Literal["float32", "float64"] = "float32",
    ) -> None:
        super().__init__()
        if not isinstance(activation, Activation):
            activation = build_activation(activation)
        self._activation = activation
        checks.choice("init", init, ("random", "informed"))
        checks.choice("dtype", dtype, ("float32", "float64"))
        scale = checks.number("init_scale", init_scale, at_least=0)
        given = (
            None if first_layer is None else checks.array("first_layer", first_layer, (None, None))
        )
        dim, hidden = self._sizes(dim, hidden, mixture, given)
        generator = torch.Generator().manual_seed(checks.whole("seed", seed, at_least=0))
        weights = scale * torch.randn(hidden, dim, generator=generator, dtype=torch.float64)
        second = scale * torch.randn(hidden, generator=generator, dtype=torch.float64)
        if init == "informed":
            if mixture is None:
                raise ArgumentError("an informed start needs `mixture`, to know the means.")
            cluster = torch.arange(hidden) % len(mixture.labels)
            weights += mixture.means.cpu()[cluster]
            second += mixture.labels.cpu()[cluster]
        if given is not None:
            weights = given
        if isinstance(readout, str):
            checks.choice("readout", readout, ("random", "ones"))
            if readout == "ones":
                second = torch.ones(hidden, dtype=torch.float64)
        else:
            second = checks.array("readout", readout, (hidden,))
        kind = getattr(torch, dtype)
        self._first_layer = nn.Parameter(weights.to(kind))
        self._readout = nn.Parameter(second.to(kind))
        offset = None
        if bias is True:
            offset = torch.zeros(hidden, dtype=torch.float64)
        elif bias is not False and bias is not None:
            offset = checks.array("bias", bias, (hidden,))
        self._bias = None if offset is None else nn.Parameter(offset.to(kind))

    @staticmethod
    def _sizes(
        dim: int | None, hidden: int | None, mixture: GaussianMixture | None, given: Tensor | None
    ) -> tuple[int, int]:
        """Settle D and K from whatever names them, which must agree."""
        dims = {} if dim is None else {"dim": checks.whole("dim", dim)}
        if mixture is not None:
            dims["mixture"] = mixture.dim
        if given is not None:
            dims["first_layer"] = given.shape[1]
            if hidden is not None and hidden != given.shape[0]:
                raise RangeError(
                    f"`hidden` is {hidden} but `first_layer` has {given.shape[0]} rows."
                )
            hidden = given.shape[0]
        if not dims or hidden is None:
            raise ArgumentError("`committee` needs `dim` and `hidden`, or `first_layer`.")
        if len(set(dims.values())) > 1:
            sizes = " and ".join(f"{size} (`{name}`)" for name, size in dims.items())
            raise RangeError(f"the input dimension is given as {sizes}; give one.")
        return next(iter(dims.values())), checks.whole("hidden", hidden)

    @property
    def activation(self) -> Activation:
        """The nonlinearity."""
        return self._activation

    @property
    def first_layer(self) -> Tensor:
        """First-layer weights, shape `(K, D)`."""
        return self._first_layer

    @property
    def readout(self) -> Tensor:
        """Readout weights, shape `(K,)`."""
        return self._readout

    @property
    def bias(self) -> Tensor | None:
        """First-layer bias, shape `(K,)`, or None."""
        return self._bias
