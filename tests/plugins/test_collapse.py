r"""Where the noise makes a network vanish: linear stability of the zero network on the XOR.

Close to v = w = 0 the error signal is the label, so that units do not see each other, and the
equations of D → ∞ are homogeneous: with g = relu, means at ±e1 (label -1) and ±e2 (label +1), and
a unit of readout v > 0 with overlap b along e2, none along e1, and q = b² + c, s = σ√q,

    dv/dt = η (H(b) - s√(2/π))/4 - ηκ v,   H(b) = E|b + s ξ|,
    db/dt = η v (∂f/∂b + 2b ∂f/∂q) - ηκ b,   f = (H(b) - s√(2/π))/4,
    dc/dt = 4ηv c ∂f/∂q + η² v² σ² E[g'²] - 2ηκ c,   E[g'²] = 1/2,

where the last but one term is the noise of SGD, of the same order as the others. On a ray of fixed
ratios all grow at one rate η(Λ(σ², η) - κ), so the zero network is stable where κ > Λ.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.optimize import brentq, fsolve

import gmmdyn as gd
from gmmdyn.experiment.configuration import Configuration

RATE = 0.1  # eta


def ray(variance):
    """Return b, v and Λ at q = 1."""
    sigma, top = math.sqrt(variance), math.sqrt(2 / math.pi)

    def growths(x):
        angle, v, rate = x
        b, c = math.cos(angle), math.sin(angle) ** 2
        beta = b / sigma
        inside = math.erf(beta / math.sqrt(2))
        bump = math.exp(-(beta**2) / 2)
        f = (sigma * top * bump + b * inside - sigma * top) / 4
        by_q = top * (bump - 1) * sigma / 8
        return [
            f - rate * v,
            v * (inside / 4 + 2 * b * by_q) - rate * b,
            4 * v * c * by_q + RATE * v**2 * variance / 2 - 2 * rate * c,
        ]

    (angle, v, rate), _, found, _ = fsolve(growths, [0.3, 1.0, 0.2], full_output=True, xtol=1e-13)
    assert found == 1
    return math.cos(angle), v, rate


def collapse(decay):
    """The variance at which Λ falls below κ."""
    return brentq(lambda variance: ray(variance)[2] - decay, 0.05, 3.0)


def test_without_noise_it_is_the_collapse_at_a_quarter():
    """σ → 0: Σ v² = 1 - 4κ (reproduction of the square loss without noise)."""
    assert ray(1e-8)[2] == pytest.approx(0.25, abs=1e-4)


@pytest.mark.parametrize("variance", [0.05, 0.5, collapse(0.1), 1.2])
def test_small_networks_grow_at_one_rate(variance):
    b, v, rate = ray(variance)
    size = 1e-7
    mixture = gd.data_model("xor", dim=1000, variance=variance)
    network = gd.network("committee", dim=1000, hidden=1)
    state = gd.OrderParameters(
        Q=torch.tensor([[size**2]], dtype=torch.float64),
        R=torch.tensor([[0.0], [0.0], [b], [-b]], dtype=torch.float64) * size,
        v=torch.tensor([v], dtype=torch.float64) * size,
    )
    theory = gd.theory("ode", infinite_dim=True)
    found = theory.derivative(mixture, network, gd.OnlineSGD(RATE, 0.1), state)
    wanted = RATE * (rate - 0.1)
    tolerance = {"abs": 1e-7}  # of the order of the size of the network
    assert float(found.v[0] / state.v[0]) == pytest.approx(wanted, **tolerance)
    assert float(found.R[2, 0] / state.R[2, 0]) == pytest.approx(wanted, **tolerance)
    assert float(found.Q[0, 0] / state.Q[0, 0]) == pytest.approx(2 * wanted, **tolerance)
    assert float(found.R[0, 0]) == pytest.approx(0.0, abs=1e-16)


@pytest.mark.science
def test_continuation_goes_through_the_collapse():
    """κ = 0.1, four units: as the noise grows the network fades, and then there is none."""
    critical = collapse(0.1)
    assert 0.7 < critical < 0.9
    configuration = Configuration.from_mapping(
        {
            "data_model": {"name": "xor", "dim": 1000, "variance": 0.05},
            "network": {
                "name": "committee",
                "hidden": 4,
                "init": "informed",
                "init_scale": 0.05,
                "seed": 1,
                "dtype": "float64",
            },
            "algorithm": {"learning_rate": RATE, "weight_decay": 0.1},
        }
    )
    below = [0.05, 0.3, 0.55, critical - 0.06, critical - 0.04]
    beyond = [critical + 0.04, 1.2]
    found = gd.follow_fixed_point(configuration, "variance", [*below, *beyond], infinite_dim=True)
    assert set(found["message"].to_numpy().tolist()) == {""}
    assert set(found["stability"].to_numpy().tolist()) == {"stable"}
    pmse, v = found["pmse"].to_numpy(), found["v"].to_numpy()
    count = len(below)
    assert (np.diff(pmse[:count]) > 0).all()
    assert (pmse[:count] < 0.5).all()
    # The zero network outputs 0: pmse exactly ½, every point half an error.
    np.testing.assert_array_equal(pmse[count:], 0.5)
    np.testing.assert_array_equal(v[count:], 0.0)
    np.testing.assert_array_equal(found["Q"].to_numpy()[count:], 0.0)
    np.testing.assert_array_equal(found["classification_error"].to_numpy()[count:], 0.5)
    np.testing.assert_array_equal(found["tie_rate"].to_numpy()[count:], 1.0)
    # Where it ends: v² falls linearly to 0 there.
    square = (v[:count] ** 2).mean(axis=1)
    slope = (square[-1] - square[-2]) / 0.02
    assert critical - 0.04 - square[-1] / slope == pytest.approx(critical, abs=5e-3)
