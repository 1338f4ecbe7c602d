"""Compiled code: functions found in torch code by tracing, numba's cache on disk, CUDA kernels."""

from gmmdyn.compiler.disk_cache import kept_with as kept_with
