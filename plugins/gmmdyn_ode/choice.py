"""Which integrator the theory takes when none is named, and why."""

from __future__ import annotations

from gmmdyn import Loss
from gmmdyn import integrator as build_integrator
from gmmdyn.interfaces import Activation, Integrator

# Best first: the first one that describes the network is taken.
_REASONS = {
    "closed-form": "all moments of the activation are closed forms",
    "preintegrated": "the activation is piecewise linear and the loss is the square one: exact for "
    "pairs of units, and smooth in the state",
    "gauss-hermite": "there are at most two units, of a smooth activation",
    "sobol": "no more accurate integrator describes the activation, the loss and the units",
}
# A tensor rule for three units takes more points than a sequence needs.
_FEW = 2


def choose(activation: Activation, loss: Loss, hidden: int) -> tuple[Integrator, str]:
    """Choose an integrator.

    Args:
        activation: of the hidden units.
        loss: what is minimised.
        hidden: the number of hidden units `K`.

    Returns:
        The integrator, not yet prepared, and why.
    """
    for name, reason in _REASONS.items():
        if name == "gauss-hermite" and hidden > _FEW:
            continue
        integrator = build_integrator(name)
        if integrator.obstacle(activation, loss, hidden) is None:
            return integrator, reason
    raise AssertionError("the last integrator describes every network")
