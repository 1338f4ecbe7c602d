"""Checks at the border name the argument."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from gmmdyn import checks
from gmmdyn.errors import NotPositiveError, RangeError, ShapeError
from gmmdyn.gaussian import covariance_factor


@pytest.mark.parametrize("value", ["x", None, float("inf"), float("nan"), True, 0.0, 5.0])
def test_numbers_out_of_range_are_refused(value):
    with pytest.raises(RangeError, match=r"`rate` is .*above 0 and at most 4"):
        checks.number("rate", value, above=0, at_most=4)


@pytest.mark.parametrize("value", [0.5, "x", None, 0, True, float("inf"), float("nan")])
def test_no_whole_numbers_are_refused(value):
    with pytest.raises(RangeError, match="`count` is"):
        checks.whole("count", value)


def test_arrays_are_copied_and_checked():
    given = torch.ones(2, 3)
    made = checks.array("a", given, (None, 3))
    made += 1
    assert float(given.sum()) == 6
    with pytest.raises(ShapeError, match=r"`a` has shape \(2, 3\); give shape \(any, 2\)"):
        checks.array("a", given, (None, 2))
    with pytest.raises(ShapeError, match="no array of numbers"):
        checks.array("a", [[1], [1, 2]], (None, None))
    with pytest.raises(RangeError, match="infinite or not a number"):
        checks.array("a", [1, np.nan], (2,))


def test_priors_must_sum_to_one():
    with pytest.raises(RangeError, match=r"`p` sums to 0\.9"):
        checks.probabilities("p", [0.4, 0.5], 2)
    with pytest.raises(RangeError, match="negative"):
        checks.probabilities("p", [-0.5, 1.5], 2)


def test_covariances_must_be_positive_semi_definite():
    singular = torch.tensor([[1.0, -1.0], [-1.0, 1.0]], dtype=torch.float64)
    assert torch.equal(checks.covariance("c", singular), singular)
    with pytest.raises(NotPositiveError, match="negative eigenvalue -1"):
        checks.covariance("c", torch.tensor([[1.0, 2.0], [2.0, 1.0]]))
    with pytest.raises(NotPositiveError, match="not symmetric"):
        checks.covariance("c", torch.tensor([[1.0, 0.5], [0.0, 1.0]]))
    root = covariance_factor(singular)
    torch.testing.assert_close(root @ root, singular)
    with pytest.raises(NotPositiveError, match="negative eigenvalue"):
        covariance_factor(torch.diag(torch.tensor([1.0, -0.1])))
