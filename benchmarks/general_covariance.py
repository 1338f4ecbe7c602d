"""Cost of the theory `ode` against D where every cluster has a covariance of its own.

Run with the machine otherwise idle:

    python benchmarks/general_covariance.py

Four clusters with means of size one and Wishart covariances that have no direction in common, K
ReLU units, learning rate 0.1, weight decay 0.01, solved to t = 20. The time of one right-hand side
is the median of several on one thread.
"""

from __future__ import annotations

import argparse
import statistics
import time

import torch

import gmmdyn as gd


def experiment(dim, hidden):
    generator = torch.Generator().manual_seed(0)
    mixture = gd.data_model(
        "random-covariance",
        means=torch.randn(4, dim, generator=generator, dtype=torch.float64),
        labels=[-1, -1, 1, 1],
        variance=0.2,
        per_cluster=True,
    )
    network = gd.network("committee", dim=dim, hidden=hidden, init_scale=0.5, dtype="float64")
    return gd.Experiment(mixture, network, gd.OnlineSGD(0.1, 0.01))


def timed(function, repetitions):
    spent = []
    for _ in range(repetitions):
        begin = time.perf_counter()
        found = function()
        spent.append(time.perf_counter() - begin)
    return statistics.median(spent), found


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--hidden", type=int, default=2)
    parser.add_argument("--dims", type=int, nargs="+", default=[25, 50, 100, 200, 400])
    parser.add_argument("--repetitions", type=int, default=5)
    options = parser.parse_args()
    torch.set_num_threads(1)
    print(f"torch {torch.__version__}, one CPU thread, K = {options.hidden}")
    print(f"{'D':>6} {'K D':>6} {'numbers':>10} {'ms':>9} {'evaluations':>12} {'s to t = 20':>12}")
    for dim in options.dims:
        case = experiment(dim, options.hidden)
        parts = (case.data_model, case.network, case.algorithm)
        theory = gd.theory("ode")
        theory.derivative(*parts)  # the first one finds the blocks and places the points
        each, _ = timed(lambda: theory.derivative(*parts), options.repetitions)  # noqa: B023
        whole, solved = timed(lambda: theory.solve(*parts, times=[0, 20.0]), 1)  # noqa: B023
        rows = options.hidden * dim
        print(
            f"{dim:>6} {rows:>6} {rows * (rows + 1) // 2:>10} {each * 1e3:>9.1f} "
            f"{solved.metadata['solver']['evaluations']:>12} {whole:>12.1f}"
        )


if __name__ == "__main__":
    main()
