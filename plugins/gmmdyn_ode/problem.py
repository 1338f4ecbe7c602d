r"""All that the equations depend on, as tensors: one problem, or a batch of them.

The same tensors serve two ends. With leading dimensions they are many problems solved at once; with
gradients they make a solution differentiable in each of them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields

import numpy as np
import torch
from torch import Tensor

from gmmdyn import OnlineSGD, OrderParameters
from gmmdyn.errors import IncompatibleError, ShapeError
from gmmdyn.interfaces import Activation, DataModel, GaussianMixture, Network, TwoLayerNetwork
from gmmdyn_ode.noise import Modes, noise_of
from gmmdyn_ode.parameters import Parameters, described, parameters_of
from gmmdyn_ode.state import State

NOT_ENOUGH = (
    "Q, R and v do not fix the state when noise differs between directions; start the theory from "
    "the weights of a network instead."
)


@dataclass(frozen=True, eq=False, kw_only=True)
class Problem(Parameters):
    r"""All that the equations depend on; a leading `...` is any batch shape.

    Everything but the labels is float64 and may have leading dimensions and a gradient:
    `problem._replace(weight_decay=torch.logspace(-3, -1, 20, dtype=torch.float64))` is twenty
    problems. Leading dimensions broadcast against each other.

    Attributes:
        share: fraction of the D directions in each mode of the noise, shape `(..., M)`.
        variances: of the noise in each cluster along each mode, shape `(..., C, M)`, or
            `(..., 1, M)` if clusters share them.
        overlaps: of the means along each mode, shape `(..., M, C, C)`.
        inverse_dim: 1/D, shape `(...)`; 0 leaves out the means' share of the products of inputs.
        priors: probabilities of the clusters, shape `(..., C)`.
        knots: times between which the learning rate is linear, shape `(..., n)`.
        rates: $\eta$ at the knots, shape `(..., n)`; constant beyond them.
        weight_decay: $\kappa$, shape `(...)`.
        readout_learns: 1 if the readout is trained, 0 if it is frozen, shape `(...)`.
        batch_size: samples whose gradients are averaged for an update, shape `(...)`.
        label_noise: probability that a training label is wrong, shape `(...)`.
        initial: where the dynamics starts.
        labels: of the clusters, shape `(C,)` for one output or `(C, O)`; no batch shape.
        activation: of the hidden units.
        loss: what is minimised.
    """

    share: Tensor = field(metadata={"dims": 1})
    variances: Tensor = field(metadata={"dims": 2})
    overlaps: Tensor = field(metadata={"dims": 3})
    initial: State

    @classmethod
    def of(
        cls,
        data_model: DataModel,
        network: Network,
        algorithm: OnlineSGD,
        initial: OrderParameters | None = None,
    ) -> Problem:
        """Return the problem of an experiment.

        Args:
            data_model: the data model.
            network: the network.
            algorithm: the learning algorithm.
            initial: where to start; None is the present weights of the network.

        Returns:
            The problem, on the CPU and without batch shape.

        Raises:
            IncompatibleError: if the equations do not describe it.
            ShapeError: if shapes do not fit together.
        """
        mixture, two_layer = described(data_model, network, algorithm)
        modes = noise_of(mixture)
        if not isinstance(modes, Modes):
            raise IncompatibleError(
                "the covariances of this mixture do not commute, so that its noise has no modes; "
                "the theory `ode` solves it in matrices."
            )
        return cls(
            share=modes.share,
            variances=modes.variances,
            overlaps=modes.overlaps,
            initial=_start(mixture, modes, two_layer, initial),
            **parameters_of(mixture, two_layer, algorithm),
        )

    @property
    def _tensors(self) -> dict[str, tuple[Tensor, int]]:
        """The tensors that can have a batch shape, and their dimensions beyond it."""
        known = ((f.name, f.metadata.get("dims")) for f in fields(self))
        return {name: (getattr(self, name), own) for name, own in known if own is not None}

    @property
    def batch_shape(self) -> torch.Size:
        """The leading dimensions of all tensors, broadcast."""
        leading = [value.shape[: value.ndim - own] for value, own in self._tensors.values()]
        return torch.Size(np.broadcast_shapes(*leading, self.initial.q.shape[:-3]))

    def mapped(self, function: Callable[[Tensor, int], Tensor]) -> Problem:
        """Change every tensor that can have a batch shape.

        Args:
            function: of a tensor and the number of its dimensions that are not of the batch.

        Returns:
            The changed problem.
        """
        q, r, v, b = self.initial
        initial = State(
            function(q, 3),
            function(r, 3),
            function(v, self.labels.ndim),
            None if b is None else function(b, 1),
        )
        changed = {name: function(*of_name) for name, of_name in self._tensors.items()}
        return self._replace(initial=initial, **changed)

    def to(self, device: torch.device | str) -> Problem:
        """Move all tensors."""
        moved = self.mapped(lambda value, _: value.to(device))
        return moved._replace(labels=self.labels.to(device))

    def expanded(self) -> Problem:
        """Return the problem with its batch shape in every tensor."""
        batch = self.batch_shape
        return self.mapped(
            lambda value, own: value.expand((*batch, *value.shape[value.ndim - own :]))
        )

    @classmethod
    def stack(cls, problems: Sequence[Problem]) -> Problem:
        """Return one problem with a first dimension for several of them.

        Args:
            problems: at least one, of the same `kind`.

        Returns:
            The batch.
        """
        first, *_ = problems
        joined = {
            name: torch.stack([getattr(problem, name) for problem in problems])
            for name in first._tensors
        }
        q, r, v, *b = (
            torch.stack(parts)
            for parts in zip(*(problem.initial for problem in problems), strict=True)
            if parts[0] is not None
        )
        initial = State(q, r, v, b[0] if b else None)
        return first._replace(initial=initial, **joined)

    @property
    def kind(self) -> tuple[object, ...]:
        """What problems must have in common to be stacked."""
        shapes = tuple(value.shape for value, _ in self._tensors.values())
        starts = tuple(None if part is None else part.shape for part in self.initial)
        labels = (*self.labels.flatten().tolist(),)
        return (_same(self.activation), self.loss, labels, starts, shapes)


def _same(activation: Activation) -> object:
    """What two activations share if they are the same function."""
    spec = activation.spec
    plain = (str, int, float, bool)
    if spec is None or not all(isinstance(value, plain) for value in spec.options.values()):
        return id(activation)
    return type(activation), tuple(sorted(spec.options.items()))


def _start(
    mixture: GaussianMixture,
    modes: Modes,
    network: TwoLayerNetwork,
    initial: OrderParameters | None,
) -> State:
    if initial is None:
        weights, readout = network.first_layer.detach().cpu(), network.readout.detach().cpu()
        bias = None if network.bias is None else network.bias.detach().cpu().double()
        r = modes.average(mixture.means.cpu(), weights)
        return State(modes.average(weights, weights), r, readout.double(), bias)
    clusters, hidden = len(mixture.labels), initial.Q.shape[-1]
    if initial.R.shape[-2:] != (clusters, hidden) or initial.Q.shape[-2:] != (hidden, hidden):
        raise ShapeError(
            f"`R` has shape {tuple(initial.R.shape)} but the mixture has {clusters} clusters "
            f"and `v` {hidden} units; give shape {(clusters, hidden)}."
        )
    if len(modes.share) > 1:
        raise IncompatibleError(NOT_ENOUGH)
    return State.isotropic(initial.to(dtype=torch.float64, device="cpu"))
