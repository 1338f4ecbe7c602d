"""The plain engine: what every textbook writes, for any network.

Automatic differentiation of the mean loss of a batch, and `torch.optim.SGD` on the groups that the
network names. Nothing in it knows how the network is made, so that it is slow, and the measure of
all other engines.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, final

import numpy as np
import torch
from torch import Tensor

from gmmdyn.algorithm import OnlineSGD
from gmmdyn.errors import IncompatibleError
from gmmdyn.interfaces import DataModel, GaussianMixture, Network, PrincipalAxes, TwoLayerNetwork
from gmmdyn.interfaces.engine import Engine, Observer, Segment, copies, nothing
from gmmdyn.training.evaluation import Weights, measure_outputs, measure_own, measure_weights
from gmmdyn.training.samples import Samples, SampleSource
from gmmdyn.training.stream import TEST_SET, stream_seed
from gmmdyn.trajectory import Curve

# Samples in a block: the cost of a Lightning step vanishes in it.
_BLOCK = 1024
# Numbers drawn at once: as many as the dense engine asks a data model for, so that one seed gives
# both the same samples.
_PIECE_NUMBERS = 2**20
# What SGD without a state of its own has; momentum would have to be in checkpoints.
_OPTIONS = {"params", "lr", "weight_decay"}


@final
class PlainEngine(Engine):
    """The parameters of all replicas of any network, moved by `torch.optim.SGD` and autograd.

    One replica after another, one update after another, in the dtype of the network: in single
    precision the decay of an update, which is of order 1/D, is rounded. With the same seed and
    block size its samples are those of the dense engine, unless the covariance of the mixture has
    axes of its own.

    Args:
        data_model: where samples come from.
        network: at its initial weights, the same for all replicas; a function of inputs and
            parameters alone.
        algorithm: how it learns.
        replicas: how many independent runs, at least 1.
        seed: of the samples.
        block_size: updates in a block, at least 1; by default about a thousand samples.

    Raises:
        IncompatibleError: if the network's output or its parameter groups are not what `Network`
            promises.
    """

    name = "plain"
    order = 100
    several_outputs = True
    has_first_layer = True
    describes = frozenset({"schedule", "batch_size", "label_noise", "train_readout", "loss"})
    # Small operations, one after the other.
    accelerator = "cpu"

    def __init__(
        self,
        data_model: DataModel,
        network: Network,
        algorithm: OnlineSGD,
        *,
        replicas: int = 1,
        seed: int = 0,
        block_size: int | None = None,
    ) -> None:
        reason = self.obstacle(data_model, network, algorithm)
        if reason is not None:
            raise IncompatibleError(f"the plain engine {reason}.")
        super().__init__(network.dim, block_size or max(1, _BLOCK // algorithm.batch_size))
        self.data_model = data_model
        self.algorithm = algorithm
        self.seed = seed
        # A list, as it is no part of the state: it has the parameters of the replica at work. What
        # never changes, it shares with the network.
        shared = {id(buffer): buffer for buffer in network.buffers()}
        self._network = [copy.deepcopy(network, shared)]
        learning = {id(p) for group in network.parameter_groups(algorithm) for p in group["params"]}
        for own, mine in zip(network.parameters(), self._network[0].parameters(), strict=True):
            mine.requires_grad_(own.requires_grad and id(own) in learning)
        for name, parameter in network.named_parameters():
            self.register_parameter(name.replace(".", "/"), copies(parameter, replicas))

    @classmethod
    def obstacle_of_parts(
        cls, data_model: DataModel, network: Network, algorithm: OnlineSGD
    ) -> str | None:
        """Say why it cannot run them; see `Engine.obstacle_of_parts`."""
        own = type(data_model).measure is not DataModel.measure
        if own and not isinstance(network, TwoLayerNetwork):
            owner = type(data_model).__name__
            return f"finds no first layer in {type(network).__name__} for `{owner}.measure`"
        reason = _groups_obstacle(network, algorithm) or _output_obstacle(network)
        return None if reason is None else f"needs what `Network` promises: {reason}"

    @property
    def finite(self) -> bool:
        """Whether all parameters are finite."""
        return all(bool(torch.isfinite(state).all()) for state in self.parameters(recurse=False))

    def groups(self) -> list[range]:
        """Return each replica by itself; see `Engine.groups`."""
        return [range(replica, replica + 1) for replica in range(self.replicas)]

    def network(self, replica: int) -> Network:
        """Return the network of one replica.

        Args:
            replica: which, of this process.

        Returns:
            The network with views of its parameters, valid until another one is asked for.
        """
        states = list(self.parameters(recurse=False))
        network = self._network[0].to(states[0].device)
        for parameter, state in zip(network.parameters(), states, strict=True):
            parameter.data = state.data[replica]
        return network

    @torch.enable_grad()
    def advance(
        self, segment: Segment, stops: Sequence[int] = (), observe: Observer = nothing
    ) -> None:
        """Move all replicas over a segment; see `Engine.advance`."""
        batch = self.algorithm.batch_size
        for group in self.groups():
            network = self.network(group.start)
            optimizer = torch.optim.SGD(network.parameter_groups(self.algorithm))
            for start, inputs, labels in self.pieces(segment.block, group):
                end = start + labels.shape[1] // batch
                for first, last in segment.parts(start, end, stops):
                    for update in range(first, last):
                        part = slice((update - start) * batch, (update - start + 1) * batch)
                        groups = network.parameter_groups(self.algorithm, update / self.dim)
                        for now, rates in zip(optimizer.param_groups, groups, strict=True):
                            now |= {"lr": rates["lr"], "weight_decay": rates["weight_decay"]}
                        self._step(network, optimizer, inputs[0, part], labels[0, part])
                    if last in stops:
                        observe(last, group)
                if end >= segment.stop:
                    break

    def _step(
        self, network: Network, optimizer: torch.optim.Optimizer, inputs: Tensor, labels: Tensor
    ) -> None:
        optimizer.zero_grad()
        loss = self.algorithm.loss_function
        values = loss.value if labels.ndim == 1 else loss.total
        torch.autograd.backward(values(network(inputs), labels).mean())
        optimizer.step()

    @torch.no_grad()
    def measure(
        self, step: int, replicas: range, test_size: int
    ) -> Mapping[str, np.ndarray | Curve]:
        """Measure errors, and of a two-layer network order parameters; see `Engine.measure`."""
        (number,) = self.numbers(replicas)
        seed = stream_seed(self.seed, TEST_SET, number, step)
        network, loss = self.network(replicas.start), self.algorithm.loss_function
        if not isinstance(network, TwoLayerNetwork):
            kind = next(network.parameters()).dtype
            return measure_outputs(self.data_model, network, seed, test_size, kind, loss)
        bias = None if network.bias is None else network.bias[None]
        weights = Weights(network.first_layer[None], network.readout.double()[None], bias)
        parts = self.data_model, network.activation, weights
        curves = measure_weights(*parts, [seed], test_size, loss)
        return {**curves, **measure_own(self.data_model, weights)}

    def pieces(self, block: int, group: range) -> Iterator[Samples]:
        """Draw the samples of a block.

        Args:
            block: its number.
            group: of replicas.

        Returns:
            The pieces of the block, in order.
        """
        state = next(self.parameters(recurse=False))
        algorithm, axes = self.algorithm, None
        if isinstance(self.data_model, GaussianMixture):
            axes = self.data_model.principal_axes()
        if axes is not None:
            # In other axes than those of the inputs each sample would have to be rotated.
            given = (axes.scale.to(state), axes.centres.to(state))
            axes = PrincipalAxes(None, *given) if axes.rotation is None else None
        size = algorithm.batch_size
        updates = max(1, _PIECE_NUMBERS // (self.dim * size))
        noise = algorithm.label_noise
        source = SampleSource(self.data_model, self.seed, self.block_size, size, noise, updates)
        return source.draw(block, self.numbers(group), state.device, state.dtype, axes)


def _groups_obstacle(network: Network, algorithm: OnlineSGD) -> str | None:
    """Say what of an algorithm is not in the groups of parameters of a network."""
    name = type(network).__name__
    own = {id(parameter) for parameter in network.parameters()}
    groups = network.parameter_groups(algorithm)
    for group in groups:
        if set(group) != _OPTIONS:
            listed = ", ".join(sorted(set(group) ^ _OPTIONS))
            return f"each group of {name} has `params`, `lr` and `weight_decay` (check {listed})"
        if not {id(parameter) for parameter in group["params"]} <= own:
            return f"`parameter_groups` of {name} names tensors that are no parameters of it"
    if not groups:
        return f"`parameter_groups` of {name} names no parameters"

    def learning(groups: Sequence[Mapping[str, Any]]) -> set[int]:
        return {id(parameter) for group in groups for parameter in group["params"]}

    if not algorithm.train_readout:
        trained = network.parameter_groups(replace(algorithm, train_readout=True))
        if learning(trained) == learning(groups):
            return f"{name} trains the same parameters with and without `train_readout`"
    if "schedule" in algorithm.variations:
        knots = algorithm.learning_rate.times  # type: ignore[union-attr] # it is a Schedule
        rates = algorithm.rate(np.array(knots))
        lowest, highest = (
            [g["lr"] for g in network.parameter_groups(algorithm, knots[i])]
            for i in (int(rates.argmin()), int(rates.argmax()))
        )
        if lowest == highest and np.ptp(rates) > 0:
            return f"`parameter_groups` of {name} takes no notice of the `time`"
    return None


@torch.no_grad()
def _output_obstacle(network: Network) -> str | None:
    """Say why the outputs of a network are not those of each input, and the same again."""
    like = next(network.parameters())
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(3, network.dim, generator=generator).to(like)
    before = [buffer._version for buffer in network.buffers()]
    with torch.random.fork_rng(devices=[]):
        first, second = network(inputs), network(inputs)
    name = type(network).__name__
    count = network.outputs
    if first.shape != ((3,) if count == 1 else (3, count)):
        shape = "(B,)" if count == 1 else f"(B, {count})"
        return (
            f"inputs (B, D) give {name}'s outputs {shape}, and here (3, D) gave {(*first.shape,)}"
        )
    if before != [buffer._version for buffer in network.buffers()] or not torch.allclose(
        first, second, rtol=0, atol=0, equal_nan=True
    ):
        return (
            f"{name}'s output is a function of inputs and parameters alone, without dropout or "
            "statistics that it keeps"
        )
    return None
