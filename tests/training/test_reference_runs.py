"""Simulations against those of the 2021 code, run by run, from the same order parameters."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import gmmdyn as gd


def network_with(mixture, Q, R, v):
    """Weights with given overlaps: the law of a run depends on nothing else."""
    dim, hidden = mixture.dim, len(v)
    means = mixture.means / dim**0.5  # (C, D): R = means @ W.T / sqrt(D)
    within = torch.linalg.pinv(means) @ torch.as_tensor(R) * dim**0.5  # (D, K)
    rest = torch.as_tensor(Q) - within.T @ within / dim
    values, vectors = torch.linalg.eigh((rest + rest.T) / 2)
    root = (vectors * values.clamp_min(0).sqrt()) @ vectors.T * dim**0.5
    weights = within.T.clone()
    weights[:, -hidden:] += root  # the means have no component there
    return gd.network("committee", first_layer=weights, readout=v, activation="relu")


@pytest.mark.parametrize(
    ("seeds", "replicas"),
    [pytest.param(3, 6, id="few"), pytest.param(10, 30, id="all", marks=pytest.mark.science)],
)
def test_runs_of_the_2021_code_are_draws_from_our_runs(reference, seeds, replicas):
    arrays = reference("sgd_reluK4XOR.npz")
    dim = int(arrays["N"])
    mixture = gd.data_model("xor", dim=dim, variance=float(arrays["var"]))
    algorithm = gd.OnlineSGD(float(arrays["lr"]), float(arrays["reg"]))
    z, held, at_start, ties = [], [], [], []
    for seed in range(seeds):
        theirs = {name: arrays[f"seed{seed}/{name}"] for name in ("t", "mse", "cls", "Q", "R", "v")}
        rows = np.searchsorted(theirs["t"], [0, 10, 30, 60, 90])
        network = network_with(mixture, theirs["Q"][0], theirs["R"][0], theirs["v"][0])
        start = network.order_parameters(mixture)
        # Their files have text precision.
        np.testing.assert_allclose(start.Q.numpy(), theirs["Q"][0], atol=2e-4)
        np.testing.assert_allclose(start.R.numpy(), theirs["R"][0], atol=2e-4)
        run = gd.Experiment(mixture, network, algorithm).simulate(
            times=theirs["t"][rows], replicas=replicas, seed=seed
        )
        for name in ("Q", "R", "v"):
            ours = run[name][1:]
            spread = ours.std(1, ddof=1) * np.sqrt(1 + 1 / replicas)
            gap = theirs[name][rows[1:]] - ours.mean(1)
            z.append((gap / np.hypot(spread, 1e-4)).ravel())
        # The same weights on test sets of 10,000; theirs counts an output of exactly 0 as an error.
        rate = (run.classification_error + run.tie_rate / 2)[0]
        chance = np.sqrt(rate.mean() * (1 - rate.mean()) / 10_000 * (1 + 1 / replicas))
        at_start.append((theirs["cls"][0] - rate.mean()) / chance)
        ties.append(run.tie_rate[0].mean())
        held.append(abs(run.pmse[-1].mean() - theirs["mse"][rows[-1]]))
    z = np.concatenate(z)
    # Student's t with few degrees of freedom, and entries that are correlated within a run.
    assert 0.5 < np.sqrt((z**2).mean()) < 1.8
    assert np.abs(z).max() < 8
    assert max(held) < 0.05
    assert np.abs(at_start).max() < 4
    assert min(ties) > 0.01  # what the two definitions differ by is seen
