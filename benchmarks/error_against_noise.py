"""Classification error against 1/SNR on the XOR: neural network, random features, linear, oracle.

Figure 1 of Refinetti, Goldt, Krzakala and Zdeborová (ICML 2021), by theory alone:

    python benchmarks/error_against_noise.py error-against-noise.png

The network is the fixed point of state evolution (K = 4, ReLU, started at the means); random
features have P = 2 D, at D = 300 from given projections and at D = 10,000 from the limit of many
dimensions. It takes a minute or two.
"""

from __future__ import annotations

import argparse

import numpy as np

import gmmdyn as gd
from gmmdyn.errors import ConvergenceError
from gmmdyn.feature_errors import feature_errors
from gmmdyn.gaussian.linear_classifier import best_linear_classifier
from gmmdyn.plot import plot_error_against_noise
from gmmdyn_random_features import limit_errors

DECAY = 0.01


def neural_network(sigma):
    mixture = gd.data_model("xor", dim=1000, variance=sigma**2)
    network = gd.network(
        "committee", hidden=4, init="informed", init_scale=0.1, mixture=mixture, seed=0
    )
    experiment = gd.Experiment(mixture, network, gd.OnlineSGD(0.1, DECAY))
    try:
        return float(experiment.solve("state-evolution").classification_error[0])
    except ConvergenceError as error:
        print(f"sigma = {sigma:g}: {error}")
        return float("nan")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("output", help="the PNG or PDF file to write")
    output = parser.parse_args().output
    grid = np.geomspace(0.05, 3, 10)
    few = np.array([0.2, 0.4, 0.7, 1.0])
    mixtures = [gd.data_model("xor", dim=10_000, variance=sigma**2) for sigma in grid]
    features = feature_errors(sigma=grid[grid < 1].tolist(), ratio=[2.0], dim=[300])
    curves = {
        "random features, D = 10,000": [
            limit_errors(m, 2.0).classification_error for m in mixtures
        ],
        "best linear classifier": [best_linear_classifier(m).error for m in mixtures],
    }
    drawn = {name: (grid, np.array(errors)) for name, errors in curves.items()}
    drawn["random features, D = 300"] = (
        features["sigma"].to_numpy(),
        features["classification_error"].to_numpy().ravel(),
    )
    network = np.array([neural_network(sigma) for sigma in few])
    kept = np.isfinite(network)
    drawn["two layers, K = 4"] = (few[kept], network[kept])
    drawn["oracle"] = (grid, np.array([m.bayes_error().value for m in mixtures]))
    for name, (sigma, error) in drawn.items():
        print(name, *(f"{s:.3g}: {e:.4f}" for s, e in zip(sigma, error, strict=True)))
    plot_error_against_noise(
        drawn, output, f"XOR, low SNR · ReLU · P = 2 D · weight decay {DECAY:g}"
    )


if __name__ == "__main__":
    main()
