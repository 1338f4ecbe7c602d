"""The stream of blocks and the seeds of their samples."""

from __future__ import annotations

from itertools import islice

from gmmdyn.training import BlockStream, Segment
from gmmdyn.training.stream import stream_seed


def test_it_is_endless():
    stream = BlockStream(10, lambda: 0)
    assert list(islice(stream, 3)) == [Segment(0, 0, 10), Segment(1, 10, 20), Segment(2, 20, 30)]


def test_it_goes_on_in_the_middle_of_a_block_and_ends_at_the_stop():
    stream = BlockStream(10, lambda: 13, stop=34)
    assert list(stream) == [Segment(1, 13, 20), Segment(2, 20, 30), Segment(3, 30, 34)]


def test_an_iteration_ends_where_it_is_asked_to_and_the_next_goes_on():
    """Asked when it begins; the stop comes first, and an end that is passed is an empty one."""
    position, until = 0, 13
    stream = BlockStream(10, lambda: position, 34, lambda: until)
    assert list(stream) == [Segment(0, 0, 10), Segment(1, 10, 13)]
    position, until = 13, 13
    assert list(stream) == []
    until = 40
    assert list(stream) == [Segment(1, 13, 20), Segment(2, 20, 30), Segment(3, 30, 34)]


def test_seeds_differ_in_each_word_and_in_their_low_half():
    seeds = {
        stream_seed(seed, purpose, replica, block) & 0xFFFFFFFF
        for seed in range(4)
        for purpose in (1, 2)
        for replica in range(10)
        for block in range(25)
    }
    # 2,000 seeds of 32 bits: the chance of any two alike is 5e-4.
    assert len(seeds) == 2000
