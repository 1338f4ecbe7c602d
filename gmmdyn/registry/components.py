"""Build components by their registered names."""

from __future__ import annotations

from typing import Any

from gmmdyn.interfaces import Activation, DataModel, Integrator, Network, Theory
from gmmdyn.registry.plugins import build


def activation(name: str, **options: Any) -> Activation:
    """Build an activation.

    Args:
        name: a registered name, such as `"relu"`.
        **options: keywords of its class.

    Returns:
        The activation.

    Raises:
        UnknownComponentError: if no plugin registers the name.
        ArgumentError: if a keyword is unknown or missing.
    """
    built: Activation = build("activation", name, options)
    return built


def data_model(name: str, **options: Any) -> DataModel:
    """Build a data model.

    Args:
        name: a registered name, such as `"xor"`.
        **options: keywords of its class.

    Returns:
        The data model.

    Raises:
        UnknownComponentError: if no plugin registers the name.
        ArgumentError: if a keyword is unknown or missing.
    """
    built: DataModel = build("data_model", name, options)
    return built


def network(name: str, **options: Any) -> Network:
    """Build a network at its initial weights.

    Args:
        name: a registered name, such as `"committee"`.
        **options: keywords of its class.

    Returns:
        The network.

    Raises:
        UnknownComponentError: if no plugin registers the name.
        ArgumentError: if a keyword is unknown or missing.
    """
    built: Network = build("network", name, options)
    return built


def integrator(name: str, **options: Any) -> Integrator:
    """Build an integrator.

    Args:
        name: a registered name, such as `"monte-carlo"`.
        **options: keywords of its class.

    Returns:
        The integrator.

    Raises:
        UnknownComponentError: if no plugin registers the name.
        ArgumentError: if a keyword is unknown or missing.
    """
    built: Integrator = build("integrator", name, options)
    return built


def theory(name: str, **options: Any) -> Theory:
    """Build a theory.

    Args:
        name: a registered name, such as `"ode"`.
        **options: keywords of its class.

    Returns:
        The theory.

    Raises:
        UnknownComponentError: if no plugin registers the name.
        ArgumentError: if a keyword is unknown or missing.
    """
    built: Theory = build("theory", name, options)
    return built
