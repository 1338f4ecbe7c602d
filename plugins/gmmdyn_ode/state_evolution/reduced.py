r"""The four degrees of freedom of a symmetric network on the XOR, as in the 2021 code.

With four units on the four means, symmetric under exchange of the axes with a change of sign, R_00,
R_01, R_20 and R_21 fix the rest:

    R_1 = -R_0, R_3 = -R_2, R_02 = -R_21, R_22 = -R_01, R_03 = -R_20, R_23 = -R_00,
    v = (-R_00, R_21, R_02, -R_23),  Q_kl = R_0k R_0l + R_2k R_2l

The last line leaves out the part of the weights across the means, which SGD noise keeps up, and the
difference between |w| and |v| that it makes: a root of these is no fixed point of the full
equations, and its pmse is a little too low.
"""

from __future__ import annotations

from typing import final

import numpy as np
import torch

from gmmdyn import OrderParameters
from gmmdyn.errors import IncompatibleError
from gmmdyn.interfaces import GaussianMixture
from gmmdyn_ode.coordinates import Coordinates


@final
class ReducedXOR(Coordinates):
    """R_00, R_01, R_20 and R_21.

    Args:
        mixture: an XOR of equal priors.
        like: a state of the same shapes: four units, no bias.

    Raises:
        IncompatibleError: if it is another mixture or network.
    """

    def __init__(self, mixture: GaussianMixture, like: OrderParameters) -> None:
        t = mixture.mean_overlaps.double().cpu()
        pair = torch.tensor([[1.0, -1.0], [-1.0, 1.0]], dtype=torch.float64)
        xor = (
            t.shape == (4, 4)
            and torch.allclose(t, t[0, 0] * torch.kron(torch.eye(2, dtype=torch.float64), pair))
            and mixture.labels.tolist() == [-1, -1, 1, 1]
            and torch.allclose(mixture.priors, torch.full_like(mixture.priors, 0.25))
        )
        if not xor or like.v.shape[-1] != 4 or like.b is not None:
            raise IncompatibleError(
                "the reduced form describes four units without bias on the XOR mixture with equal "
                "priors; drop `reduced`."
            )

    def flat(self, state: OrderParameters) -> np.ndarray:
        """Return the four numbers, with units in the order of the means e1, e2, -e1, -e2."""
        r = state.R.numpy()
        nearest = r.argmax(0)
        if sorted(nearest) == [0, 1, 2, 3]:
            r = r[:, np.argsort(nearest)[[0, 2, 1, 3]]]
        return _four(r)

    def state(self, x: np.ndarray) -> OrderParameters:
        """Return what they fix."""
        r00, r01, r20, r21 = x
        first = np.array([r00, r01, -r21, -r20])
        second = np.array([r20, r21, -r01, -r00])
        return OrderParameters(
            Q=torch.from_numpy(np.outer(first, first) + np.outer(second, second)),
            R=torch.from_numpy(np.stack([first, -first, second, -second])),
            v=torch.from_numpy(np.array([-r00, r21, -r21, r00])),
        )

    def averaged(self, rates: OrderParameters) -> OrderParameters:
        """Return what the rates of the four fix; the others are not looked at."""
        return self.state(_four(rates.R.numpy()))

    def rates(self, x: np.ndarray, rates: OrderParameters) -> np.ndarray:
        """Return the rates of the four."""
        return _four(rates.R.numpy())


def _four(r: np.ndarray) -> np.ndarray:
    return np.array(r[[0, 0, 2, 2], [0, 1, 0, 1]])
