"""Time of solutions of the ODEs: one problem, and many together against one by one.

Run with the machine otherwise idle:

    python benchmarks/ode.py

XOR mixture at D = 1000, ReLU. Evaluations are of the right-hand side, on one thread. The grid has
variances from 0.02 to 0.5 and learning rates from 0.05 to 1; its largest gap is that of the pmse
between the two ways of solving, at a tolerance of 1e-6.
"""

from __future__ import annotations

import argparse
import statistics
import time

import numpy as np
import torch

import gmmdyn as gd


def experiment(variance=0.05, rate=0.1, hidden=4):
    mixture = gd.data_model("xor", dim=1000, variance=variance)
    network = gd.network("committee", dim=1000, hidden=hidden, init_scale=1.0, seed=1)
    return gd.Experiment(mixture, network, gd.OnlineSGD(rate, 0.01))


def timed(call, repetitions):
    spent = []
    for _ in range(repetitions):
        begin = time.perf_counter()
        result = call()
        spent.append(time.perf_counter() - begin)
    return result, statistics.median(spent)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--side", type=int, default=10, help="of the grid")
    options = parser.parse_args()
    torch.set_num_threads(1)
    print(f"torch {torch.__version__}, one CPU thread")
    print(f"{'hidden':>6} {'t':>6} {'evaluations':>12} {'seconds':>8} {'ms each':>8}")
    for hidden, duration in ((4, 100), (4, 1000), (8, 100)):
        one = experiment(hidden=hidden)
        one.solve("ode", times=[0.0])  # compiles and imports
        solved, seconds = timed(lambda: one.solve("ode", duration), options.repetitions)  # noqa: B023
        count = solved.metadata["solver"]["evaluations"]
        print(
            f"{hidden:>6} {duration:>6} {count:>12} {seconds:>8.2f} {1e3 * seconds / count:>8.2f}"
        )
    grid = [
        experiment(variance, rate)
        for variance in np.geomspace(0.02, 0.5, options.side)
        for rate in np.geomspace(0.05, 1, options.side)
    ]
    times = [0, 1, 10, 30]
    theory = gd.theory("ode")
    many, together = timed(lambda: gd.solve_many(grid, theory, times=times), 1)
    alone, apart = timed(lambda: [one.solve(theory, times=times) for one in grid], 1)
    gap = max(np.abs(a.pmse - b.pmse).max() for a, b in zip(many, alone, strict=True))
    print(f"{len(grid)} problems to t = 30: one by one {apart:.1f} s, together {together:.1f} s,")
    print(f"ratio {apart / together:.1f}, largest gap {gap:.1e}")


if __name__ == "__main__":
    main()
