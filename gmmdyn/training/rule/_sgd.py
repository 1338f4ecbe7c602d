r"""The rule of SGD: what one sample asks for, and what an update does to the head.

The one source of it: the loop over weights, the chain and the kernels for CUDA are compiled from
this; the blocked form in torch (`recursion.py`) stands beside it as its check.

Legend, for K hidden units with local fields lambda_k and O outputs: phi_o = sum_k v_ok g(lambda_k);
Delta_o = -dl/dphi_o the error signals of a sample. Its negative gradients are

    gamma_k x/sqrt(D) of the first layer, gamma_k of the bias,   gamma_k = g'(lambda_k) d_k,
    h_ok of the readout, h_ok = Delta_o g(lambda_k),             d_k = sum_o v_ok Delta_o.

An update by b samples at the rate r = eta/D multiplies the first layer and the readout by
1 - r kappa, the bias by 1 - r kappa_b, and adds r sqrt(D)/b sum gamma_k x to the first layer,
r/b sum gamma_k to the bias and r/b sum h_ok to the readout. How the first layer is held (as
weights, as coordinates, as the fields that it makes) is what engines differ in: they move it
themselves.
"""

# mypy: disable-error-code="no-untyped-def,no-untyped-call,untyped-decorator"
# ruff: noqa: ANN001, ANN202

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from numba.extending import register_jitable

from gmmdyn.compiler._calls import call_arrays, call_scalar


def responder(
    value: Callable[..., float], slope: Callable[..., float], error: Callable[..., None]
) -> Any:
    """Return the function of what one sample asks for, callable from compiled code.

    Args:
        value: calls the activation, of handles and a local field.
        slope: calls its derivative, of the same.
        error: calls the error signal, of handles, outputs, label and the signals to be written.

    Returns:
        `respond(handles, sizes, readout, sample)`:

        * `handles` goes to the three functions.
        * `sizes`: K and O.
        * `readout`: shape `(O, K)`.
        * `sample`: local fields `(K,)` and label `(O,)`; written: g `(K,)`, outputs `(O,)`, Delta
          `(O,)`, gamma `(K,)` and h `(O, K)`.
    """

    @register_jitable(inline="always")
    def respond(handles, sizes, readout, sample):
        hidden, count = sizes
        fields, label, activations, outputs, signals, gammas, slopes = sample
        for k in range(hidden):
            activations[k] = value(handles, fields[k])
        for o in range(count):
            total = 0.0
            for k in range(hidden):
                total += readout[o, k] * activations[k]
            outputs[o] = total
        error(handles, outputs, label, signals)
        for k in range(hidden):
            pull = 0.0
            for o in range(count):
                pull += readout[o, k] * signals[o]
            gammas[k] = pull * slope(handles, fields[k])
        for o in range(count):
            for k in range(hidden):
                slopes[o, k] = signals[o] * activations[k]

    return respond


@register_jitable(inline="always")
def move_head(sizes, rate, decays, learns, sums, head):
    """Make the part of an update that the engines have in common.

    Args:
        sizes: K and O.
        rate: eta/(D b).
        decays: what readout and bias are multiplied by.
        learns: whether there is a bias, and whether the readout learns.
        sums: gamma `(K,)` and h `(O, K)`, summed over the samples of the update.
        head: bias `(K,)` and readout `(O, K)`, changed in place.
    """
    hidden, count = sizes
    decay, bias_decay = decays
    biased, train_readout = learns
    gammas, slopes = sums
    bias, readout = head
    if biased:
        for k in range(hidden):
            bias[k] = bias_decay * bias[k] + rate * gammas[k]
    if train_readout:
        for o in range(count):
            for k in range(hidden):
                readout[o, k] = decay * readout[o, k] + rate * slopes[o, k]


@register_jitable
def _value(addresses, field):
    return call_scalar(addresses[0], field)


@register_jitable
def _slope(addresses, field):
    return call_scalar(addresses[1], field)


@register_jitable
def _error(addresses, outputs, label, signals):
    call_arrays(addresses[2], outputs, label, signals)


# Its handles are the addresses of the three functions.
respond_by_address = responder(_value, _slope, _error)


def respond_with(functions: tuple[Callable[..., Any], ...]) -> Any:
    """Return `respond` with functions compiled in, as CUDA needs it; it does not read its handles.

    Args:
        functions: activation, its derivative, and the error signal.
    """
    activation, derivative, signal = (register_jitable(function) for function in functions)

    @register_jitable
    def value(handles, field):
        return activation(field)

    @register_jitable
    def slope(handles, field):
        return derivative(field)

    @register_jitable
    def error(handles, outputs, label, signals):
        signal(outputs, label, signals)

    return responder(value, slope, error)
