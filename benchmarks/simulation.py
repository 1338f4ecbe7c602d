"""What one update of the simulation costs, beside drawing its D normals.

Run with the machine otherwise idle:

    python benchmarks/simulation.py

On one thread and for one replica: drawing D standard normals in float32 (torch, into a buffer that
stays in the cache: the floor), drawing a labelled sample, an update by the dense engine (which
includes its sample), and the same per-sample SGD by autograd and torch.optim.SGD. Medians over
interleaved repetitions, in microseconds per sample; ratios are medians of ratios within one
repetition.
"""

from __future__ import annotations

import argparse
import statistics
import time

import torch

import gmmdyn as gd
from gmmdyn.training import DenseEngine, Segment


class Softplus(gd.Activation):
    """An activation without scalar functions: it takes the blocked form."""

    def forward(self, x):
        return torch.nn.functional.softplus(x)

    def derivative(self, x):
        return torch.sigmoid(x)


def seconds(function):
    begin = time.perf_counter()
    function()
    return time.perf_counter() - begin


def measure(dim, hidden, activation, repetitions):
    mixture = gd.data_model("xor", dim=dim, variance=0.05)
    network = gd.network("committee", dim=dim, hidden=hidden, activation=activation)
    algorithm = gd.OnlineSGD(0.1, 0.01)
    engine = DenseEngine(mixture, network, algorithm)
    size, block = engine.block_size, 0
    generator = torch.Generator().manual_seed(0)
    rows = max(16, 2**16 // dim)  # stays in the cache
    buffer = torch.empty(rows, dim)
    plain = torch.optim.SGD(network.parameter_groups(algorithm))
    few = mixture.sample(200, generator, torch.float32)

    def draw():
        for _ in range(size // rows):
            buffer.normal_(generator=generator)

    def sample():
        for _ in range(size // rows):
            mixture.sample(rows, generator, torch.float32)

    def update():
        nonlocal block
        engine.advance(Segment(block, block * size, (block + 1) * size))
        block += 1

    def autograd():
        for x, y in zip(few.inputs, few.labels, strict=True):
            plain.zero_grad()
            (0.5 * (y - network(x.unsqueeze(0))[0]) ** 2).backward()
            plain.step()

    tasks = {
        "draw": (draw, size // rows * rows),
        "sample": (sample, size // rows * rows),
        "update": (update, size),
        "autograd": (autograd, len(few.labels)),
    }
    times = {name: [] for name in tasks}
    for repetition in range(repetitions + 1):
        for name, (task, count) in tasks.items():
            spent = seconds(task) / count * 1e6
            if repetition:  # the first one warms up
                times[name].append(spent)
    return times


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repetitions", type=int, default=15)
    repetitions = parser.parse_args().repetitions
    torch.set_num_threads(1)
    print(f"torch {torch.__version__}, one CPU thread; microseconds per sample (medians)")
    print(
        f"{'D':>6} {'K':>3} {'activation':>10} {'draw':>8} {'sample':>8} {'update':>8} "
        f"{'autograd':>9} {'update/draw':>12} {'autograd/update':>16}"
    )
    cases = [
        (1000, 4, "relu"),
        (1000, 8, "relu"),
        (1000, 4, "erf"),
        (100, 4, "relu"),
        (10000, 4, "relu"),
        (1000, 4, Softplus()),
    ]
    for dim, hidden, activation in cases:
        times = measure(dim, hidden, activation, repetitions)
        median = {name: statistics.median(values) for name, values in times.items()}
        floor = statistics.median(
            u / d for u, d in zip(times["update"], times["draw"], strict=True)
        )
        gain = statistics.median(
            a / u for a, u in zip(times["autograd"], times["update"], strict=True)
        )
        name = activation if isinstance(activation, str) else "softplus"
        print(
            f"{dim:>6} {hidden:>3} {name:>10} {median['draw']:>8.2f} {median['sample']:>8.2f} "
            f"{median['update']:>8.2f} {median['autograd']:>9.0f} {floor:>12.2f} {gain:>16.0f}"
        )


if __name__ == "__main__":
    main()
