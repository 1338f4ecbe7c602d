"""What one update of the chain engine costs, whatever D is, and whether its memory stays flat.

Run with the machine otherwise idle:

    python benchmarks/chain.py
    python benchmarks/chain.py --updates 100000000
    python benchmarks/chain.py --device cuda

On one thread and for one replica of the XOR (four clusters): drawing an update's random numbers
(NumPy), an update (which includes them), and an update of the dense engine at D = 1000 beside it.
Medians over interleaved repetitions of fresh blocks, in microseconds of CPU time; ratios are
medians of ratios within one repetition. With `--updates`, one run of so many through
`Experiment.simulate` at D = 1000 and K = 4, with the peak memory of the process on the way. With
`--device`, many chains at once on that device: nanoseconds of clock time an update and chain.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import time

import numpy as np
import torch

import gmmdyn as gd
from gmmdyn.compiler.cuda import usable
from gmmdyn.training import ChainEngine, DenseEngine, Segment

CASES = [
    (dim, hidden, activation)
    for hidden in (4, 8, 12)
    for dim in (1000, 1_000_000)
    for activation in ("relu", "erf")
]


def seconds(function, *arguments):
    """CPU seconds: with one thread those of the clock, if nothing else wants the core."""
    begin = time.process_time()
    function(*arguments)
    return time.process_time() - begin


def experiment(dim, hidden, activation):
    mixture = gd.data_model("xor", dim=dim, variance=0.05)
    network = gd.network(
        "committee", dim=dim, hidden=hidden, activation=activation, init_scale=1.0, seed=0
    )
    return mixture, network, gd.OnlineSGD(0.1, 0.01)


def measure(dim, hidden, activation, repetitions):
    parts = experiment(dim, hidden, activation)
    chain = ChainEngine(*parts)
    dense = DenseEngine(*parts) if dim == 1000 else None
    size = chain.block_size

    def draw(block):
        for _ in chain._noise(Segment(block, block * size, (block + 1) * size), 0):
            pass

    times = {"draw": [], "update": [], "dense": []}
    for block in range(repetitions + 1):
        segment = Segment(block, block * size, (block + 1) * size)
        found = {
            "draw": seconds(draw, block) / size,
            "update": seconds(chain.advance, segment) / size,
        }
        if dense is not None:
            count = dense.block_size
            here = Segment(block, block * count, (block + 1) * count)
            found["dense"] = seconds(dense.advance, here) / count
        if block:  # the first one warms up
            for name, spent in found.items():
                times[name].append(spent * 1e6)
    return times


def table(repetitions):
    print(
        f"{'D':>8} {'K':>3} {'activation':>10} {'draw':>7} {'update':>7} {'dense':>7} {'gain':>5}"
    )
    for dim, hidden, activation in CASES:
        times = measure(dim, hidden, activation, repetitions)
        row = f"{dim:>8} {hidden:>3} {activation:>10} "
        row += " ".join(f"{statistics.median(times[name]):>7.3f}" for name in ("draw", "update"))
        if times["dense"]:
            pairs = zip(times["dense"], times["update"], strict=True)
            gain = statistics.median(dense / chain for dense, chain in pairs)
            row += f" {statistics.median(times['dense']):>7.2f} {gain:>5.0f}"
        print(row, flush=True)


def long_run(updates):
    parts = experiment(1000, 4, "relu")
    run = gd.Experiment(*parts)
    run.simulate(times=[1.0], engine="chain")  # imports and compiles
    print(f"{'updates':>12} {'CPU s':>8} {'peak memory, MiB':>17}")
    for count in np.geomspace(updates / 100, updates, 3):
        duration = round(count) / 1000
        spent = seconds(lambda end: run.simulate(times=[end], engine="chain"), duration)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(f"{round(count):>12} {spent:>8.1f} {peak:>17.1f}", flush=True)


def many_chains(device, repetitions):
    """Few updates of many chains, many of few."""
    if device.startswith("cuda") and not usable(torch.device(device)):
        raise SystemExit("numba cannot use this GPU")
    print(f"{'chains':>8} {'K':>3} {'activation':>10} {'ns/update/chain':>16}")
    for chains in (1, 1_000, 10_000, 100_000):
        for hidden, activation in ((4, "relu"), (4, "erf"), (8, "relu")):
            count = max(1024, min(65536, 2**28 // chains))
            parts = experiment(1000, hidden, activation)
            engine = ChainEngine(*parts, replicas=chains, block_size=count).to(device)
            times = []
            for repetition in range(repetitions + 1):
                begin = time.perf_counter()
                engine.advance(Segment(repetition, repetition * count, (repetition + 1) * count))
                float(engine.readout[0, 0])  # waits for the device
                times.append((time.perf_counter() - begin) / count / chains * 1e9)
            spent = statistics.median(times[1:])  # the first one compiles
            print(f"{chains:>8} {hidden:>3} {activation:>10} {spent:>16.3f}", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repetitions", type=int, default=15)
    parser.add_argument("--updates", type=int, default=0)
    parser.add_argument("--device", default="")
    options = parser.parse_args()
    torch.set_num_threads(1)
    print(f"NumPy {np.__version__}, torch {torch.__version__}, one CPU thread; CPU time in µs")
    if options.device:
        many_chains(options.device, options.repetitions)
    elif options.updates:
        long_run(options.updates)
    else:
        table(options.repetitions)


if __name__ == "__main__":
    main()
