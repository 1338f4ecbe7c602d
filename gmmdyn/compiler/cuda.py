"""Kernels that numba compiles for CUDA, launched on torch's tensors."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from contextlib import nullcontext
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

# Threads in a block: few, so that some thousand threads are spread over the whole device.
_BLOCK = 64


def simulated() -> bool:
    """Return whether numba runs kernels in its simulator, on the CPU (NUMBA_ENABLE_CUDASIM)."""
    from numba.core import config

    return bool(getattr(config, "ENABLE_CUDASIM", False))


@lru_cache(maxsize=1)
def obstacle() -> str | None:
    """Say what keeps numba from running kernels on CUDA devices.

    Toolkit, driver and numba must fit together, which only a kernel shows that has run.

    Returns:
        What is wrong, or None if nothing is.
    """
    try:
        if not _numba_cuda().is_available():
            return "numba finds no CUDA toolkit"
        probe = torch.zeros(1, dtype=torch.float64, device="cuda")
        launch(compiled(_probe, "void(float64[::1])"), 1, probe)
        return None if float(probe[0]) == 1 else "a kernel compiled by numba did nothing"
    except Exception as error:  # numba, its bindings, the driver: each has errors of its own
        return " ".join(f"{type(error).__name__}: {error}".split())


def usable(device: torch.device) -> bool:
    """Return whether kernels can run on a device; warn, once, if it is a GPU and they cannot.

    Args:
        device: where the tensors are.

    Returns:
        False for any device that is not CUDA's.
    """
    return device.type == "cuda" and not _complaint()


@lru_cache(maxsize=1)
def _complaint() -> bool:
    """Warn if kernels cannot run; once, as the answer is kept."""
    reason = obstacle()
    if reason is not None:
        warnings.warn(
            f"numba cannot compile for this GPU ({reason}), so what has kernels of its own does "
            "without them and takes longer than it need; install `gmmdyn[cuda13]`, or "
            "`gmmdyn[cuda12]`, as the driver has it.",
            stacklevel=2,
        )
    return reason is not None


def compiled(kernel: Callable[..., None], signature: Any) -> Any:
    """Compile a kernel for torch's present device.

    Args:
        kernel: a function of numbers and arrays.
        signature: its types, as numba has them; arrays are C-contiguous.

    Returns:
        What `launch` takes.

    Raises:
        Exception: numba's own errors, if CUDA has not what the function uses.
    """
    cuda = _numba_cuda()
    # torch's present device, in which each process of several has its own.
    present: Any = nullcontext()
    if torch.cuda.is_available() and not simulated():
        present = cuda.gpus[torch.cuda.current_device()]
    with present:
        return cuda.jit(signature)(kernel)


def launch(kernel: Any, threads: int, *arguments: int | float | Tensor) -> None:
    """Run a kernel on the device of its tensors, in torch's current stream.

    It returns at once; what torch does next with the tensors waits for it.

    Args:
        kernel: from `compiled`, whose threads leave if their number is too high.
        threads: how many are needed.
        arguments: numbers, and contiguous tensors of one device, in the order of the kernel's. An
            empty tensor becomes one zero, since CUDA has no empty arrays.
    """
    cuda = _numba_cuda()
    tensors = [value for value in arguments if isinstance(value, Tensor)]
    shape = -(-threads // _BLOCK), _BLOCK
    if simulated():
        kernel[shape](*(_filled(v).numpy() if isinstance(v, Tensor) else v for v in arguments))
        return
    device = tensors[0].device
    with torch.cuda.device(device), cuda.gpus[torch.cuda.current_device()]:
        pointer = torch.cuda.current_stream().cuda_stream
        stream = cuda.external_stream(pointer) if pointer else 0
        views = [cuda.as_cuda_array(_filled(v)) if isinstance(v, Tensor) else v for v in arguments]
        kernel[(*shape, stream)](*views)


def _numba_cuda() -> Any:
    from numba import cuda

    return cuda


def _filled(tensor: Tensor) -> Tensor:
    """Return a tensor without gradients, or one zero in the place of an empty one."""
    return tensor.detach() if tensor.numel() else tensor.new_zeros([1] * tensor.ndim)


def _probe(array: Any) -> None:
    array[0] = 1.0
