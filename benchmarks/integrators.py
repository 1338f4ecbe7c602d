"""Error against cost of the integrators: one right-hand side of the ODEs.

Run with the machine otherwise idle:

    python benchmarks/integrators.py

XOR mixture at D = 1000, variance 0.05, learning rate 0.1, weight decay 0.01; K units from random
initial weights of scale 1 and from the means with scale 0.3. The error is the largest one in dQ, dR
and dv, against 2^16 lines (2^17 Sobol points for erf) with another seed; the time is the median of
one evaluation on one thread.
"""

from __future__ import annotations

import argparse
import statistics
import time

import torch

import gmmdyn as gd

REFERENCE = {
    "relu": ("preintegrated", {"log2_lines": 16, "seed": 5}),
    "erf": ("sobol", {"log2_samples": 17, "seed": 5}),
}
CANDIDATES = [
    ("relu", "preintegrated", {"log2_lines": 5}),
    ("relu", "preintegrated", {"log2_lines": 7}),
    ("relu", "preintegrated", {"log2_lines": 9}),
    ("relu", "sobol", {"log2_samples": 12}),
    ("relu", "sobol", {"log2_samples": 14}),
    ("relu", "monte-carlo", {"samples": 10_000}),
    ("erf", "sobol", {"log2_samples": 12}),
    ("erf", "sobol", {"log2_samples": 14}),
    ("erf", "monte-carlo", {"samples": 10_000}),
]


def rates(experiment, integrator, repetitions=1):
    theory = gd.theory("ode", integrator=integrator)
    parts = (experiment.data_model, experiment.network, experiment.algorithm)
    spent = []
    found = theory.derivative(*parts)  # the first one places the points
    for _ in range(repetitions):
        begin = time.perf_counter()
        found = theory.derivative(*parts)
        spent.append(time.perf_counter() - begin)
    flat = torch.cat([found.Q.flatten(), found.R.flatten(), found.v])
    return flat, statistics.median(spent) * 1e3


def experiments(hidden, activation):
    mixture = gd.data_model("xor", dim=1000, variance=0.05)
    for init, scale in (("random", 1.0), ("informed", 0.3)):
        network = gd.network(
            "committee",
            hidden=hidden,
            activation=activation,
            init=init,
            init_scale=scale,
            mixture=mixture,
            seed=1,
            dtype="float64",
        )
        yield gd.Experiment(mixture, network, gd.OnlineSGD(0.1, 0.01))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repetitions", type=int, default=15)
    parser.add_argument("--hidden", type=int, default=4)
    options = parser.parse_args()
    torch.set_num_threads(1)
    print(f"torch {torch.__version__}, one CPU thread, K = {options.hidden}")
    print(f"{'activation':>10} {'integrator':>14} {'option':>16} {'error':>9} {'ms':>7}")
    for activation, name, keywords in CANDIDATES:
        errors, costs = [], []
        for experiment in experiments(options.hidden, activation):
            kind, best = REFERENCE[activation]
            exact, _ = rates(experiment, gd.integrator(kind, **best))
            integrator = gd.integrator(name, **keywords)
            found, cost = rates(experiment, integrator, options.repetitions)
            errors.append(float((found - exact).abs().max()))
            costs.append(cost)
        option = ", ".join(f"{key}={value}" for key, value in keywords.items())
        print(
            f"{activation:>10} {name:>14} {option:>16} {max(errors):>9.1e} "
            f"{statistics.mean(costs):>7.2f}"
        )


if __name__ == "__main__":
    main()
