"""Probabilities of errors: exact along lines, averaged over as many lines as it takes.

Where all rectifiers are off the output is exactly 0, an event that may be rare and that no change
of sign announces. So ties have lines of their own.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from gmmdyn.interfaces import Fields
from gmmdyn_integrators._bundles import Bundle, Rule, Space, towards_errors, towards_ties
from gmmdyn_integrators._scramblings import FIRST, SETS, Scramblings

# Lines are added until the estimated error is below this share of the rate by default, or this.
RELATIVE, ABSOLUTE = 2e-3, 1e-6
# Lines of a set at most, by default and where a smaller tolerance is asked for.
_MOST, _MOST_ASKED = 2**11, 2**13
# Numbers held at once.
_NUMBERS = 2**22


class Method(NamedTuple):
    """How a kind of units is treated.

    Attributes:
        rule: what is exact along a line.
        fewest: lines of a set, a power of 2 of at least `FIRST`.
        quiet: the interval on which g is 0, or None.
    """

    rule: Rule
    fewest: int = FIRST
    quiet: tuple[float, float] | None = None


class Rates(NamedTuple):
    """Probabilities in each cluster and their estimated errors, each of shape `(..., C)`.

    The names are those of `Errors`; all are None if the labels are no classes.
    """

    classification_error: Tensor | None
    classification_error_se: Tensor | None
    tie_rate: Tensor | None
    tie_rate_se: Tensor | None


def error_rate(
    fields: Fields, slope: Tensor, scramblings: Scramblings, method: Method, tolerance: float
) -> Rates:
    """Return the probabilities of errors and of ties, and their estimated errors.

    Args:
        fields: the distribution of the local fields and the network.
        slope: E[g'], shape `(..., C, K)`; it chooses the direction of the lines and nothing else.
        scramblings: points of `K - 1` dimensions, if `K` is not 1.
        method: for the units of the network.
        tolerance: the largest estimated error as a share of the rate; it need not be below
            `ABSOLUTE`.

    Returns:
        The rates. Their estimated errors are at least `ABSOLUTE`, since less is not looked for,
        unless all lines are one or, of ties, units are silent nowhere.
    """
    if fields.labels.ndim > 1 and fields.classes is None:
        return Rates(None, None, None, None)
    space, shape = Space.of(fields), fields.mean.shape
    rule = method.rule
    lines = towards_errors(space, slope.reshape(-1, shape[-1]), rule)
    if shape[-1] == 1:
        failed, tied = (part[:, 0] for part in rule(lines, space.mean.new_empty(1, 0)))
        none = torch.zeros_like(failed).detach()
        return Rates(*(part.reshape(shape[:-1]) for part in (failed, none, tied, none)))

    counts = method.fewest, _MOST if tolerance >= RELATIVE else _MOST_ASKED

    def room(rate: Tensor) -> Tensor:
        return (tolerance * rate).clamp_min(ABSOLUTE)

    if method.quiet is None:
        rate, error, tie, tie_error = _averages(
            lines, rule, scramblings, counts, lambda rows, rate: room(rate)
        )
    else:
        share = 0.5 if fields.outputs == 1 else 1 - 1 / fields.outputs  # of ties, an error

        def without_ties(*line: Any) -> tuple[Tensor, Tensor]:
            failed, tied = rule(*line)
            return failed - share * tied, tied

        wrong, error, *_ = _averages(
            lines,
            without_ties,
            scramblings,
            counts,
            lambda rows, wrong: room(wrong),
        )
        known = wrong.detach()
        tie, tie_error, *_ = _averages(
            towards_ties(space, method.quiet),
            lambda *line: rule(*line)[::-1],
            scramblings,
            counts,
            lambda rows, tie: room(known[rows] + share * tie) / share,
        )
        rate, error = wrong + share * tie, torch.hypot(error, share * tie_error)
    same = (lines.shift == 0).all(-1).all(-1)
    error = torch.where(same, error, error.clamp_min(ABSOLUTE))
    if method.quiet is not None:
        tie_error = torch.where(same, tie_error, tie_error.clamp_min(ABSOLUTE))
    return Rates(*(part.reshape(shape[:-1]) for part in (rate, error, tie, tie_error)))


def _averages(
    lines: Bundle,
    rule: Rule,
    scramblings: Scramblings,
    counts: tuple[int, int],
    tolerance: Callable[[Tensor, Tensor], Tensor],
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Average two quantities over lines, as many as it takes for the first.

    Args:
        lines: of N clusters.
        rule: the quantities on each line.
        scramblings: points across the lines.
        counts: lines of a set at least and at most.
        tolerance: of the estimated error, from the indices of some clusters and the first quantity.

    Returns:
        The mean of each and its estimated error, `(N,)` each.
    """
    count = len(lines.mean)
    sums = [lines.mean.new_zeros(SETS, count) for _ in range(2)]
    weight = lines.mean.new_zeros(SETS, count)
    left = torch.arange(count, device=weight.device)
    done = 0
    while len(left) and done < counts[1]:
        points, weights = scramblings.block(done, lines.mean)
        part = lines if len(left) == count else lines.of(left)
        found = _added(part, points, weights, rule)
        sums = [total.index_add(1, left, new) for total, new in zip(sums, found, strict=True)]
        weight[:, left] += weights.sum(1, keepdim=True)
        done = 2 * done or FIRST
        if done >= counts[0]:
            mean, error = _summary(sums[0].detach()[:, left], weight[:, left])
            left = left[error > tolerance(left, mean)]
    return *_summary(sums[0], weight), *_summary(sums[1], weight)


def _summary(sums: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """Return the mean over sets, and its standard error; from weighted sums `(SETS, N)`."""
    sets = sums / weight
    return sets.mean(0), sets.detach().std(0) / math.sqrt(SETS)


def _added(lines: Bundle, points: Tensor, weights: Tensor, rule: Rule) -> list[Tensor]:
    """Return weighted sums over the lines of each set, shape `(SETS, N)`."""
    count, hidden = lines.mean.shape
    numbers = SETS * count * hidden * (hidden + 1) * lines.labels.shape[-1]
    step = max(1, _NUMBERS // numbers)
    graph = torch.is_grad_enabled() and any(part.requires_grad for part in lines[:4])
    totals: list[list[Tensor]] = [[], []]
    blocks = (torch.split(part, step, dim=1) for part in (points, weights))
    for some, share in zip(*blocks, strict=True):
        flat = some.flatten(0, 1)
        if graph:  # what the rule holds in between is too much for all lines
            found = checkpoint(rule, lines, flat, use_reentrant=False, preserve_rng_state=False)
        else:
            found = rule(lines, flat)
        for total, each in zip(totals, found, strict=True):
            weighted = each.reshape(count, SETS, -1) * share
            total.append(weighted.sum(-1).mT)
    return [torch.stack(total).sum(0) for total in totals]
