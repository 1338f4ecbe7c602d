"""How a two-layer network learns: the functions and numbers of the rule, for whoever applies it."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any, NamedTuple

from torch import Tensor

from gmmdyn.algorithm import OnlineSGD
from gmmdyn.algorithm.losses import Loss
from gmmdyn.compiler.scalars import can_compile, compiled_scalar, find_scalars
from gmmdyn.compiler.tracing import UntraceableError
from gmmdyn.interfaces import Activation

# Of outputs `(O,)`, label `(O,)` and the signals to be written, `(O,)`.
ErrorFunction = Callable[[Any, Any, Any], None]
# The activation and its derivative, functions of one float, and the error signal.
Functions = tuple[Callable[[float], float], Callable[[float], float], ErrorFunction]


class ScalarFunctions(NamedTuple):
    """What compiled loops need of an activation.

    Attributes:
        functions: g and g' as functions of one float that numba compiles, on a CPU and on a GPU;
            None if there are none.
        reason: why not, a clause.
    """

    functions: tuple[Callable[[float], float], Callable[[float], float]] | None
    reason: str = ""


def scalar_functions_of(activation: Activation) -> ScalarFunctions:
    """Return an activation's scalar functions: those it offers, or else those found in its code.

    Args:
        activation: any.

    Returns:
        The functions, the same objects for the same code, or why there are none.
    """
    functions = activation.scalar_functions()
    if functions is None:
        try:
            value, slope = find_scalars(
                activation, ("forward", "derivative"), special=activation.kinks
            )
        except UntraceableError as error:
            return ScalarFunctions(None, str(error))
        functions = value, slope
    return ScalarFunctions(functions)


def error_function_of(loss: Loss) -> ErrorFunction:
    """Return the error signal of a loss for compiled loops.

    Args:
        loss: any; without a scalar form of its own, that is found in the code of `signal`, unless
            it is a loss of all outputs together.

    Returns:
        The function, the same object for the same code.

    Raises:
        UntraceableError: if the loss has no form that can be compiled.
    """
    if loss.joint:
        joint = loss.array_signal()
        if joint is None:
            raise UntraceableError("is one of all outputs together and offers no `array_signal`")
        return joint
    signal = loss.scalar_signal()
    if signal is None:
        (signal,) = find_scalars(loss, ("signal",), arguments=2)
    return _elementwise(signal)


@lru_cache(maxsize=128)
def _elementwise(signal: Callable[[float, float], float]) -> ErrorFunction:
    """Make a function of arrays of one of floats."""
    from numba.extending import register_jitable

    scalar = register_jitable(signal)

    def error(outputs: Any, label: Any, signals: Any) -> None:
        for o in range(len(outputs)):
            signals[o] = scalar(outputs[o], label[o])

    return error


def functions_of(activation: Activation, loss: Loss) -> Functions | None:
    """Return what compiled loops and kernels are made of.

    Args:
        activation: any.
        loss: any.

    Returns:
        The functions, or None if there are none.
    """
    functions = scalar_functions_of(activation).functions
    try:
        return None if functions is None else (*functions, error_function_of(loss))
    except UntraceableError:
        return None


@lru_cache(maxsize=128)
def _compiled_error(error: ErrorFunction) -> Any:
    """Compile an error signal to what compiled loops call by its address."""
    import numba
    from numba import cfunc, float64, int64, njit, types, void

    # Without a call of its own, which would hand over all that numba knows of an array.
    inner: Any = njit(inline="always")(error)
    carray: Any = numba.carray  # type: ignore[attr-defined]
    pointer = types.CPointer(float64)  # type: ignore[no-untyped-call]

    def by_pointers(outputs: Any, label: Any, signals: Any, count: int) -> None:
        inner(carray(outputs, (count,)), carray(label, (count,)), carray(signals, (count,)))

    signature = void(pointer, pointer, pointer, int64)
    return cfunc(signature, error_model="numpy")(by_pointers)


class Addresses:
    """The compiled functions of a rule, held as long as their addresses are used.

    Args:
        functions: of the rule.
    """

    def __init__(self, functions: Functions) -> None:
        *scalars, error = functions
        self._compiled = [*map(compiled_scalar, scalars), _compiled_error(error)]
        self.numbers = tuple(function.address for function in self._compiled)


def by_output(readout: Tensor) -> Tensor:
    """Return a readout as the rule holds it: shape `(O, K)` for several outputs, `(K,)` for one.

    Args:
        readout: shape `(K, O)` or `(K,)`.
    """
    return readout.mT.contiguous() if readout.ndim == 2 else readout


class Rule(NamedTuple):
    """SGD on the loss of a two-layer network.

    Attributes:
        activation: g.
        loss: l.
        functions: of compiled loops and kernels; None to do without.
        batch: b.
        weight_decay: kappa.
        bias_decay: that of the bias, kappa unless it is not to decay.
        train_readout: whether the readout learns.
    """

    activation: Activation
    loss: Loss
    functions: Functions | None
    batch: int
    weight_decay: float
    bias_decay: float
    train_readout: bool

    @classmethod
    def of(cls, activation: Activation, algorithm: OnlineSGD, *, compiled: bool) -> Rule:
        """Return the rule of an algorithm.

        Args:
            activation: of the hidden units.
            algorithm: how they learn.
            compiled: whether to look for functions of compiled loops.

        Returns:
            The rule.
        """
        loss, decay = algorithm.loss_function, algorithm.weight_decay
        functions = functions_of(activation, loss) if compiled and can_compile() else None
        learns = algorithm.train_readout
        return cls(activation, loss, functions, algorithm.batch_size, decay, decay, learns)
