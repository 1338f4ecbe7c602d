"""The numbers that fix every error of a two-layer network on a Gaussian mixture."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from gmmdyn.errors import ShapeError


@dataclass(frozen=True)
class OrderParameters:
    r"""Overlaps of a two-layer network with itself and with the means of a mixture.

    In cluster $\alpha$ the local fields $\lambda_k = w_k \cdot x/\sqrt{D} + b_k$ are jointly
    Gaussian with mean $R_{\alpha k} + b_k$ and covariance
    $W \Omega_\alpha W^T / D$, so these numbers fix every error of the network. Arrays and nested
    lists are accepted and become float64 tensors; tensors keep their dtype and device.

    Attributes:
        Q: $w_k \cdot w_l / D$, shape `(..., K, K)`.
        R: $\mu_\alpha \cdot w_k / D$, shape `(..., C, K)`.
        v: second-layer weights, shape `(..., K)`.
        b: first-layer bias, shape `(..., K)`, or None for a network without.
        covariance: $W \Omega_\alpha W^T / D$, shape `(..., C, K, K)`, or `(..., 1, K, K)` if all
            clusters share it; None when it is left to the mixture (isotropic: $\sigma^2 Q$).

    Raises:
        ShapeError: if the shapes do not agree.

    References:
        Refinetti, Goldt, Krzakala, Zdeborová, ICML 2021, arXiv:2102.11742, section 3.
    """

    Q: Tensor
    R: Tensor
    v: Tensor
    b: Tensor | None = None
    covariance: Tensor | None = None

    def __post_init__(self) -> None:
        for name in ("Q", "R", "v", "b", "covariance"):
            value = getattr(self, name)
            if value is not None and not isinstance(value, Tensor):
                object.__setattr__(self, name, torch.as_tensor(value, dtype=torch.float64))
        if self.v.ndim < 1 or self.R.ndim < 2:
            raise ShapeError(
                f"`v` has shape {tuple(self.v.shape)} and `R` {tuple(self.R.shape)}; "
                "give shapes (K,) and (C, K)."
            )
        hidden, clusters = self.v.shape[-1], self.R.shape[-2]
        wanted = {"Q": (hidden, hidden), "R": (clusters, hidden), "b": (hidden,)}
        for name, shape in wanted.items():
            value = getattr(self, name)
            if value is not None and tuple(value.shape[-len(shape) :]) != shape:
                raise ShapeError(
                    f"`{name}` has shape {tuple(value.shape)} but `v` has K = {hidden} hidden "
                    f"units; give `{name}` the shape {shape}."
                )
        if self.covariance is not None and (
            self.covariance.ndim < 3
            or self.covariance.shape[-3] not in (1, clusters)
            or tuple(self.covariance.shape[-2:]) != (hidden, hidden)
        ):
            raise ShapeError(
                f"`covariance` has shape {tuple(self.covariance.shape)}; "
                f"give shape {(clusters, hidden, hidden)}."
            )

    @property
    def field_mean(self) -> Tensor:
        r"""Mean of the local fields in each cluster, $R + b$, shape `(..., C, K)`."""
        return self.R if self.b is None else self.R + self.b.unsqueeze(-2)

    def of(self, index: int | Tensor) -> OrderParameters:
        """Return those of one network, or of some.

        Args:
            index: along the first axis, which all arrays have; a number, or several of them.

        Returns:
            Views without that axis, or copies with the axis of the numbers in its place.
        """

        def pick(value: Tensor | None) -> Tensor | None:
            return None if value is None else value[index]

        return OrderParameters(
            Q=self.Q[index],
            R=self.R[index],
            v=self.v[index],
            b=pick(self.b),
            covariance=pick(self.covariance),
        )

    def to(self, *args: Any, **kwargs: Any) -> OrderParameters:
        """Move every tensor as `torch.Tensor.to` does.

        Args:
            *args: as `torch.Tensor.to`.
            **kwargs: as `torch.Tensor.to`.

        Returns:
            The order parameters, moved.
        """

        def move(value: Tensor | None) -> Tensor | None:
            return None if value is None else value.to(*args, **kwargs)

        return OrderParameters(
            Q=self.Q.to(*args, **kwargs),
            R=self.R.to(*args, **kwargs),
            v=self.v.to(*args, **kwargs),
            b=move(self.b),
            covariance=move(self.covariance),
        )
