"""Fixed points of the XOR: residual, gap in the exact identity, errors and seconds.

Run with the machine otherwise idle:

    OMP_NUM_THREADS=1 python benchmarks/fixed_points.py

XOR in the limit of infinite dimension, K = 4 ReLU units from the means, learning rate 0.1, with the
default method and integrator. The identity is Q_kk - v_k² = (eta sigma²/2 kappa) v_k² sum_a p_a
n_akk; its gap is relative to Q_kk. Seconds are of processor time for one solve, stability included.
"""

from __future__ import annotations

import argparse
import time

import torch

import gmmdyn as gd
from gmmdyn.interfaces import Fields

DECAYS = (0.1, 0.05, 0.01, 0.005, 1e-3, 1e-4, 1e-5)
VARIANCES = (0.05, 0.5, 1.0)


def gap(experiment, found):
    state, mixture = found.order_parameters(0), experiment.data_model
    integrator = gd.integrator("preintegrated")
    integrator.prepare(len(state.v))
    covariance = mixture.variance * state.Q.unsqueeze(0)
    fields = Fields(state.R, covariance, state.v, mixture.labels, gd.activation("relu"))
    noise = torch.einsum("a,akk->k", mixture.priors, integrator.moments(fields).noise)
    rate = 0.1 * mixture.variance / (2 * experiment.algorithm.weight_decay)
    q = state.Q.diagonal()
    difference = (q - state.v**2 - rate * noise).abs() / q.clamp_min(1e-300)
    return float(difference.max())


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--hidden", type=int, default=4)
    options = parser.parse_args()
    torch.set_num_threads(1)
    print(f"torch {torch.__version__}, one CPU thread, K = {options.hidden}")
    heads = ("variance", "decay", "pmse", "error", "residual", "gap", "seconds")
    print("".join(f"{head:>11}" for head in heads))
    for variance in VARIANCES:
        for decay in DECAYS:
            mixture = gd.data_model("xor", dim=1000, variance=variance)
            network = gd.network(
                "committee",
                hidden=options.hidden,
                init="informed",
                mixture=mixture,
                init_scale=0.05,
                seed=1,
                dtype="float64",
            )
            experiment = gd.Experiment(mixture, network, gd.OnlineSGD(0.1, decay))
            begin = time.process_time()
            found = experiment.solve("state-evolution", infinite_dim=True)
            spent = time.process_time() - begin
            residual = found.metadata["solver"]["residual"]
            print(
                f"{variance:11g}{decay:11g}{found.pmse[0]:11.6f}"
                f"{found.classification_error[0]:11.6f}{residual:11.1e}"
                f"{gap(experiment, found):11.1e}{spent:11.1f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
