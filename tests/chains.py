"""Many chains, and their order parameters and errors without any test noise."""

from __future__ import annotations

import numpy as np
import torch

import gmmdyn as gd
from gmmdyn.training import ChainEngine, Segment
from gmmdyn_ode.dynamics import Dynamics
from gmmdyn_ode.problem import Problem
from gmmdyn_ode.state import State


def chains(experiment, times, replicas, seed, errors=True):
    """Return curves by name, shape (T, N, ...); errors are those of the order parameters."""
    mixture, network, algorithm = experiment.data_model, experiment.network, experiment.algorithm
    engine = ChainEngine(mixture, network, algorithm, replicas=replicas, seed=seed)
    problem = Problem.of(mixture, network, algorithm)
    name = {"relu": "preintegrated", "erf": "closed-form"}[network.activation.spec.name]
    if not algorithm.loss_function.quadratic:
        name = "gauss-hermite"
    integrator = gd.integrator(name)
    integrator.prepare(network.hidden)
    dynamics = Dynamics(problem, integrator)
    curves: dict[str, list[np.ndarray]] = {}
    position = 0
    for time in times:
        update = round(time * mixture.dim)
        if update > position:
            engine.advance(Segment(0, position, update))
            position = update
        found = engine.order_parameters(range(replicas))
        state = State(found.Q.unsqueeze(1), found.R.unsqueeze(1), found.v.clone(), found.b)
        now = {"Q": found.Q, "R": found.R, "v": state.v}
        if errors:
            with torch.no_grad():
                measured = dynamics.errors(state)
            now |= {name: getattr(measured, name) for name in ("pmse", "classification_error")}
        if found.b is not None:
            now["b"] = found.b.clone()
        for name, value in now.items():
            curves.setdefault(name, []).append(value.numpy().copy())
    return {name: np.array(value) for name, value in curves.items()}


def realised(mixture, state, activation, seed=0):
    """Return a network with given order parameters."""
    root = mixture.dim**0.5
    means = mixture.means.double() / root
    left, sizes, axes = torch.linalg.svd(means, full_matrices=False)
    rank = int((sizes > 1e-12 * sizes[0]).sum())
    axes = axes[:rank]
    span = (left[:, :rank] / sizes[:rank]).T @ state.R
    values, vectors = torch.linalg.eigh(state.Q - span.T @ span)
    beside = vectors * values.clamp_min(0).sqrt()
    generator = torch.Generator().manual_seed(seed)
    others = torch.randn(mixture.dim, len(state.v), generator=generator, dtype=torch.float64)
    others = torch.linalg.qr(others - axes.T @ (axes @ others)).Q
    network = gd.network(
        "committee", dim=mixture.dim, hidden=len(state.v), activation=activation, dtype="float64"
    )
    with torch.no_grad():
        network.first_layer.copy_(root * (span.T @ axes + beside @ others.T))
        network.readout.copy_(state.v)
    return network


def against(predicted, curves, index, names=("pmse", "classification_error", "Q", "R", "v")):
    """Return the largest |z| of means and the ratios of standard deviations at a time.

    Entries that hardly move, and z of which are rounding, are left out.
    """
    z, ratios = [], []
    for name in names:
        value = curves[name][index]
        mean, std = value.mean(0), value.std(0, ddof=1)
        moves = std > 1e-9
        # Both have an integration error, that of the chains from the same lines in every chain.
        integration = np.broadcast_to(predicted.standard_error(name)[index], std.shape)[moves]
        error = np.hypot(std[moves] / len(value) ** 0.5, 2**0.5 * integration)
        z.append(np.abs(mean - predicted[name][index])[moves] / error)
        ratios.append(predicted.spread[name][index][moves] / std[moves])
    return np.concatenate([np.ravel(x) for x in z]).max(), np.concatenate(
        [np.ravel(x) for x in ratios]
    )
