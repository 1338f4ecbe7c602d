"""What an update of a readout of random features costs, beside its product with the projection.

Run with the machine otherwise idle:

    python benchmarks/features.py

On one thread and for one replica: the bare product of as many inputs with the projection (torch,
float32, in pieces as large as the engine's), the features alone (inputs drawn, multiplied, passed
through the activation), and updates by the features engine, which include all of that. Medians over
interleaved repetitions, in microseconds of CPU time per sample; the share is the median ratio of
product to update within one repetition.
"""

from __future__ import annotations

import argparse
import statistics
import time

import torch

import gmmdyn as gd
from gmmdyn.training import FeatureEngine, Segment

CASES = ((100, 200), (300, 600), (400, 800), (800, 1600), (800, 16000))


def seconds(function):
    begin = time.process_time()
    function()
    return time.process_time() - begin


def measure(dim, size, repetitions):
    mixture = gd.data_model("xor", dim=dim, variance=0.05)
    network = gd.network("random-features", dim=dim, features=size)
    rows = FeatureEngine(mixture, network, gd.OnlineSGD(0.1))._rows(1)
    pieces = max(1, round(2e9 / (dim * size * rows)))
    engine = FeatureEngine(mixture, network, gd.OnlineSGD(0.1, 0.01), block_size=pieces * rows)
    generator = torch.Generator().manual_seed(0)
    inputs, out = torch.randn(rows, dim, generator=generator), torch.empty(rows, size)
    block = 0

    def product():
        for _ in range(pieces):
            torch.mm(inputs, network.projection, out=out)

    def features():
        for _ in range(pieces):
            network.features(mixture.sample(rows, generator, torch.float32).inputs)

    def update():
        nonlocal block
        engine.advance(Segment(block, block * pieces * rows, (block + 1) * pieces * rows))
        block += 1

    times = {"product": [], "features": [], "update": []}
    for repetition in range(repetitions + 1):
        for name, task in zip(times, (product, features, update), strict=True):
            spent = seconds(task) / (pieces * rows) * 1e6
            if repetition:  # the first one warms up
                times[name].append(spent)
    return times


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repetitions", type=int, default=7)
    repetitions = parser.parse_args().repetitions
    torch.set_num_threads(1)
    print(f"torch {torch.__version__}, one CPU thread; microseconds of CPU per sample (medians)")
    print(
        f"{'D':>6} {'P':>6} {'product':>9} {'features':>9} {'update':>9} {'share':>6} {'GF/s':>6}"
    )
    for dim, size in CASES:
        times = measure(dim, size, repetitions)
        median = {name: statistics.median(values) for name, values in times.items()}
        share = statistics.median(
            p / u for p, u in zip(times["product"], times["update"], strict=True)
        )
        print(
            f"{dim:>6} {size:>6} {median['product']:>9.2f} {median['features']:>9.2f} "
            f"{median['update']:>9.2f} {share:>6.2f} {2e-3 * dim * size / median['product']:>6.1f}"
        )


if __name__ == "__main__":
    main()
