"""Simulation of online SGD with Lightning: the only part of gmmdyn that imports it.

Its names are imported on first use: whoever looks up an engine, or any other component, does not
wait for Lightning.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gmmdyn.interfaces import Engine as Engine
    from gmmdyn.interfaces import Segment as Segment
    from gmmdyn.training.chain.engine import ChainEngine as ChainEngine
    from gmmdyn.training.dense import DenseEngine as DenseEngine
    from gmmdyn.training.distributed import ReplicaStrategy as ReplicaStrategy
    from gmmdyn.training.features import FeatureEngine as FeatureEngine
    from gmmdyn.training.module import BlockSGD as BlockSGD
    from gmmdyn.training.module import OnlineLearning as OnlineLearning
    from gmmdyn.training.plain import PlainEngine as PlainEngine
    from gmmdyn.training.progress import Progress as Progress
    from gmmdyn.training.recorder import Recorder as Recorder
    from gmmdyn.training.simulation import simulate as simulate
    from gmmdyn.training.stream import BlockStream as BlockStream

_HOME = {
    "Engine": "gmmdyn.interfaces",
    "Segment": "gmmdyn.interfaces",
    "ChainEngine": "gmmdyn.training.chain.engine",
    "DenseEngine": "gmmdyn.training.dense",
    "ReplicaStrategy": "gmmdyn.training.distributed",
    "FeatureEngine": "gmmdyn.training.features",
    "BlockSGD": "gmmdyn.training.module",
    "OnlineLearning": "gmmdyn.training.module",
    "PlainEngine": "gmmdyn.training.plain",
    "Progress": "gmmdyn.training.progress",
    "Recorder": "gmmdyn.training.recorder",
    "simulate": "gmmdyn.training.simulation",
    "BlockStream": "gmmdyn.training.stream",
}

__all__ = [*_HOME]


def __getattr__(name: str) -> Any:
    """Import a name from where it lives (PEP 562)."""
    if name not in _HOME:
        raise AttributeError(f"module `gmmdyn.training` has no attribute `{name}`")
    value = getattr(import_module(_HOME[name]), name)
    globals()[name] = value
    return value
