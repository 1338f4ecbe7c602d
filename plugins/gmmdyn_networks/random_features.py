"""Linear readouts of random features."""

from __future__ import annotations

import math
from typing import Literal, final

import torch
from torch import Tensor, nn

from gmmdyn import checks
from gmmdyn.errors import ArgumentError, RangeError, ShapeError
from gmmdyn.interfaces import Activation, FeatureNetwork, GaussianMixture
from gmmdyn_networks._gaussian_mean import mixture_mean
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
class RandomFeatures(FeatureNetwork):
    r"""The network $\hat y = w\cdot z/\sqrt{P} + b$ on features $z = \psi(F^\top x/\sqrt{D}) - c$.

    $F$ has independent standard normal entries, and by default columns that are then scaled to
    the norm $\sqrt{D}$, so that the fields of isotropic noise of variance $\sigma^2$ have that
    variance exactly. Only $w$ and $b$ learn; `activation` stands for $\psi$.

    Args:
        dim: input dimension D; not needed with `projection` or `mixture`.
        features: number of features P, at least 1; or
        ratio: P/D, positive; P is rounded to a whole number of at least 1.
        activation: a registered name, or an `Activation`.
        projection: $F$ itself, shape `(D, P)`, used as it is.
        normalised: whether the columns of a random $F$ are scaled to the norm $\sqrt{D}$.
        centring: what is subtracted from the features: `"none"`, `"mixture"` for their exact mean
            over `mixture`, or the values $c$, shape `(P,)`.
        mixture: the mixture that `"mixture"` means.
        bias: False for none, True for an intercept that starts at 0, or its first value.
        readout: `"zeros"`, `"random"` (`init_scale` times standard normals), or the weights $w$
            themselves, shape `(P,)`.
        init_scale: standard deviation of random readout weights, not negative.
        seed: of the projection, and then of the readout.
        dtype: `"float32"` or `"float64"`; the simulation runs in it.

    Raises:
        ArgumentError: if a size is missing or given twice, or `mixture` is missing.
        ShapeError: if given arrays do not fit each other.
        RangeError: if a number is out of range.

    References:
        Rahimi and Recht, NeurIPS 2007; Refinetti, Goldt, Krzakala, Zdeborová, ICML 2021,
        arXiv:2102.11742, section 4.
    """

    _projection: Tensor
    _centre: Tensor | None

    def __init__(
        self,
        dim: int | None = None,
        features: int | None = None,
        ratio: float | None = None,
        activation: str | Activation = "relu",
        projection: ArrayLike | None = None,
        normalised: bool = True,
        centring: str | ArrayLike = "none",
        mixture: GaussianMixture | None = None,
        bias: bool | float = False,
        readout: str | ArrayLike = "zeros",
        init_scale: float = 1.0,
        seed: int = 0,
        dtype: Literal["float32", "float64"] = "float32",
    ) -> None:
        super().__init__()
        self._activation = settled_activation(activation)
        kind = settled_dtype(dtype)
        scale = checks.number("init_scale", init_scale, at_least=0)
        generator = generator_of(seed)
        given = None if projection is None else checks.array("projection", projection, (None, None))
        if given is not None and not given.numel():
            raise ShapeError(f"`projection` has shape {tuple(given.shape)}; give at least (1, 1).")
        dim, size = self._sizes(dim, features, ratio, mixture, given)
        if given is None:
            given = normals(1.0, (dim, size), generator)
            if normalised:
                given *= math.sqrt(dim) / given.norm(dim=0)
        # Fixed and large: not in checkpoints, the configuration draws it again.
        self.register_buffer("_projection", given.to(kind), persistent=False)
        centre = self._offset(centring, mixture, given)
        self.register_buffer(
            "_centre", None if centre is None else centre.to(kind), persistent=False
        )
        weights = settled_weights(
            "readout",
            readout,
            (size,),
            {
                "zeros": lambda: torch.zeros(size, dtype=torch.float64),
                "random": lambda: normals(scale, (size,), generator),
            },
        )
        self._readout = nn.Parameter(weights.to(kind))
        start = None
        if bias is not False and bias is not None:
            start = 0.0 if bias is True else checks.number("bias", bias)
        self._bias = None if start is None else nn.Parameter(torch.tensor(start, dtype=kind))

    @staticmethod
    def _sizes(
        dim: int | None,
        features: int | None,
        ratio: float | None,
        mixture: GaussianMixture | None,
        given: Tensor | None,
    ) -> tuple[int, int]:
        """Settle D and P from whatever names them, which must agree."""
        if features is not None and ratio is not None:
            raise ArgumentError("`features` and `ratio` each fix the number of features; give one.")
        missing = "`random-features` needs `dim`, or `projection`."
        rows = None if given is None else given.shape[0]
        dim = settled_dim(dim, mixture, "projection", rows, missing)
        if features is not None:
            size = checks.whole("features", features)
        elif ratio is not None:
            size = max(1, round(checks.number("ratio", ratio, above=0) * dim))
        elif given is not None:
            size = given.shape[1]
        else:
            raise ArgumentError("`random-features` needs `features`, `ratio` or `projection`.")
        if given is not None and size != given.shape[1]:
            name = "features" if features is not None else "ratio"
            raise RangeError(
                f"`{name}` makes {size} features but `projection` has {given.shape[1]} columns."
            )
        return dim, size

    def _offset(
        self, centring: str | ArrayLike, mixture: GaussianMixture | None, projection: Tensor
    ) -> Tensor | None:
        if not isinstance(centring, str):
            return checks.array("centring", centring, (projection.shape[1],))
        checks.choice("centring", centring, ("none", "mixture"))
        if centring == "none":
            return None
        if mixture is None:
            raise ArgumentError("centring on the mixture needs `mixture`, to know its mean.")
        if not isinstance(mixture, GaussianMixture):
            raise ArgumentError(f"`mixture` is a {type(mixture).__name__}; give a GaussianMixture.")
        return mixture_mean(self._activation, projection, mixture).cpu()

    @property
    def activation(self) -> Activation:
        r"""The nonlinearity $\psi$."""
        return self._activation

    @property
    def projection(self) -> Tensor:
        """The projection $F$, shape `(D, P)`."""
        return self._projection

    @property
    def centre(self) -> Tensor | None:
        """What is subtracted from the features, shape `(P,)`, or None."""
        return self._centre

    @property
    def readout(self) -> Tensor:
        """The weights $w$, shape `(P,)`."""
        return self._readout

    @property
    def bias(self) -> Tensor | None:
        """The intercept $b$, shape `()`, or None."""
        return self._bias
