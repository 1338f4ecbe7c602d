"""Shared fixtures; torch's global state is the same after each test as before it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from threadpoolctl import threadpool_limits

# Threads that wait for each other in small products cost more than they save, the more so beside
# other test processes.
torch.set_num_threads(1)
threadpool_limits(1)

REFERENCE = Path(__file__).parent / "reference"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip tests of GPUs where there is none."""
    if not torch.cuda.is_available():
        for item in items:
            if "gpu" in item.keywords:
                item.add_marker(pytest.mark.skip(reason="there is no GPU"))


@pytest.fixture(autouse=True)
def torch_state_is_left_alone():
    before = torch.get_default_dtype(), torch.get_num_threads(), torch.is_grad_enabled()
    generator = torch.random.get_rng_state()
    yield
    assert before == (torch.get_default_dtype(), torch.get_num_threads(), torch.is_grad_enabled())
    assert torch.equal(generator, torch.random.get_rng_state()), "global random state was used"


@pytest.fixture
def reference():
    """Load an array file made by running the 2021 code (tests/reference/README.md)."""

    def load(name: str) -> dict[str, np.ndarray]:
        with np.load(REFERENCE / name, allow_pickle=False) as arrays:
            return dict(arrays)

    return load


@pytest.fixture
def pretended_device(monkeypatch):
    """Let numba compile for compute capability 9.0, where its toolkit is there."""
    from numba.cuda import dispatcher
    from numba.cuda.cudadrv import nvvm

    if not nvvm.is_available():
        pytest.skip("no CUDA toolkit")

    class Device:
        compute_capability = (9, 0)

    monkeypatch.setattr(dispatcher, "get_current_device", lambda: Device)
