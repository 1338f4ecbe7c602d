"""The learning algorithm: losses, schedules, and what makes it more than plain SGD."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import gmmdyn as gd
from gmmdyn.errors import GmmdynError
from gmmdyn.losses import LOSSES


@pytest.mark.parametrize("name", sorted(LOSSES))
@pytest.mark.parametrize("label", [-1.0, 1.0])
def test_signal_and_curvature_are_the_slopes_of_the_loss(name, label):
    loss = LOSSES[name]
    output = torch.linspace(-30, 30, 41, dtype=torch.float64, requires_grad=True)
    y = torch.full_like(output, label)
    (first,) = torch.autograd.grad(loss.value(output, y).sum(), output, create_graph=True)
    (second,) = torch.autograd.grad(first.sum(), output)
    torch.testing.assert_close(loss.signal(output, y), -first)
    torch.testing.assert_close(loss.curvature(output, y), second)


def test_the_losses_by_hand():
    output, label = torch.tensor([0.5, -2.0]), torch.tensor([1.0, 1.0])
    torch.testing.assert_close(LOSSES["square"].value(output, label), torch.tensor([0.125, 4.5]))
    expected = torch.log1p(torch.exp(-output))
    torch.testing.assert_close(LOSSES["logistic"].value(output, label), expected)


def test_a_schedule_is_linear_between_its_times_and_constant_beyond():
    schedule = gd.Schedule([1, 3], [0.4, 0.2])
    np.testing.assert_allclose(schedule(np.array([0, 1, 2, 3, 9])), [0.4, 0.4, 0.3, 0.2, 0.2])
    algorithm = gd.OnlineSGD({"times": [1, 3], "rates": [0.4, 0.2]})
    assert algorithm.learning_rate == schedule
    assert algorithm.rate(2.0) == pytest.approx(0.3)
    assert gd.OnlineSGD(0.1).rate(np.zeros((2, 3))).tolist() == [[0.1] * 3] * 2


@pytest.mark.parametrize(
    ("times", "rates"),
    [([0, 1], [1]), ([], []), ([1, 1], [1, 2]), ([0, 1], [1, -1]), ([0], [0]), (["a"], [1])],
)
def test_bad_schedules_are_refused(times, rates):
    with pytest.raises(GmmdynError):
        gd.Schedule(times, rates)


def test_variations_name_what_is_not_plain():
    assert gd.OnlineSGD(0.1, 0.3, False).variations == frozenset()
    full = gd.OnlineSGD(gd.Schedule([0], [1]), loss="logistic", batch_size=2, label_noise=0.1)
    assert full.variations == {"schedule", "loss", "batch_size", "label_noise"}
