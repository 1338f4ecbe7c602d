"""Which integrator the theory takes when none is named, and why."""

from __future__ import annotations

from typing import NamedTuple, final

import torch

from gmmdyn import Loss
from gmmdyn import integrator as build_integrator
from gmmdyn.errors import IncompatibleError
from gmmdyn.interfaces import Activation, Integrator

# Best first: the first one that describes the network is taken.
_REASONS = {
    "closed-form": "all moments of the activation are closed forms",
    "preintegrated": "the activation is piecewise linear with kinks: what pairs of units determine "
    "is exact, and all moments are smooth in the state",
    "gauss-hermite": "there are at most two units, of a smooth activation",
    "sobol": "no more accurate integrator describes the activation and so many units",
}
# A tensor rule for three units takes more points than a sequence needs.
_FEW = 2


class Selected(NamedTuple):
    """An integrator, and why it was taken."""

    integrator: Integrator
    reason: str


def select(activation: Activation, loss: Loss, hidden: int, outputs: int = 1) -> Selected:
    """Select the best integrator for a network.

    Args:
        activation: of the hidden units.
        loss: what is minimised.
        hidden: the number of hidden units `K`.
        outputs: the number of outputs `O`.

    Returns:
        The integrator, not yet prepared, and why.
    """
    for name, reason in _REASONS.items():
        if name == "gauss-hermite" and hidden > _FEW:
            continue
        if name == "preintegrated" and activation.smooth:  # there are no kinks to cut lines at
            continue
        integrator = build_integrator(name)
        if integrator.refusal(activation, loss, hidden, outputs) is None:
            return Selected(integrator, reason)
    raise AssertionError("the last integrator describes every network")


@final
class Integrators:
    """The integrator that was asked for, or the best one for each kind of network.

    Args:
        integrator: a registered name, an `Integrator`, or `"auto"`.
        device: where to compute.
    """

    def __init__(self, integrator: str | Integrator, device: torch.device) -> None:
        self._asked: Integrator | None = None
        if isinstance(integrator, Integrator):
            self._asked = integrator
        elif integrator != "auto":
            self._asked = build_integrator(integrator)
        self._device = device
        self._selected: dict[tuple[Activation, Loss, int, int], Selected] = {}

    def check(self, activation: Activation, loss: Loss, hidden: int, outputs: int = 1) -> None:
        """Refuse a network that the integrator asked for does not describe.

        Raises:
            IncompatibleError: saying what to take instead.
        """
        if self._asked is None:
            return
        obstacle = self._asked.refusal(activation, loss, hidden, outputs)
        if obstacle is not None:
            raise IncompatibleError(obstacle)

    def prepared(
        self, activation: Activation, loss: Loss, hidden: int, outputs: int = 1
    ) -> Selected:
        """Return the integrator for a network, ready and on the device, and why it was taken."""
        if self._asked is not None:
            found = Selected(self._asked, "it was asked for")
        else:
            network = activation, loss, hidden, outputs
            if network not in self._selected:
                self._selected[network] = select(*network)
            found = self._selected[network]
        found.integrator.to(self._device)
        found.integrator.prepare(hidden)
        return found
