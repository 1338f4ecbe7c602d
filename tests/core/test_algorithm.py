"""The learning algorithm: losses, schedules, and what makes it more than plain SGD."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
import torch

import gmmdyn as gd
from gmmdyn.algorithm.losses import LOSSES
from gmmdyn.errors import ConfigError, GmmdynError


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
    assert gd.OnlineSGD(0.1, 0.3).variations == frozenset()
    full = gd.OnlineSGD(
        gd.Schedule([0], [1]), train_readout=False, loss="logistic", batch_size=2, label_noise=0.1
    )
    names = {"schedule", "loss=logistic", "batch_size", "label_noise", "train_readout"}
    assert full.variations == names
    assert full.undescribed(names) is None
    for name in names:
        assert full.undescribed(names - {name}) is not None, name


@dataclass(frozen=True)
class HeavyBall(gd.OnlineSGD):
    momentum: float = 0.0


class WithAttribute(gd.OnlineSGD):
    momentum = 0.9


class WithMethod(gd.OnlineSGD):
    def rate(self, time):
        return 0.5 * super().rate(time)


class Hidden(HeavyBall):
    variations = frozenset()


class Renamed(gd.OnlineSGD):
    """The same by another name."""


def test_what_a_subclass_adds_is_a_variation_whatever_it_is_and_cannot_be_hidden():
    for cls, name in (
        (HeavyBall, "momentum"),
        (WithAttribute, "momentum"),
        (WithMethod, "rate"),
        (Hidden, "momentum"),
    ):
        reason = cls(0.1).undescribed({"schedule"})
        assert f"`{name}` of {cls.__name__}" in reason
        assert "take OnlineSGD itself" in reason
    assert Renamed(0.1).undescribed(()) is None
    # Who knows what it means declares it, as any other variation.
    assert HeavyBall(0.1).undescribed({"momentum"}) is None
    written = gd.OnlineSGD(0.1)
    object.__setattr__(written, "momentum", 0.9)
    assert written.variations == {"momentum"}


def test_a_subclass_is_not_written_as_plain_sgd(tmp_path):
    mixture = gd.data_model("xor", dim=10)
    network = gd.network("committee", dim=10, hidden=2)
    for cls in (HeavyBall, WithAttribute):
        with pytest.raises(ConfigError, match=f"`algorithm` is a {cls.__name__}"):
            gd.Experiment(mixture, network, cls(0.1)).to_yaml(tmp_path / "experiment.yaml")
