r"""The chain engine: exact online SGD of isotropic mixtures at a cost that knows no D.

If the noise is the same in every direction, the order parameters Q, R, v and b of a two-layer
network are themselves a Markov chain, for every finite D and with no approximation: the update of
W needs a sample's components along the means and the weights, which are Gaussian numbers, and the
length of what remains, whose square is a chi-squared number. So r + K + 1 random numbers do the
work of D. Law and state are as with the dense engine; individual runs are other draws.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple, final

import numpy as np
import torch

from gmmdyn.algorithm import OnlineSGD
from gmmdyn.errors import IncompatibleError
from gmmdyn.interfaces import DataModel, IsotropicMixture, Network, TwoLayerNetwork
from gmmdyn.order_parameters import OrderParameters
from gmmdyn.training.coordinates import coordinates_of
from gmmdyn.training.engine import Engine, Observer, copies, nothing
from gmmdyn.training.evaluation import measure_order_parameters
from gmmdyn.training.scalars import can_compile, compiled_scalar, scalar_functions_of
from gmmdyn.training.stream import SAMPLES, TEST_SET, Segment, stream_seed
from gmmdyn.training.threads import one_torch_thread, run_in_threads

# Updates in a block: the cost of a Lightning step vanishes in it.
_BLOCK = 65536
# Updates whose noise is drawn at once: it stays in the cache, and calls are few.
_PIECE = 2048


class Noise(NamedTuple):
    """The random numbers of B updates, and their rates.

    Attributes:
        rates: learning rates over D, shape `(B,)`.
        choices: uniform numbers that choose the clusters, shape `(B,)`.
        normals: the samples' noise in the basis, standard normal, shape `(B, r + s)`.
        beyond: squared length of their noise outside of it, in units of the variance: chi-squared
            with D - r - s degrees of freedom, shape `(B,)`; empty if there are none.
        wrong: uniform numbers that choose which labels are wrong, shape `(B,)`; empty without
            label noise.
    """

    rates: np.ndarray
    choices: np.ndarray
    normals: np.ndarray
    beyond: np.ndarray
    wrong: np.ndarray

    def part(self, start: int, stop: int) -> Noise:
        """Return the noise of some updates in a row.

        Args:
            start: the first.
            stop: one past the last.

        Returns:
            Views.
        """
        return Noise(*(array[start:stop] for array in self))


@final
class ChainEngine(Engine):
    """The order parameters of all replicas, and how blocks of updates move them.

    In float64, on the CPU wherever the module is (its state is a few numbers), one thread a
    replica. Replica i is the same run whatever the number of replicas, of threads and of cores.

    Args:
        data_model: an isotropic mixture.
        network: the network at its initial weights, the same for all replicas.
        algorithm: how it learns.
        replicas: how many independent runs, at least 1.
        seed: of the noise.
        block_size: updates in a block, at least 1. A run is reproduced by the same seed and the
            same block size.

    Raises:
        IncompatibleError: if the mixture is not isotropic, the network has not two layers, its
            activation has no scalar functions, or updates take mini-batches.
    """

    name = "chain"

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
        if (
            reason is not None
            or not isinstance(network, TwoLayerNetwork)
            or not isinstance(data_model, IsotropicMixture)
        ):
            raise IncompatibleError(f"the chain engine {reason}.")
        super().__init__(network.dim, block_size or _BLOCK)
        self.data_model = data_model
        self.algorithm = algorithm
        self.activation = network.activation
        self._functions = scalar_functions_of(network.activation).functions
        self.seed = seed
        with one_torch_thread():  # sums in one order, whatever the machine is doing
            start = coordinates_of(data_model.means, network.first_layer)
        # In checkpoints, so that a resumed run has the same basis to the last bit.
        self.register_buffer("centres", start.centres.cpu().contiguous())
        self.span = copies(start.span.cpu().double(), replicas)
        self.rest = copies(start.rest.cpu().double(), replicas)
        self.readout = copies(network.readout.cpu().double(), replicas)
        self.bias = None if network.bias is None else copies(network.bias.cpu().double(), replicas)

    @classmethod
    def obstacle(cls, data_model: DataModel, network: Network, algorithm: OnlineSGD) -> str | None:
        """Say why it cannot run an experiment; see `Engine.obstacle`."""
        if not isinstance(data_model, IsotropicMixture):
            return f"simulates isotropic mixtures, and {type(data_model).__name__} is none"
        if not isinstance(network, TwoLayerNetwork):
            return f"simulates two-layer networks, and {type(network).__name__} is none"
        if not can_compile():
            return "needs numba's compiler, which NUMBA_DISABLE_JIT turns off"
        scalars = scalar_functions_of(network.activation)
        if scalars.functions is None:
            name = type(network.activation).__name__
            return f"needs an activation with scalar functions, and {name}'s {scalars.reason}"
        if algorithm.batch_size > 1:
            return "makes updates of one sample, not of mini-batches"
        return None

    @property
    def finite(self) -> bool:
        """Whether all states are finite."""
        return all(bool(torch.isfinite(state).all()) for state in self.parameters(recurse=False))

    def order_parameters(self, replicas: range) -> OrderParameters:
        """Return the present order parameters.

        Args:
            replicas: which, consecutive.

        Returns:
            The order parameters, with `covariance`, on the CPU.
        """
        part = slice(replicas.start, replicas.stop)
        span, rest = self.span[part].cpu(), self.rest[part].cpu()
        Q = span.mT @ span + rest.mT @ rest
        return OrderParameters(
            Q=Q,
            R=self.get_buffer("centres").cpu() @ span,
            v=self.readout[part].cpu(),
            b=None if self.bias is None else self.bias[part].cpu(),
            covariance=self._mixture().variance * Q.unsqueeze(-3),
        )

    def groups(self) -> list[range]:
        """Return which replicas are worked on together: each by itself; see `Engine.groups`."""
        return [range(replica, replica + 1) for replica in range(self.replicas)]

    @torch.no_grad()
    def advance(
        self, segment: Segment, stops: Sequence[int] = (), observe: Observer = nothing
    ) -> None:
        """Move all replicas over a segment; see `Engine.advance`."""
        run_in_threads(
            lambda group: self._advance_replica(group, segment, stops, observe), self.groups()
        )

    def measure(self, step: int, replicas: range, test_size: int) -> Mapping[str, np.ndarray]:
        """Measure some replicas; see `Engine.measure`."""
        numbers = self.numbers(replicas)
        seeds = [stream_seed(self.seed, TEST_SET, number, step) for number in numbers]
        return measure_order_parameters(
            self._mixture(),
            self.activation,
            self.order_parameters(replicas),
            seeds,
            test_size,
            self.algorithm.loss_function,
        )

    def _advance_replica(
        self, group: range, segment: Segment, stops: Sequence[int], observe: Observer
    ) -> None:
        held = [state.data[group.start] for state in self.parameters(recurse=False)]
        state = [tensor.cpu() for tensor in held]  # on a CPU the same memory

        def store() -> None:
            for target, source in zip(held, state, strict=True):
                target.copy_(source)

        move = self._mover(*(tensor.numpy() for tensor in state))
        position = segment.start
        for start, noise in self._pieces(segment, group):
            end = min(start + len(noise.rates), segment.stop)
            for stop in sorted({*stops, end}):
                if position < stop <= end:
                    move(noise.part(position - start, stop - start))
                    position = stop
                    if stop in stops:
                        store()
                        observe(stop, group)
        store()

    def _mover(
        self,
        span: np.ndarray,
        rest: np.ndarray,
        readout: np.ndarray,
        bias: np.ndarray | None = None,
    ) -> Callable[[Noise], None]:
        """Return what moves the state of one replica, in place."""
        mixture = self._mixture()
        if self._functions is None:
            raise AssertionError("the constructor refuses such activations")
        # Held as long as their addresses are used.
        compiled = [compiled_scalar(function) for function in self._functions]
        compiled.append(compiled_scalar(self.algorithm.loss_function.scalar_signal(), 2))
        arrays = (
            self.get_buffer("centres").cpu().numpy(),
            mixture.labels.double().cpu().numpy(),
            mixture.priors.double().cumsum(0).cpu().numpy(),
            math.sqrt(mixture.variance),
        )
        state = (span, rest, readout, np.empty(0) if bias is None else bias)
        algorithm = self.algorithm
        numbers = (algorithm.weight_decay, algorithm.label_noise, algorithm.train_readout)
        kernel = _kernel()

        def move(noise: Noise) -> None:
            addresses = tuple(function.address for function in compiled)
            kernel(tuple(noise), arrays, state, numbers, addresses)

        return move

    def _pieces(self, segment: Segment, group: range) -> Iterator[tuple[int, Noise]]:
        """Draw the noise of a segment's block piece by piece, with the update each begins at.

        Always from the start of the block, so that a segment may begin anywhere in it.
        """
        seed = stream_seed(self.seed, SAMPLES, self.numbers(group).start, segment.block)
        generator = np.random.Generator(np.random.SFC64(seed))
        directions = self.span.shape[1] + self.rest.shape[1]
        beyond = self.dim - directions
        first = segment.block * self.block_size
        for start in range(first, segment.stop, _PIECE):
            count = min(_PIECE, first + self.block_size - start)
            times = np.arange(start, start + count) / self.dim
            noise = Noise(
                rates=self.algorithm.rate(times) / self.dim,
                choices=generator.random(count),
                normals=generator.standard_normal((count, directions)),
                beyond=generator.chisquare(beyond, count) if beyond else np.empty(0),
                wrong=generator.random(count) if self.algorithm.label_noise else np.empty(0),
            )
            if start + count > segment.start:
                yield start, noise

    def _mixture(self) -> IsotropicMixture:
        """Return the data model; the constructor takes no other."""
        if not isinstance(self.data_model, IsotropicMixture):
            raise AssertionError("the constructor refuses such data models")
        return self.data_model


@lru_cache(maxsize=1)
def _kernel() -> Any:
    from gmmdyn.training import _chain_kernel

    return _chain_kernel.advance
