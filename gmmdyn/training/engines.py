"""Which engines there are, and which one suits an experiment."""

from __future__ import annotations

from typing import Any

from gmmdyn import checks
from gmmdyn.algorithm import OnlineSGD
from gmmdyn.errors import IncompatibleError
from gmmdyn.interfaces import DataModel, Network
from gmmdyn.training.chain.engine import ChainEngine
from gmmdyn.training.dense import DenseEngine
from gmmdyn.training.engine import Engine
from gmmdyn.training.features import FeatureEngine

# In the order in which `"auto"` asks them.
ENGINES: tuple[type[Any], ...] = (ChainEngine, DenseEngine, FeatureEngine)


def build_engine(
    name: str,
    data_model: DataModel,
    network: Network,
    algorithm: OnlineSGD,
    *,
    replicas: int,
    seed: int,
    block_size: int | None,
) -> Engine:
    """Build the engine of a name, or the first that describes the experiment.

    Args:
        name: of an engine, or `"auto"`.
        data_model: where samples come from.
        network: at its initial weights.
        algorithm: how it learns.
        replicas: how many independent runs, at least 1.
        seed: of the samples, not negative.
        block_size: updates in a block, at least 1, or None for the engine's own choice.

    Returns:
        The engine.

    Raises:
        RangeError: if there is no such engine, or a number is out of range.
        IncompatibleError: if it does not describe the experiment; the message says why.
    """
    checks.choice("engine", name, ("auto", *(cls.name for cls in ENGINES)))
    settings = {
        "replicas": checks.whole("replicas", replicas),
        "seed": checks.whole("seed", seed, at_least=0),
        "block_size": None if block_size is None else checks.whole("block_size", block_size),
    }
    reasons = []
    for cls in ENGINES:
        if name not in ("auto", cls.name):
            continue
        reason = cls.obstacle(data_model, network, algorithm)
        if reason is None:
            built: Engine = cls(data_model, network, algorithm, **settings)
            return built
        reasons.append(f"the {cls.name} engine {reason}")
    raise IncompatibleError("; ".join(reasons) + ".")
