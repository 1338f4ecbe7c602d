r"""Lines through the space of local fields, in the directions where errors begin.

Legend: N clusters of all states; z = s u + B xi standard normal, u a unit vector, B (K, K - 1)
across it, L the root of the covariance. The fields on a line are

    lam(s) = m + shiftᵀ xi + s pace,    pace = L u,    shift = (L B)ᵀ.

The columns of B are in the order of the variance that they give to fields, since the first
coordinates of Sobol points are the best ones.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from gmmdyn.gaussian import SLACK, covariance_factor
from gmmdyn.interfaces import Activation, Fields
from gmmdyn_integrators._lines import across, generic_direction
from gmmdyn_integrators._outputs import Head, leads

# B changes in steps of this, so that it is constant in small neighbourhoods: a derivative with
# respect to the state needs none of B, which does not exist where eigenvalues are equal.
_STEP = 2.0**-12
# Of the correlations of fields, where they are inverted for a direction.
_RIDGE = 1e-3
# A direction is better than the mean gradient if a change of sign is so much more probable.
_NEARER = 10.0


class Bundle(NamedTuple):
    """Networks along lines through the local fields of N clusters.

    Attributes:
        mean: of the fields, shape `(N, K)`.
        shift: by how much a point across the lines moves the fields, shape `(N, K - 1, K)`.
        pace: the fields' change along the lines, shape `(N, K)`.
        readout: shape `(N, K, O)`.
        labels: shape `(N, O)`.
        activation: of the units.
    """

    mean: Tensor
    shift: Tensor
    pace: Tensor
    readout: Tensor
    labels: Tensor
    activation: Activation

    def of(self, rows: Tensor) -> Bundle:
        """Return those of some clusters."""
        return Bundle(
            self.mean[rows],
            self.shift[rows],
            self.pace[rows],
            self.readout[rows],
            self.labels[rows],
            self.activation,
        )

    def start(self, points: Tensor) -> Tensor:
        """Return the fields at s = 0, shape `(N, S, K)`."""
        return self.mean.unsqueeze(-2) + points @ self.shift


# From a bundle and points `(S, K - 1)` to the probabilities of an error and of a tie on each line,
# `(N, S)` each; a tie of n outputs is 1 - 1/n of an error, and one of a single output with 0 half.
Rule = Callable[[Bundle, Tensor], tuple[Tensor, Tensor]]


class Space(NamedTuple):
    """The local fields of N clusters, and the networks on top of them; shapes as in `Bundle`.

    Attributes:
        mean: m.
        factor: L, shape `(N, K, K)`.
        readout: v.
        labels: y.
        activation: of the units.
    """

    mean: Tensor
    factor: Tensor
    readout: Tensor
    labels: Tensor
    activation: Activation

    @classmethod
    def of(cls, fields: Fields) -> Space:
        """Return that of fields, all clusters of all states one after the other."""
        shape, head = fields.mean.shape, Head.of(fields)
        hidden, outputs = shape[-1], head.labels.shape[-1]
        factor = covariance_factor(fields.covariance, SLACK).expand(*shape, hidden)
        return cls(
            fields.mean.reshape(-1, hidden),
            factor.reshape(-1, hidden, hidden),
            head.readout.expand(*shape, outputs).reshape(-1, hidden, outputs),
            head.labels.expand(*shape[:-1], outputs).reshape(-1, outputs),
            fields.activation,
        )

    def along(self, direction: Tensor, scale: Tensor) -> Bundle:
        """Lay lines.

        Args:
            direction: unit vectors u, shape `(N, K)`.
            scale: how much each unit's field counts in the order of the columns of B, `(N, K)`.

        Returns:
            The lines.
        """
        hidden = direction.shape[-1]
        eye = torch.eye(hidden - 1, dtype=direction.dtype, device=direction.device)
        shift = across(direction, eye) @ self.factor
        if hidden > 2:
            with torch.no_grad():
                weighted = shift * scale.unsqueeze(-2)
                spread = weighted @ weighted.mT
                size = spread.diagonal(dim1=-2, dim2=-1).sum(-1).clamp_min(1e-300)
                coarse = (spread / size[:, None, None] / _STEP).round()
                order = torch.linalg.eigh(coarse).eigenvectors.flip(-1)
            shift = order.mT @ shift
        pace = (self.factor @ direction.unsqueeze(-1)).squeeze(-1)
        return Bundle(self.mean, shift, pace, self.readout, self.labels, self.activation)


def towards_errors(space: Space, slope: Tensor, rule: Rule) -> Bundle:
    """Lay lines along the mean gradient of the output, where its sign changes once, mostly.

    Of several outputs it is that of the lead of the class. If it seems to do so nowhere near, they
    run along the field of the unit that makes it: ReLU units that are off on average have no mean
    gradient, and may be what leads to errors.

    Args:
        space: the fields and the network.
        slope: E[g'], shape `(N, K)`.
        rule: what is exact along a line.

    Returns:
        The lines.
    """
    (count, hidden), several = space.mean.shape, space.labels.shape[-1] > 1
    ahead = leads(space.readout, space.labels.unsqueeze(-2)) if several else space.readout
    if several:  # of the class before the mean of the others, and before each of them
        ahead = torch.cat([ahead.mean(-1, keepdim=True), ahead], -1)
    gradient = space.factor @ (ahead * slope.unsqueeze(-1))
    # Columns of the factor are the directions in which a unit's field moves.
    found = torch.cat([gradient, space.factor], -1).mT  # (N, 1 + K or O + K, K)
    directions = _normalised(found, space.readout.flatten(1).norm(dim=-1)[:, None, None])
    chosen = torch.zeros(count, dtype=torch.long, device=directions.device)
    if hidden > 1:
        with torch.no_grad():
            chosen = _nearest(space, directions, rule)
    along = directions[torch.arange(count, device=directions.device), chosen]
    return space.along(along, space.readout.abs().sum(-1))


def towards_ties(space: Space, quiet: tuple[float, float]) -> Bundle:
    """Lay lines towards the nearest place where all units are silent, more or less.

    Args:
        space: the fields and the network.
        quiet: the interval on which g is 0.

    Returns:
        The lines.
    """
    hidden = space.mean.shape[-1]
    variance = space.factor.square().sum(-1)
    deviation = torch.where(variance > 0, variance, torch.ones_like(variance)).sqrt()
    root = space.factor / deviation.unsqueeze(-1)  # of the correlations
    correlations = root @ root.mT
    eye = torch.eye(hidden, dtype=variance.dtype, device=variance.device)
    heard = (space.readout != 0).any(-1)
    loud = torch.zeros_like(heard)
    end, force, fields = space.mean, torch.zeros_like(variance), space.mean
    for _ in range(hidden):
        # Units that are loud there are put to the end of the interval that they are beyond.
        beyond = (fields - fields.clamp(*quiet)).abs() > 1e-9 * deviation
        new = beyond & heard & ~loud
        if not bool(new.any()):
            break
        end = torch.where(new, fields.clamp(*quiet), end)
        loud = loud | new
        on = loud.to(variance)
        system = correlations * on.unsqueeze(-1) * on.unsqueeze(-2)
        # A little more on the diagonal, as correlations may be singular.
        system = system + eye * (1 + _RIDGE - on).unsqueeze(-1)
        force = torch.linalg.solve(system, on * (end - space.mean) / deviation)
        fields = space.mean + deviation * (correlations @ force.unsqueeze(-1)).squeeze(-1)
    found = (root.mT @ force.unsqueeze(-1)).squeeze(-1)
    direction = _normalised(found, torch.ones_like(found[:, :1]))
    return space.along(direction, 1 / deviation.detach())


def _normalised(vectors: Tensor, scale: Tensor) -> Tensor:
    """Return unit vectors `(..., K)`, a fixed one in place of those that are 0 on a scale."""
    length = vectors.norm(dim=-1, keepdim=True)
    fixed = generic_direction(vectors.shape[-1]).to(vectors)
    return torch.where(length <= 1e-9 * scale, fixed, vectors / length.clamp_min(1e-300))


def _nearest(space: Space, directions: Tensor, rule: Rule) -> Tensor:
    """Choose among directions `(N, n, K)` by the lines through the means; shape `(N,)`."""
    count, number, hidden = directions.shape

    def each(part: Tensor) -> Tensor:
        return part.repeat_interleave(number, 0)

    none = space.mean.new_zeros(count * number, hidden - 1, hidden)
    pace = (directions @ space.factor).flatten(0, 1)
    lines = Bundle(
        each(space.mean), none, pace, each(space.readout), each(space.labels), space.activation
    )
    failed, _ = rule(lines, space.mean.new_zeros(1, hidden - 1))
    wrong = failed.reshape(count, number)
    rarer = torch.minimum(wrong, 1 - wrong)
    best, index = rarer.max(-1)
    return torch.where(best > _NEARER * rarer[:, 0], index, torch.zeros_like(index))
