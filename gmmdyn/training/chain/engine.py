r"""The chain engine: exact online SGD of isotropic mixtures at a cost that knows no D.

If the noise is the same in every direction, the order parameters Q, R, v and b of a two-layer
network are themselves a Markov chain, for every finite D and with no approximation: the update of
W needs a sample's components along the means and the weights, which are Gaussian numbers, and the
length of what remains, whose square is a chi-squared number. So r + K + 1 random numbers do the
work of D. Law and state are as with the dense engine; individual runs are other draws.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from typing import final

import numpy as np
import torch
from torch import Tensor, nn

from gmmdyn.algorithm import OnlineSGD
from gmmdyn.compiler.cuda import usable
from gmmdyn.compiler.scalars import can_compile
from gmmdyn.compiler.tracing import UntraceableError
from gmmdyn.errors import IncompatibleError
from gmmdyn.interfaces import DataModel, IsotropicMixture, Network, TwoLayerNetwork
from gmmdyn.interfaces.engine import Engine, Observer, Segment, nothing
from gmmdyn.training.chain.coordinates import coordinates_of
from gmmdyn.training.chain.cpu import Noise, draw_noise, mover
from gmmdyn.training.chain.experiments import ChainExperiment, parameters_of, same_kind
from gmmdyn.training.chain.gpu import advance_chains, keys_of
from gmmdyn.training.evaluation import measure_order_parameters
from gmmdyn.training.rule.rule import by_output, error_function_of, scalar_functions_of
from gmmdyn.training.stream import SAMPLES, TEST_SET, stream_seed
from gmmdyn.training.threads import one_torch_thread, run_in_threads
from gmmdyn.trajectory.order_parameters import OrderParameters

# Updates in a block: the cost of a Lightning step vanishes in it.
_BLOCK = 65536
# Chains that are measured together on a GPU.
_GROUP = 64


# An experiment: a data model, a network and an algorithm.
Parts = tuple[DataModel, Network, OnlineSGD]


@final
class ChainEngine(Engine):
    """The order parameters of all replicas, and how blocks of updates move them.

    In float64. On a CPU one thread moves a replica, and replica i is the same run whatever the
    number of replicas, of threads and of cores. On a GPU one kernel moves all of them, each in a
    thread of its own; there replica i is another draw of the same law, and the same run whatever
    the number of replicas and the size of blocks.

    Several experiments that differ in numbers only can run side by side. Their replicas follow each
    other, those of one experiment in a row, and are the same runs as with an engine of their own.

    Args:
        data_model: an isotropic mixture.
        network: the network at its initial weights, the same for all replicas.
        algorithm: how it learns.
        replicas: how many independent runs of each experiment, at least 1.
        seed: of the noise.
        block_size: updates in a block, at least 1. A run is reproduced by the same seed and, on a
            CPU, the same block size.
        others: more experiments. With any, `finite` is always true: one that diverges does not
            end the others, and its curves are NaN from there on.

    Raises:
        IncompatibleError: if the mixture is not isotropic, the network has not two layers, its
            activation has no scalar functions, or updates take mini-batches; or if the experiments
            differ in more than numbers.
    """

    name = "chain"
    order = 10
    several_outputs = True
    describes = frozenset({"schedule", "label_noise", "train_readout", "loss"})
    # A GPU is the faster one for thousands of chains only, and draws other noise.
    accelerator = "cpu"
    centres: Tensor
    _numbers: Tensor
    _labels: Tensor
    _cumulative: Tensor

    def __init__(
        self,
        data_model: DataModel,
        network: Network,
        algorithm: OnlineSGD,
        *,
        replicas: int = 1,
        seed: int = 0,
        block_size: int | None = None,
        others: Sequence[Parts] = (),
    ) -> None:
        experiments = []
        for parts in ((data_model, network, algorithm), *others):
            reason = self.obstacle(*parts)
            if reason is not None:
                raise IncompatibleError(f"the chain engine {reason}.")
            experiments.append(ChainExperiment.of(*parts))
        same_kind(experiments)
        super().__init__(network.dim, block_size or _BLOCK)
        # A tuple, since they are not to follow the module to its device.
        self.experiments = tuple(experiments)
        self.seed = seed
        self._each = replicas
        with one_torch_thread():  # sums in one order, whatever the machine is doing
            starts = [
                coordinates_of(one.mixture.means, one.network.first_layer) for one in experiments
            ]

        # In checkpoints, so that a resumed run has the same basis to the last bit.
        self.register_buffer("centres", torch.stack([start.centres.cpu() for start in starts]))
        names = ("_numbers", "_labels", "_cumulative")
        for name, value in zip(names, parameters_of(experiments), strict=True):
            self.register_buffer(name, value, persistent=False)

        def states(tensors: Sequence[Tensor]) -> nn.Parameter:
            stacked = torch.stack([tensor.detach().cpu().double() for tensor in tensors])
            return nn.Parameter(stacked.repeat_interleave(replicas, 0), requires_grad=False)

        self.span = states([start.span for start in starts])
        self.rest = states([start.rest for start in starts])
        self.readout = states([by_output(one.network.readout) for one in experiments])
        biases = [one.network.bias for one in experiments]
        given = [bias for bias in biases if bias is not None]
        self.bias = states(given) if given else None

    @classmethod
    def obstacle_of_parts(
        cls, data_model: DataModel, network: Network, algorithm: OnlineSGD
    ) -> str | None:
        """Say why it cannot run them; see `Engine.obstacle_of_parts`."""
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
        try:
            error_function_of(algorithm.loss_function)
        except UntraceableError as error:
            name = type(algorithm.loss_function).__name__
            return f"needs a loss whose error signal can be compiled, and {name}'s {error}"
        return None

    @property
    def finite(self) -> bool:
        """Whether all states are finite; always true of several experiments."""
        return len(self.experiments) > 1 or all(
            bool(torch.isfinite(state).all()) for state in self.parameters(recurse=False)
        )

    def order_parameters(self, replicas: range) -> OrderParameters:
        """Return the present order parameters.

        Args:
            replicas: which, consecutive.

        Returns:
            The order parameters, with `covariance`, on the CPU.
        """
        part = slice(replicas.start, replicas.stop)
        span, rest = self.span[part].cpu(), self.rest[part].cpu()
        readout = self.readout[part].cpu()
        Q = span.mT @ span + rest.mT @ rest
        own = self._own(replicas)
        variances = [self.experiments[index].mixture.variance for index in own]
        variance = torch.tensor(variances, dtype=torch.float64).view(-1, 1, 1, 1)
        return OrderParameters(
            Q=Q,
            R=self.centres.cpu()[own] @ span,
            v=readout.mT if readout.ndim == 3 else readout,
            b=None if self.bias is None else self.bias[part].cpu(),
            covariance=variance * Q.unsqueeze(-3),
        )

    def groups(self) -> list[range]:
        """Return which replicas are measured together; see `Engine.groups`.

        Each by itself on a CPU, where each is worked on by itself. On a GPU, where all are worked
        on together, those whose numbers stand in the same block of some dozens.
        """
        size = _GROUP if usable(self.span.device) else 1
        numbers = [number % self._each for number in self.numbers(range(self.replicas))]
        starts = [i for i, number in enumerate(numbers) if i == 0 or number % size == 0]
        return [range(*ends) for ends in zip(starts, [*starts[1:], len(numbers)], strict=True)]

    @torch.no_grad()
    def advance(
        self, segment: Segment, stops: Sequence[int] = (), observe: Observer = nothing
    ) -> None:
        """Move all replicas over a segment; see `Engine.advance`."""
        if not usable(self.span.device):
            run_in_threads(
                lambda group: self._advance_replica(group.start, segment, stops, observe),
                self.groups(),
            )
            return
        for start, stop in segment.parts(segment.start, segment.stop, stops):
            self._advance_on_gpu(start, stop)
            if stop in stops:
                for group in self.groups():
                    observe(stop, group)

    def measure(self, step: int, replicas: range, test_size: int) -> Mapping[str, np.ndarray]:
        """Measure some replicas; see `Engine.measure`."""
        one = self.experiments[self._own(replicas)[0]]
        states, activation = self.order_parameters(replicas), one.network.activation
        numbers = [number % self._each for number in self.numbers(replicas)]
        before = 0
        if usable(self.span.device):
            # One draw there makes the test sets of a group: always of all of it, so that each has
            # the same one whatever the number of replicas.
            before = numbers[0] % _GROUP
            places = torch.arange(_GROUP) - before
            states = states.of(places.clamp(0, len(numbers) - 1)).to(self.span.device)
            numbers = [numbers[0] + place for place in places.tolist()]
            activation = copy.deepcopy(activation).to(self.span.device)
        seeds = [stream_seed(self.seed, TEST_SET, number, step) for number in numbers]
        loss = one.algorithm.loss_function
        curves = measure_order_parameters(one.mixture, activation, states, seeds, test_size, loss)
        return {name: value[before : before + len(replicas)] for name, value in curves.items()}

    def _own(self, replicas: range) -> list[int]:
        """Return which experiment each of some replicas belongs to."""
        return [number // self._each for number in self.numbers(replicas)]

    def _states(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return the states, the readout as `(N, O, K)`; an empty bias if there is none."""
        bias = self.readout.new_empty(self.replicas, 0) if self.bias is None else self.bias
        readout = self.readout.data.view(self.replicas, -1, self.span.shape[-1])
        return self.span.data, self.rest.data, readout, bias.detach()

    def _advance_on_gpu(self, start: int, stop: int) -> None:
        """Launch kernels that move all replicas."""
        numbers = self.numbers(range(self.replicas))
        keys, own = keys_of(self.seed, numbers, self._each, self.span.device)
        (inside, hidden), outside = self.span.shape[1:], self.rest.shape[1]
        clusters, count = self._labels.shape[1:]
        advance_chains(
            start,
            stop,
            (self.dim, inside, outside, clusters, hidden, count, self.bias is not None),
            self.experiments[0].functions,
            [one.algorithm for one in self.experiments],
            keys,
            own,
            (self._numbers, self.centres, self._labels, self._cumulative),
            self._states(),
        )

    def _advance_replica(
        self, replica: int, segment: Segment, stops: Sequence[int], observe: Observer
    ) -> None:
        held = [state[replica] for state in self._states()]
        state = [tensor.cpu() for tensor in held]  # on a CPU the same memory

        def store() -> None:
            for target, source in zip(held, state, strict=True):
                target.copy_(source)

        (index,) = self._own(range(replica, replica + 1))
        tensors = (self._numbers, self.centres, self._labels, self._cumulative)
        parameters = [tensor[index].cpu().numpy() for tensor in tensors]
        arrays = [tensor.numpy() for tensor in state]
        move = mover(self.experiments[index].functions, parameters, arrays)
        for start, noise in self._noise(segment, replica):
            for first, stop in segment.parts(start, start + len(noise.rates), stops):
                move(noise.part(first - start, stop - start))
                if stop in stops:
                    store()
                    observe(stop, range(replica, replica + 1))
        store()

    def _noise(self, segment: Segment, replica: int) -> Iterator[tuple[int, Noise]]:
        """Draw the noise of one replica on a CPU, some updates at a time."""
        (number,) = self.numbers(range(replica, replica + 1))
        seed = stream_seed(self.seed, SAMPLES, number % self._each, segment.block)
        algorithm = self.experiments[number // self._each].algorithm
        directions = self.span.shape[1] + self.rest.shape[1]
        return draw_noise(seed, segment, self.block_size, algorithm, self.dim, directions)
