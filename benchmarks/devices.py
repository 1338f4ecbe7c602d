"""What an update of the dense and the features engine costs on a GPU, with many replicas at once.

    python benchmarks/devices.py --device cuda

For some numbers of replicas: drawing the normals of their samples (torch, float32, the floor), and
updates, which include their samples. Medians over repetitions of the wall time of a block, in
nanoseconds per update and replica; ratios are medians of ratios within one repetition. The dense
engine solves its recursion by a kernel that numba compiles for CUDA (`kernel`), and, in the rows
`sweeps`, by torch alone. With `--device cpu` the same code runs on the CPU, by sweeps.
"""

from __future__ import annotations

import argparse
import statistics
import time

import torch

import gmmdyn as gd
from gmmdyn.training import DenseEngine, FeatureEngine, Segment

# Inputs, units or features, replicas, updates of a block.
DENSE = [(1000, 4, n, 4096) for n in (1, 100, 1000)] + [
    (1000, 8, 1000, 4096),
    (100, 4, 10000, 4096),
]
FEATURES = [(800, 1600, n, 4096) for n in (1, 100)]


def wait(device):
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def seconds(function, device):
    wait(device)
    begin = time.perf_counter()
    function()
    wait(device)
    return time.perf_counter() - begin


def measure(engine, device, repetitions):
    """Return medians of drawing and updating, ns per update and replica, and of their ratio."""
    engine.to(device)
    dim, size, replicas = engine.dim, engine.block_size, engine.replicas
    generator = torch.Generator(device).manual_seed(0)
    rows = max(1, min(size, 2**26 // (dim * replicas)))
    buffer = torch.empty(replicas * rows, dim, device=device)
    times = {"draw": [], "update": []}

    def draw():
        for _ in range(size // rows):
            buffer.normal_(generator=generator)

    for block in range(repetitions + 1):
        segment = Segment(block, block * size, (block + 1) * size)
        spent = {
            "draw": seconds(draw, device) / (size // rows * rows),
            "update": seconds(lambda now=segment: engine.advance(now), device) / size,
        }
        if block:  # the first one compiles and warms up
            for name, value in spent.items():
                times[name].append(value / replicas * 1e9)
    ratio = statistics.median(u / d for u, d in zip(times["update"], times["draw"], strict=True))
    return statistics.median(times["draw"]), statistics.median(times["update"]), ratio


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--updates", type=int, help="of a block, instead of some thousand")
    parser.add_argument("--replicas", type=int, help="at most")
    options = parser.parse_args()
    device = torch.device(options.device)
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU"
    print(f"torch {torch.__version__}, {name}; nanoseconds per update and replica (medians)")
    print(
        f"{'engine':>10} {'recursion':>10} {'D':>6} {'K or P':>7} {'replicas':>9} {'draw':>9} "
        f"{'update':>9} {'update/draw':>12}"
    )
    algorithm = gd.OnlineSGD(0.1, 0.01)
    cases = [("dense", how, *case) for case in DENSE for how in ("kernel", "sweeps")]
    cases += [("features", "torch", *case) for case in FEATURES]
    for kind, how, dim, width, replicas, updates in cases:
        if how == "kernel" and device.type != "cuda":
            continue
        mixture = gd.data_model("xor", dim=dim, variance=0.05)
        settings = {
            "replicas": min(replicas, options.replicas or replicas),
            "block_size": options.updates or updates,
        }
        if kind == "dense":
            network = gd.network("committee", dim=dim, hidden=width, activation="relu")
            kernel = how == "kernel"
            engine = DenseEngine(mixture, network, algorithm, compiled=kernel, **settings)
        else:
            network = gd.network("random-features", dim=dim, features=width)
            engine = FeatureEngine(mixture, network, algorithm, compiled=False, **settings)
        draw, update, ratio = measure(engine, device, options.repetitions)
        print(
            f"{kind:>10} {how:>10} {dim:>6} {width:>7} {engine.replicas:>9} {draw:>9.1f} "
            f"{update:>9.1f} {ratio:>12.2f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
