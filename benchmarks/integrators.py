"""Error against cost of the integrators: one right-hand side of the ODEs.

Run with the machine otherwise idle:

    python benchmarks/integrators.py

XOR mixture at D = 1000, variance 0.05, learning rate 0.1, weight decay 0.01; units from random
initial weights of scale 1 and from the means with scale 0.3. The error is the largest one in dQ, dR
and dv, against a reference good to 1e-7 or better (named in the table); the time is the median of
one evaluation of the moments, and of the errors of the network, on one thread.
"""

from __future__ import annotations

import argparse
import statistics
import time

import torch

import gmmdyn as gd
from gmmdyn.interfaces import Fields

# Activation and units; the reference; what is measured against it.
TABLES = [
    (
        ("relu", 4),
        ("preintegrated", {"log2_lines": 16, "seed": 5}),
        [
            *(("preintegrated", {"log2_lines": log}) for log in (5, 6, 7, 8, 9, 11)),
            *(("sobol", {"log2_samples": log}) for log in (12, 14)),
            ("monte-carlo", {"samples": 10_000}),
        ],
    ),
    (
        ("erf", 4),
        ("gauss-hermite", {"points": 19}),
        [
            ("closed-form", {}),
            *(("gauss-hermite", {"points": points}) for points in (6, 8, 12)),
            *(("sobol", {"log2_samples": log}) for log in (12, 14)),
            ("monte-carlo", {"samples": 10_000}),
        ],
    ),
    (
        ("tanh", 2),
        ("gauss-hermite", {"points": 120}),
        [
            *(("gauss-hermite", {"points": points}) for points in (8, 16, 32, 64)),
            *(("sobol", {"log2_samples": log}) for log in (12, 14)),
            ("monte-carlo", {"samples": 10_000}),
        ],
    ),
]


def experiments(activation, hidden):
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


def rates(experiment, integrator):
    theory = gd.theory("ode", integrator=integrator)
    found = theory.derivative(experiment.data_model, experiment.network, experiment.algorithm)
    return torch.cat([found.Q.flatten(), found.R.flatten(), found.v])


def fields(experiment):
    mixture, network = experiment.data_model, experiment.network
    state = network.order_parameters(mixture).to(dtype=torch.float64)
    covariance = mixture.variance * state.Q.unsqueeze(0)
    return Fields(state.R, covariance, state.v, mixture.labels.double(), network.activation)


def median_ms(function, argument, repetitions):
    function(argument)  # the first one compiles
    spent = []
    for _ in range(repetitions):
        begin = time.perf_counter()
        function(argument)
        spent.append(time.perf_counter() - begin)
    return statistics.median(spent) * 1e3


def measure(experiment, exact, integrator, repetitions):
    """Error of the right-hand side, and time of moments and of errors."""
    error = float((rates(experiment, integrator) - exact).abs().max())
    problem = fields(experiment)
    moments = median_ms(integrator.moments, problem, repetitions)
    return error, moments, median_ms(integrator.errors, problem, repetitions)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repetitions", type=int, default=15)
    options = parser.parse_args()
    torch.set_num_threads(1)
    print(f"torch {torch.__version__}, one CPU thread")
    for (activation, hidden), (best, keywords), candidates in TABLES:
        problems = list(experiments(activation, hidden))
        exact = [rates(problem, gd.integrator(best, **keywords)) for problem in problems]
        print(f"\n{activation}, K = {hidden}; reference: {best} {keywords}")
        print(
            f"{'integrator':>14} {'option':>16} {'error':>9} {'moments/ms':>11} {'errors/ms':>10}"
        )
        for name, chosen in candidates:
            integrator = gd.integrator(name, **chosen)
            found = [
                measure(problem, value, integrator, options.repetitions)
                for problem, value in zip(problems, exact, strict=True)
            ]
            errors, moments, spent = zip(*found, strict=True)
            option = ", ".join(f"{key}={value}" for key, value in chosen.items())
            print(
                f"{name:>14} {option:>16} {max(errors):>9.1e} {statistics.mean(moments):>11.3f} "
                f"{statistics.mean(spent):>10.2f}"
            )


if __name__ == "__main__":
    main()
