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
from gmmdyn.errors import IncompatibleError
from gmmdyn.interfaces import DataModel, IsotropicMixture, Network, TwoLayerNetwork
from gmmdyn.training.chain.coordinates import coordinates_of
from gmmdyn.training.chain.cpu import Noise, draw_noise, mover
from gmmdyn.training.chain.launches import advance_chains, keys_of
from gmmdyn.training.chain.points import Point, parameters_of, same_kind
from gmmdyn.training.compiled.cuda import usable
from gmmdyn.training.compiled.scalars import can_compile, scalar_functions_of
from gmmdyn.training.engine import Engine, Observer, nothing
from gmmdyn.training.evaluation import measure_order_parameters
from gmmdyn.training.stream import SAMPLES, TEST_SET, Segment, stream_seed
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
    describes = frozenset({"schedule", "label_noise", "train_readout", "loss=logistic"})
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
        points = []
        for parts in ((data_model, network, algorithm), *others):
            reason = self.obstacle(*parts)
            if reason is not None:
                raise IncompatibleError(f"the chain engine {reason}.")
            points.append(Point.of(*parts))
        same_kind(points)
        super().__init__(network.dim, block_size or _BLOCK)
        # A tuple, since they are not to follow the module to its device.
        self.points = tuple(points)
        self.seed = seed
        self._each = replicas
        with one_torch_thread():  # sums in one order, whatever the machine is doing
            starts = [coordinates_of(one.mixture.means, one.network.first_layer) for one in points]

        # In checkpoints, so that a resumed run has the same basis to the last bit.
        self.register_buffer("centres", torch.stack([start.centres.cpu() for start in starts]))
        names = ("_numbers", "_labels", "_cumulative")
        for name, value in zip(names, parameters_of(points), strict=True):
            self.register_buffer(name, value, persistent=False)

        def states(tensors: Sequence[Tensor]) -> nn.Parameter:
            stacked = torch.stack([tensor.detach().cpu().double() for tensor in tensors])
            return nn.Parameter(stacked.repeat_interleave(replicas, 0), requires_grad=False)

        self.span = states([start.span for start in starts])
        self.rest = states([start.rest for start in starts])
        self.readout = states([point.network.readout for point in points])
        biases = [point.network.bias for point in points]
        given = [bias for bias in biases if bias is not None]
        self.bias = states(given) if given else None

    @classmethod
    def obstacle_of_parts(cls, data_model: DataModel, network: Network) -> str | None:
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
        return None

    @property
    def finite(self) -> bool:
        """Whether all states are finite; always true of several experiments."""
        return len(self.points) > 1 or all(
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
        Q = span.mT @ span + rest.mT @ rest
        points = self._points(replicas)
        variances = [self.points[point].mixture.variance for point in points]
        variance = torch.tensor(variances, dtype=torch.float64).view(-1, 1, 1, 1)
        return OrderParameters(
            Q=Q,
            R=self.centres.cpu()[points] @ span,
            v=self.readout[part].cpu(),
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
        position = segment.start
        for stop in sorted({*stops, segment.stop}):
            self._advance_on_gpu(position, stop)
            position = stop
            if stop in stops:
                for group in self.groups():
                    observe(stop, group)

    def measure(self, step: int, replicas: range, test_size: int) -> Mapping[str, np.ndarray]:
        """Measure some replicas; see `Engine.measure`."""
        point = self.points[self._points(replicas)[0]]
        states, activation = self.order_parameters(replicas), point.network.activation
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
        loss = point.algorithm.loss_function
        curves = measure_order_parameters(point.mixture, activation, states, seeds, test_size, loss)
        return {name: value[before : before + len(replicas)] for name, value in curves.items()}

    def _points(self, replicas: range) -> list[int]:
        """Return which experiment each of some replicas belongs to."""
        return [number // self._each for number in self.numbers(replicas)]

    def _states(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return the states; an empty bias if there is none."""
        bias = self.readout.new_empty(self.replicas, 0) if self.bias is None else self.bias
        return self.span.data, self.rest.data, self.readout.data, bias.detach()

    def _advance_on_gpu(self, start: int, stop: int) -> None:
        """Launch kernels that move all replicas."""
        numbers = self.numbers(range(self.replicas))
        keys, points = keys_of(self.seed, numbers, self._each, self.span.device)
        dim, inside, outside = self.dim, self.span.shape[1], self.rest.shape[1]
        clusters, hidden = self._labels.shape[1], self.readout.shape[1]
        advance_chains(
            start,
            stop,
            (dim, inside, outside, clusters, hidden, self.bias is not None),
            self.points[0].scalars,
            [point.algorithm for point in self.points],
            keys,
            points,
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

        (index,) = self._points(range(replica, replica + 1))
        tensors = (self._numbers, self.centres, self._labels, self._cumulative)
        parameters = [tensor[index].cpu().numpy() for tensor in tensors]
        arrays = [tensor.numpy() for tensor in state]
        move = mover(self.points[index].scalars, parameters, arrays)
        position = segment.start
        for start, noise in self._pieces(segment, replica):
            end = min(start + len(noise.rates), segment.stop)
            for stop in sorted({*stops, end}):
                if position < stop <= end:
                    move(noise.part(position - start, stop - start))
                    position = stop
                    if stop in stops:
                        store()
                        observe(stop, range(replica, replica + 1))
        store()

    def _pieces(self, segment: Segment, replica: int) -> Iterator[tuple[int, Noise]]:
        """Draw the noise of one replica on a CPU, piece by piece."""
        (number,) = self.numbers(range(replica, replica + 1))
        seed = stream_seed(self.seed, SAMPLES, number % self._each, segment.block)
        algorithm = self.points[number // self._each].algorithm
        directions = self.span.shape[1] + self.rest.shape[1]
        return draw_noise(seed, segment, self.block_size, algorithm, self.dim, directions)
