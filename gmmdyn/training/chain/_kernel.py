"""The compiled loop over updates of the chain; imported when first needed (numba is heavy)."""

# mypy: disable-error-code="no-untyped-def,no-untyped-call,untyped-decorator"
# ruff: noqa: ANN001, ANN202

from __future__ import annotations

from typing import Any

import numpy as np
from numba import float64, int64, njit, types, void
from numba.extending import register_jitable

from gmmdyn.compiler._calls import borrowed
from gmmdyn.training.chain._update import runner
from gmmdyn.training.disk_cache import kept_while_unchanged
from gmmdyn.training.rule._sgd import respond_by_address

_vector, _rows = float64[::1], float64[:, ::1]
_tuple: Any = types.Tuple
_noise = _tuple((_vector, _vector, _rows, _vector, _vector))
_mixture = _tuple((_rows, _rows, _vector, float64))
_state = _tuple((_rows, _rows, _rows, _vector))
_numbers = _tuple((float64, float64, types.boolean))
_addresses = _tuple((int64, int64, int64))


_run = runner(respond_by_address)


@register_jitable
def _move(addresses, noise, sizes, mixture, numbers, state, work):
    mixture, state, work = borrowed(mixture), borrowed(state), borrowed(work)
    _run(addresses, borrowed(noise), sizes, mixture, numbers, state, work)


# Sums may be reordered (that lets them use vector instructions), but infinities are respected.
@njit(
    [void(_noise, _mixture, _state, _numbers, _addresses)],
    cache=True,
    nogil=True,
    error_model="numpy",
    fastmath={"reassoc", "contract", "nsz"},
)
@kept_while_unchanged
def advance(noise, mixture, state, numbers, addresses):
    """Move the state of one replica, in place, over updates in order.

    Args:
        noise: for each of B updates the learning rate over D, shape `(B,)`; a uniform number that
            chooses the cluster, `(B,)`; p's noise and xi, standard normal, `(B, r + s)`; chi,
            `(B,)`, or empty if D = r + s; a uniform number that chooses whether the label is the
            wrong one, `(B,)`, or empty.
        mixture: means in their basis, `(C, r)`; labels `(C, O)`; cumulative priors `(C,)`; sigma.
        state: span `(r, K)`, rest `(s, K)`, readout `(O, K)`, bias `(K,)` or empty.
        numbers: weight decay, probability of a wrong label, whether the readout learns.
        addresses: of the activation, its derivative, and the error signal.
    """
    span, rest, readout, bias = state
    inside, hidden = span.shape
    outside, count = len(rest), len(readout)
    sizes = (
        len(noise[0]),
        inside,
        outside,
        len(mixture[2]),
        hidden,
        count,
        len(bias) > 0,
        len(noise[3]) > 0,
        len(noise[4]) > 0,
    )
    sample = (
        np.empty(hidden),
        np.empty(count),
        np.empty(hidden),
        np.empty(count),
        np.empty(count),
        np.empty(hidden),
        np.empty((count, hidden)),
    )
    work = (
        np.empty(inside),
        np.empty(hidden),
        np.empty((outside, hidden)),
        np.empty(hidden),
        sample,
    )
    _move(addresses, noise, sizes, mixture, numbers, state, work)
