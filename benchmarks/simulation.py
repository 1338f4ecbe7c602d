"""What one update of the dense engine costs, beside drawing its D normals.

    python benchmarks/simulation.py

On one thread and for one replica: drawing D standard normals in float32 by torch (into a buffer
that stays in the cache) and by the generator of the compiled loop, an update by the dense engine
(which includes its sample), and the same per-sample SGD by autograd and torch.optim.SGD. Medians
over interleaved repetitions of the processor time of this thread, in microseconds per sample, so
that other processes disturb as little as may be; ratios are medians of ratios within one
repetition, `best` is that of the fastest tenths, both to torch's drawing.
"""

from __future__ import annotations

import argparse
import statistics
import time

import numpy as np
import torch

import gmmdyn as gd
from gmmdyn.training import DenseEngine, Segment
from gmmdyn.training.random._normals import draw_inputs
from gmmdyn.training.samples import generator_state


class Softplus(gd.Activation):
    """A user's activation in torch: the engine finds its scalar functions."""

    def forward(self, x):
        return torch.nn.functional.softplus(x)

    def derivative(self, x):
        return torch.sigmoid(x)


class Opaque(Softplus):
    """The same, but it looks at its input, so that it takes the blocked form."""

    def forward(self, x):
        return x if bool((x > 20).all()) else torch.nn.functional.softplus(x)


def seconds(function):
    begin = time.thread_time()
    function()
    return time.thread_time() - begin


def isotropic(dim):
    return gd.data_model("xor", dim=dim, variance=0.05)


def shared(dim, per_cluster=False):
    """As many clusters as the classes of Fashion-MNIST."""
    means = torch.randn(10, dim, generator=torch.Generator().manual_seed(0))
    labels = [-1.0] * 5 + [1.0] * 5
    return gd.data_model("random-covariance", means=means, labels=labels, per_cluster=per_cluster)


def one_each(dim):
    return shared(dim, per_cluster=True)


def measure(mixture, hidden, activation, repetitions):
    dim = mixture.dim
    network = gd.network("committee", dim=dim, hidden=hidden, activation=activation)
    algorithm = gd.OnlineSGD(0.1, 0.01)
    engine = DenseEngine(mixture, network, algorithm)
    size, block = engine.block_size, 0
    generator = torch.Generator().manual_seed(0)
    rows = max(1, 2**15 // dim)  # stays in the cache
    buffer = torch.empty(rows, dim)
    plain = torch.optim.SGD(network.parameter_groups(algorithm))
    few = mixture.sample(50, generator, torch.float32)

    def draw():
        for _ in range(size // rows):
            buffer.normal_(generator=generator)

    state, clusters = generator_state(0), np.zeros(rows, np.int64)
    centres, scale = np.zeros((1, dim), np.float32), np.ones(dim, np.float32)

    def own():
        for _ in range(size // rows):
            draw_inputs(state, clusters, centres, scale, buffer.numpy())

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
        "own": (own, size // rows * rows),
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


def tenth(values):
    return sorted(values)[len(values) // 10]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repetitions", type=int, default=30)
    repetitions = parser.parse_args().repetitions
    torch.set_num_threads(1)
    print(f"torch {torch.__version__}, one CPU thread; microseconds per sample (medians)")
    print(
        f"{'noise':>10} {'D':>6} {'K':>3} {'activation':>10} {'draw':>8} {'own draw':>8} "
        f"{'update':>8} {'autograd':>9} {'update/draw':>12} {'best':>6} {'autograd/update':>16}"
    )
    cases = [
        (isotropic, 1000, 4, "relu"),
        (isotropic, 1000, 8, "relu"),
        (isotropic, 1000, 4, "erf"),
        (isotropic, 100, 4, "relu"),
        (isotropic, 10000, 4, "relu"),
        (shared, 784, 4, "relu"),
        (one_each, 784, 4, "relu"),
        (isotropic, 1000, 4, Softplus()),
        (isotropic, 1000, 4, Opaque()),
    ]
    for make, dim, hidden, activation in cases:
        times = measure(make(dim), hidden, activation, repetitions)
        median = {name: statistics.median(values) for name, values in times.items()}
        floor = statistics.median(
            u / d for u, d in zip(times["update"], times["draw"], strict=True)
        )
        best = tenth(times["update"]) / tenth(times["draw"])
        gain = statistics.median(
            a / u for a, u in zip(times["autograd"], times["update"], strict=True)
        )
        name = activation if isinstance(activation, str) else type(activation).__name__.lower()
        print(
            f"{make.__name__:>10} {dim:>6} {hidden:>3} {name:>10} {median['draw']:>8.2f} "
            f"{median['own']:>8.2f} "
            f"{median['update']:>8.2f} {median['autograd']:>9.0f} {floor:>12.2f} {best:>6.2f} "
            f"{gain:>16.0f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
