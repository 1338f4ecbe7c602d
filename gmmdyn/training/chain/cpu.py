"""The chain on a CPU: its random numbers, drawn piece by piece, and the loop that they go to."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from gmmdyn.algorithm import OnlineSGD
from gmmdyn.interfaces import Segment
from gmmdyn.training.rule.rule import Addresses, Functions

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


def draw_noise(
    seed: int,
    segment: Segment,
    block_size: int,
    algorithm: OnlineSGD,
    dim: int,
    directions: int,
) -> Iterator[tuple[int, Noise]]:
    """Draw the noise of a segment, always from the start of its block.

    So a segment may begin anywhere in the block.

    Args:
        seed: of the block.
        segment: which updates.
        block_size: updates in a block.
        algorithm: its rates, and whether labels are wrong.
        dim: D.
        directions: r + s.

    Yields:
        The number of the first update, and the noise from there on, until all of the segment is
        covered.
    """
    generator = np.random.Generator(np.random.SFC64(seed))
    beyond = dim - directions
    first = segment.block * block_size
    for start in range(first, segment.stop, _PIECE):
        count = min(_PIECE, first + block_size - start)
        noise = Noise(
            rates=algorithm.rate(np.arange(start, start + count) / dim) / dim,
            choices=generator.random(count),
            normals=generator.standard_normal((count, directions)),
            beyond=generator.chisquare(beyond, count) if beyond else np.empty(0),
            wrong=generator.random(count) if algorithm.label_noise else np.empty(0),
        )
        if start + count > segment.start:
            yield start, noise


def mover(
    functions: Functions,
    parameters: Sequence[np.ndarray],
    state: Sequence[np.ndarray],
) -> Callable[[Noise], None]:
    """Return what moves one chain.

    Args:
        functions: activation, its derivative, and the error signal.
        parameters: sigma, weight decay, probability of a wrong label and whether the readout
            learns, shape `(4,)`; means in their basis, `(C, r)`; labels, `(C, O)`; cumulative
            priors, `(C,)`.
        state: span, rest, readout, `(O, K)`, and bias, which may be empty; changed in place.

    Returns:
        A function of the noise of some updates.
    """
    addresses = Addresses(functions)
    (sigma, weight_decay, label_noise, learns), centres, labels, cumulative = parameters
    mixture = (centres, labels, cumulative, float(sigma))
    numbers = (float(weight_decay), float(label_noise), bool(learns))
    kernel = _kernel()

    def move(noise: Noise) -> None:
        kernel(tuple(noise), mixture, tuple(state), numbers, addresses.numbers)

    return move


@lru_cache(maxsize=1)
def _kernel() -> Any:
    from gmmdyn.training.chain import _kernel

    return _kernel.advance
