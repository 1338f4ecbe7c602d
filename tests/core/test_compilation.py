"""Compiled functions on disk are those of the code that is there."""

from __future__ import annotations

import os
import subprocess
import sys

KERNEL = """
from pathlib import Path
from numba import int64, njit
from gmmdyn.compiler import kept_with
from part import f

kept = kept_with([__file__, Path(__file__).with_name("part.py")])

@njit([int64(int64)], cache=True)
@kept
def g(x):
    return f(x)
"""
PART = """
from numba.extending import register_jitable

@register_jitable
def f(x):
    return x + {}
"""


def test_a_part_that_changes_is_compiled_anew(tmp_path):
    (tmp_path / "kernel.py").write_text(KERNEL)
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path / "cache")}
    program = "from kernel import g; print(g(1), sum(g.stats.cache_hits.values()))"

    def run(added):
        (tmp_path / "part.py").write_text(PART.format(added))
        command = [sys.executable, "-B", "-c", program]
        done = subprocess.run(
            command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True
        )
        return [int(word) for word in done.stdout.split()]

    assert run(1) == [2, 0]
    assert run(1) == [2, 1]  # from the disk
    assert run(100) == [101, 0]
