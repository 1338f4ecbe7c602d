"""Two-layer networks with few hidden units."""

from __future__ import annotations

from typing import Literal, final

import numpy as np
import torch
from torch import Tensor, nn

from gmmdyn import checks
from gmmdyn.errors import ArgumentError, RangeError
from gmmdyn.interfaces import Activation, GaussianMixture, TwoLayerNetwork
from gmmdyn_networks._settle import (
    ArrayLike,
    generator_of,
    normals,
    settled_activation,
    settled_dim,
    settled_dtype,
    settled_weights,
)


@final
class Committee(TwoLayerNetwork):
    r"""The network $\phi_o(x) = \sum_k v_{ko}\, g(w_k\cdot x/\sqrt{D} + b_k)$ with `K` units.

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
        readout: `"random"`, `"ones"`, or the weights themselves, shape `(K,)`, or `(K, O)` for
            several outputs.
        first_layer: the weights themselves, shape `(K, D)`.
        bias: False for none, True for one that starts at 0, or its values, shape `(K,)`.
        outputs: number of outputs O, at least 1; not needed with a readout of shape `(K, O)`, and
            that of the labels of `mixture` if there is one.
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
        outputs: int | None = None,
        seed: int = 0,
        dtype: Literal["float32", "float64"] = "float32",
    ) -> None:
        super().__init__()
        self._activation = settled_activation(activation)
        checks.choice("init", init, ("random", "informed"))
        kind = settled_dtype(dtype)
        scale = checks.number("init_scale", init_scale, at_least=0)
        given = (
            None if first_layer is None else checks.array("first_layer", first_layer, (None, None))
        )
        dim, hidden = self._sizes(dim, hidden, mixture, given)
        generator = generator_of(seed)
        weights = normals(scale, (hidden, dim), generator)
        heads = self._outputs(outputs, mixture, readout)
        shape = (hidden,) if heads == 1 else (hidden, heads)
        random = normals(scale, shape, generator)
        if init == "informed":
            if mixture is None:
                raise ArgumentError("an informed start needs `mixture`, to know the means.")
            cluster = torch.arange(hidden) % len(mixture.labels)
            weights += mixture.means.cpu()[cluster]
            random += mixture.labels.cpu()[cluster]
        second = settled_weights(
            "readout",
            readout,
            shape,
            {
                "random": lambda: random,
                "ones": lambda: torch.ones(shape, dtype=torch.float64),
            },
        )
        self._first_layer = nn.Parameter((weights if given is None else given).to(kind))
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
        missing = "`committee` needs `dim` and `hidden`, or `first_layer`."
        columns = None if given is None else given.shape[1]
        dim = settled_dim(dim, mixture, "first_layer", columns, missing)
        if given is not None:
            if hidden is not None and hidden != given.shape[0]:
                raise RangeError(
                    f"`hidden` is {hidden} but `first_layer` has {given.shape[0]} rows."
                )
            hidden = given.shape[0]
        if hidden is None:
            raise ArgumentError(missing)
        return dim, checks.whole("hidden", hidden)

    @staticmethod
    def _outputs(
        outputs: int | None, mixture: GaussianMixture | None, readout: str | ArrayLike
    ) -> int:
        """Settle O from whatever names it, which must agree."""
        counts = {} if outputs is None else {"outputs": checks.whole("outputs", outputs)}
        if mixture is not None:
            counts["mixture"] = mixture.outputs
        if not isinstance(readout, str):
            counts["readout"] = np.shape(readout)[1] if checks.axes(readout) == 2 else 1
        if len(set(counts.values())) > 1:
            sizes = " and ".join(f"{count} (`{name}`)" for name, count in counts.items())
            raise RangeError(f"the number of outputs is given as {sizes}; give one.")
        return next(iter(counts.values()), 1)

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
        """Readout weights, shape `(K,)`, or `(K, O)` for several outputs."""
        return self._readout

    @property
    def bias(self) -> Tensor | None:
        """First-layer bias, shape `(K,)`, or None."""
        return self._bias
