"""The endless stream of blocks that a trainer iterates over, and the seeds of their samples.

A Lightning batch is a block of samples, since a Lightning step costs a hundred times one update.
The stream holds no random state: a block is a number, its samples are drawn on the device from a
seed that depends on (seed, replica, block) alone. So a run that is stopped and resumed is the same
run.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from torch.utils.data import IterableDataset

from gmmdyn.interfaces import Segment

_MASK = (1 << 64) - 1


class BlockStream(IterableDataset[Segment]):
    """Segments from where the run stands, without end unless `stop` or `until` says where.

    Each iteration is what Lightning calls an epoch.

    Args:
        block_size: updates in a block, at least 1.
        position: says how many updates the run has done; asked when iteration begins, so that a
            run restored from a checkpoint goes on where it was.
        stop: the number of updates at which the stream ends, or None.
        until: says at how many updates an iteration is to end, or None; asked when it begins.
    """

    def __init__(
        self,
        block_size: int,
        position: Callable[[], int],
        stop: int | None = None,
        until: Callable[[], int | None] | None = None,
    ) -> None:
        super().__init__()
        self.block_size = block_size
        self.position = position
        self.stop = stop
        self.until = until

    def __iter__(self) -> Iterator[Segment]:
        """Yield segments."""
        start = self.position()
        ends = [self.stop, None if self.until is None else self.until()]
        last = min((end for end in ends if end is not None), default=None)
        while last is None or start < last:
            block = start // self.block_size
            end = (block + 1) * self.block_size
            if last is not None:
                end = min(end, last)
            yield Segment(block, start, end)
            start = end


def stream_seed(*words: int) -> int:
    """Mix numbers into one 64-bit seed (the finaliser of SplitMix64 after each word).

    The CPU generator of PyTorch keeps 32 bits of it, so two given blocks share their samples with
    probability 2⁻³²; neighbouring words give unrelated seeds.

    Args:
        *words: whole numbers, such as seed, purpose, replica, block.

    Returns:
        A seed for `torch.Generator.manual_seed`.
    """
    state = 0
    for word in words:
        state = (state + word + 0x9E3779B97F4A7C15) & _MASK
        state = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
        state = ((state ^ (state >> 27)) * 0x94D049BB133111EB) & _MASK
        state ^= state >> 31
    return state


# The second word of a seed: what the numbers are for.
SAMPLES, TEST_SET = 1, 2
