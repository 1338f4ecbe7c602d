"""Losses against automatic differentiation, and what labels they take."""

from __future__ import annotations

import math

import pytest
import torch

import gmmdyn as gd
from gmmdyn import registry
from gmmdyn.interfaces.labels import classes_of, outputs_of

CROSS_ENTROPY = gd.loss("cross-entropy")


def problem(name, seed=0):
    generator = torch.Generator().manual_seed(seed)
    outputs = 3 * torch.randn(5, 4, generator=generator, dtype=torch.float64)
    labels = torch.rand(5, 4, generator=generator, dtype=torch.float64)
    if name == "logistic":
        labels = (labels > 0.5) * 2.0 - 1
    return outputs, labels / labels.sum(-1, keepdim=True) if name == "cross-entropy" else labels


@pytest.mark.parametrize("name", registry.available("loss"))
def test_signal_and_curvature_are_derivatives_of_the_value(name):
    loss, (outputs, labels) = gd.loss(name), problem(name)
    signal, curvature = loss.signal(outputs, labels), loss.curvature(outputs, labels)
    assert loss.total(outputs, labels).shape == (5,)
    assert loss.value(outputs, labels).shape == ((5,) if loss.joint else (5, 4))
    for row in range(5):

        def total(output, label=labels[row]):
            return loss.total(output, label)

        slope = torch.autograd.functional.jacobian(total, outputs[row])
        torch.testing.assert_close(signal[row], -slope)
        bend = torch.autograd.functional.hessian(total, outputs[row])
        found = curvature[row] if loss.joint else torch.diag(curvature[row])
        torch.testing.assert_close(found, bend)
        product = loss.curvature_product(outputs[row], labels[row], outputs)
        torch.testing.assert_close(product, outputs @ bend)


def test_the_cross_entropy_is_that_of_torch():
    outputs, labels = problem("cross-entropy")
    wanted = torch.nn.functional.cross_entropy(outputs, labels, reduction="none")
    torch.testing.assert_close(CROSS_ENTROPY.value(outputs, labels), wanted)


@pytest.mark.parametrize("size", [1e3, 1e8, 1e300])
def test_the_cross_entropy_of_huge_outputs_is_finite(size):
    outputs = torch.tensor([[size, 0.0, -size], [-size, size, size]], dtype=torch.float64)
    labels = torch.tensor([[1.0, 0, 0], [1.0, 0, 0]], dtype=torch.float64)
    value = CROSS_ENTROPY.value(outputs, labels)
    wanted = torch.tensor([0.0, 2 * size + math.log(2)], dtype=torch.float64)
    torch.testing.assert_close(value, wanted)
    wanted = torch.tensor([[0.0, 0, 0], [1, -0.5, -0.5]]).double()
    torch.testing.assert_close(CROSS_ENTROPY.signal(outputs, labels), wanted)
    bend = torch.zeros(2, 3, 3, dtype=torch.float64)
    bend[1, 1:, 1:] = torch.tensor([[0.25, -0.25], [-0.25, 0.25]])
    torch.testing.assert_close(CROSS_ENTROPY.curvature(outputs, labels), bend)


def test_two_opposite_outputs_have_the_logistic_loss_of_their_difference():
    phi = torch.linspace(-4, 4, 9, dtype=torch.float64)
    both = torch.stack([phi, -phi], -1)
    wanted = gd.loss("logistic").value(2 * phi, torch.ones(9, dtype=torch.float64))
    found = CROSS_ENTROPY.value(both, torch.tensor([1.0, 0.0], dtype=torch.float64))
    torch.testing.assert_close(found, wanted)


def test_each_loss_says_which_labels_it_takes():
    signs, hot = torch.tensor([1.0, -1.0, 1.0]), torch.eye(3)
    assert all(gd.loss("square").obstacle(labels) is None for labels in (signs, hot, hot - 2))
    assert gd.loss("logistic").obstacle(signs) is None
    assert CROSS_ENTROPY.obstacle(hot) is None
    assert CROSS_ENTROPY.obstacle(torch.full((2, 3), 1 / 3)) is None
    assert "take `cross-entropy`" in gd.loss("logistic").obstacle(hot)
    assert "-1 and +1" in gd.loss("logistic").obstacle(torch.tensor([0.0, 1.0]))
    for bad in (signs, 2 * hot, hot[:, :1], 1.5 * hot - 0.25):
        assert "give one-hot labels" in CROSS_ENTROPY.obstacle(bad)


def test_labels_are_classes_where_one_entry_stands_out_and_the_others_are_alike():
    signed = torch.tensor([[-1.0, 1.0, -1.0], [1.0, -1.0, -1.0]])
    assert classes_of(torch.eye(4)).tolist() == [0, 1, 2, 3]
    assert classes_of(signed).tolist() == [1, 0]
    assert classes_of(0.1 + 0.7 * torch.eye(3)).tolist() == [0, 1, 2]
    for other in ([[1.0, 1.0, 0.0]], [[3.0, 2.0, 1.0]], [[0.5, 0.5]], [[1.0]]):
        assert classes_of(torch.tensor(other)) is None
    assert classes_of(torch.cat([torch.eye(3), torch.tensor([[3.0, 2.0, 1.0]])])) is None
    assert (outputs_of(signed), outputs_of(signed[:, 0])) == (3, 1)
