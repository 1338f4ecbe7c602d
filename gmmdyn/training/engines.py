"""Which engines there are, and which one suits an experiment.

The built-in ones are registered here, by the door that any other takes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from gmmdyn import checks, registry
from gmmdyn.algorithm import OnlineSGD
from gmmdyn.errors import ArgumentError, IncompatibleError
from gmmdyn.interfaces import DataModel, Engine, Network
from gmmdyn.registry.hookspecs import hookimpl
from gmmdyn.training.chain.engine import ChainEngine
from gmmdyn.training.dense import DenseEngine
from gmmdyn.training.features import FeatureEngine
from gmmdyn.training.plain import PlainEngine

# The name of an engine, or what builds one of a data model, a network and an algorithm.
EngineLike = str | Callable[..., Engine]


@hookimpl
def gmmdyn_engines() -> dict[str, type[Engine]]:
    """Register the engines."""
    return {cls.name: cls for cls in (ChainEngine, DenseEngine, FeatureEngine, PlainEngine)}


def automatic() -> list[type[Engine]]:
    """Return the registered engines that `"auto"` asks, in their order."""
    classes = [registry.get("engine", name) for name in registry.available("engine")]
    return sorted((cls for cls in classes if cls.order is not None), key=lambda cls: cls.order)


def check_engine(engine: Any) -> None:
    """Refuse what is neither the name of an engine nor builds one.

    Args:
        engine: as of `Experiment.simulate`.

    Raises:
        UnknownComponentError: if there is no engine of that name.
        ArgumentError: if it is neither a name nor a class nor another object that can be called.
    """
    if isinstance(engine, Engine):
        raise ArgumentError(
            f"`engine` is a {type(engine).__name__} that is built already, of an experiment of its "
            "own; give its class, or functools.partial of it with its options."
        )
    if isinstance(engine, str):
        if engine != "auto":
            registry.get("engine", engine)
    elif not callable(engine) or (isinstance(engine, type) and not issubclass(engine, Engine)):
        raise ArgumentError(
            f"`engine` is {engine!r}; give `auto`, a registered name, a class derived from "
            "gmmdyn.Engine, or an object that builds one."
        )


def build_engine(
    engine: EngineLike,
    data_model: DataModel,
    network: Network,
    algorithm: OnlineSGD,
    *,
    replicas: int,
    seed: int,
    block_size: int | None,
) -> Engine:
    """Build the engine that is asked for, or the first that describes the experiment.

    Args:
        engine: its name, its class or another object that builds it; or `"auto"`.
        data_model: where samples come from.
        network: at its initial weights.
        algorithm: how it learns.
        replicas: how many independent runs, at least 1.
        seed: of the samples, not negative.
        block_size: updates in a block, at least 1, or None for the engine's own choice.

    Returns:
        The engine.

    Raises:
        UnknownComponentError: if there is no engine of that name.
        ArgumentError: if `engine` is no engine.
        RangeError: if a number is out of range.
        IncompatibleError: if it does not describe the experiment; the message says why.
    """
    check_engine(engine)
    parts = data_model, network, algorithm
    settings = {
        "replicas": checks.whole("replicas", replicas),
        "seed": checks.whole("seed", seed, at_least=0),
        "block_size": None if block_size is None else checks.whole("block_size", block_size),
    }
    asked: list[Callable[..., Engine]] = [*automatic()]
    if engine != "auto":
        asked = [registry.get("engine", engine) if isinstance(engine, str) else engine]
    reasons = []
    for build in asked:
        built = None
        # Of another object what it builds is asked.
        cls = build if isinstance(build, type) else type(built := build(*parts, **settings))
        if not issubclass(cls, Engine):
            raise ArgumentError(f"`engine` builds an object of {cls.__name__}, which is no Engine.")
        reason = cls.obstacle(*parts)
        if reason is None:
            return built or build(*parts, **settings)
        reasons.append(f"the {cls.name} engine {reason}")
    raise IncompatibleError("; ".join(reasons) + ".")


def name_of(engine: Engine) -> str:
    """Return the registered name of an engine, or its class if it has none."""
    name, cls = engine.name, type(engine)
    if name in registry.available("engine") and registry.get("engine", name) is cls:
        return name
    return f"{cls.__module__}.{cls.__qualname__}"
