"""The noise moments n = E[γ_k γ_l], γ_k = v_k g'_k Δ: second moments, so always positive."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import gmmdyn as gd
from gmmdyn.interfaces import Fields

# Every integrator with the activations that it describes best.
DESCRIBED = [
    ("preintegrated", "relu"),
    ("preintegrated", "leaky-relu"),
    ("preintegrated", "hard-tanh"),
    ("closed-form", "erf"),
    ("gauss-hermite", "tanh"),
    ("sobol", "tanh"),
    ("sobol", "relu"),
    ("monte-carlo", "relu"),
]


def near_singular_fields(activation, hidden, kind, seed):
    """Fields of units on few directions: generic, merged (an angle of 1e-1 to 1e-6) or dead."""
    rng = np.random.default_rng(seed)
    weights = rng.standard_normal((hidden, hidden + 2)) / np.sqrt(hidden)
    readout = rng.standard_normal(hidden)
    if kind == "merged":
        group = rng.integers(max(2, hidden // 2), size=hidden)
        angle = 10.0 ** rng.uniform(-6, -1)
        length = rng.uniform(0.5, 1.5, hidden)
        centre, sign = weights[group], readout[group]
        weights = length[:, None] * (centre + angle * rng.standard_normal(weights.shape))
        readout = length * sign
    if kind == "dead":
        dead = rng.random(hidden) < 0.5
        weights[dead] *= 1e-6
        readout[dead] *= 1e-6
    means = rng.standard_normal((4, hidden + 2))
    return Fields(
        mean=torch.from_numpy(means @ weights.T),
        covariance=torch.from_numpy(0.1 * weights @ weights.T)[None],
        readout=torch.from_numpy(readout),
        labels=torch.tensor([-1.0, -1.0, 1.0, 1.0], dtype=torch.float64),
        activation=gd.activation(activation),
    )


def noise_of(integrator, fields, differentiable=False):
    if differentiable:  # takes the torch way instead of the compiled one
        fields = fields._replace(readout=fields.readout.clone().requires_grad_())
    integrator.prepare(fields.mean.shape[-1])
    return integrator.moments(fields).noise.detach()


@pytest.mark.parametrize(("name", "activation"), DESCRIBED)
@pytest.mark.parametrize("kind", ["generic", "merged", "dead"])
def test_noise_is_positive_semi_definite_whatever_the_state(name, activation, kind):
    for hidden in (2, 3, 5, 8):
        if name == "gauss-hermite" and hidden > 3:
            continue
        integrator = gd.integrator(name)
        for seed in range(8):
            fields = near_singular_fields(activation, hidden, kind, seed)
            ways = (False, True) if name == "preintegrated" else (False,)
            for differentiable in ways:
                noise = noise_of(integrator, fields, differentiable)
                torch.testing.assert_close(noise, noise.mT, rtol=0, atol=1e-12)
                values = torch.linalg.eigvalsh(noise)
                assert float(values.min()) > -1e-13 * float(values.max())


@pytest.mark.parametrize("activation", ["relu", "hard-tanh"])
def test_the_stated_error_of_the_noise_holds(activation):
    """The largest error over the largest moment, of 512 lines against 2^14 others."""
    for hidden in (3, 5, 8, 12):
        integrator = gd.integrator("preintegrated")
        finer = gd.integrator("preintegrated", log2_lines=14, seed=9)
        shares = []
        for seed in range(6):
            for kind in ("generic", "merged"):
                fields = near_singular_fields(activation, hidden, kind, seed)
                found, wanted = noise_of(integrator, fields), noise_of(finer, fields)
                shares.append(float((found - wanted).abs().max() / wanted.abs().max()))
        assert np.median(shares) < integrator.relative_error
        assert max(shares) < 4 * integrator.relative_error


def test_what_parts_merging_units_is_right_to_a_few_per_cent():
    """uᵀ n u for u = (1/v_1, -1/v_2) on two units at a small angle: E[(g'_1 - g'_2)² Δ²].

    ReLU units differ on the wedge between their kinks alone, where Delta does not see them, so
    that the exact value to first order in the angle is the density of the field at its kink times
    the mean of |λ_1 - λ_2| Delta² there; here it is sampled with points on the kink.
    """
    rng = np.random.default_rng(3)
    base = rng.standard_normal((4, 6)) / 2
    other, angle = rng.standard_normal(6), 1e-4
    weights = np.concatenate([base[:1], base[:1] + angle * other, base[1:]])
    readout = np.array([0.6, 0.5, -0.7, 0.4, -0.5])
    centre = rng.standard_normal((1, 6))
    mean, covariance = centre @ weights.T, 0.3 * weights @ weights.T
    fields = Fields(
        mean=torch.from_numpy(mean),
        covariance=torch.from_numpy(covariance)[None],
        readout=torch.from_numpy(readout),
        labels=torch.ones(1, dtype=torch.float64),
        activation=gd.activation("relu"),
    )
    noise = noise_of(gd.integrator("preintegrated", log2_lines=12), fields)[0].numpy()
    u = np.array([1.0, -1.0, 0, 0, 0]) / readout
    # Inputs on the hyperplane of the first unit's kink.
    x = centre + np.sqrt(0.3) * rng.standard_normal((400_000, 6))
    w = base[0]
    x -= ((x @ w) / (w @ w))[:, None] * w
    delta = 1 - np.maximum(x @ weights.T, 0) @ readout
    deviation = np.sqrt(covariance[0, 0])
    density = np.exp(-0.5 * (mean[0, 0] / deviation) ** 2) / np.sqrt(2 * np.pi) / deviation
    wanted = density * np.mean(np.abs(x @ (angle * other)) * delta**2)
    np.testing.assert_allclose(u @ noise @ u, wanted, rtol=0.03)
