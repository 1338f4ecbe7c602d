"""Hooks that a plugin may implement: one for each kind of component.

Each returns a mapping from a name in kebab-case to a class.
"""

from __future__ import annotations

from collections.abc import Mapping

from pluggy import HookimplMarker, HookspecMarker

from gmmdyn.interfaces import Activation, DataModel, Integrator, Network, Theory

hookspec = HookspecMarker("gmmdyn")
hookimpl = HookimplMarker("gmmdyn")


@hookspec
def gmmdyn_activations() -> Mapping[str, type[Activation]]:  # type: ignore[empty-body]
    """Return the activations that this plugin adds, by name."""


@hookspec
def gmmdyn_data_models() -> Mapping[str, type[DataModel]]:  # type: ignore[empty-body]
    """Return the data models that this plugin adds, by name."""


@hookspec
def gmmdyn_networks() -> Mapping[str, type[Network]]:  # type: ignore[empty-body]
    """Return the networks that this plugin adds, by name."""


@hookspec
def gmmdyn_integrators() -> Mapping[str, type[Integrator]]:  # type: ignore[empty-body]
    """Return the integrators that this plugin adds, by name."""


@hookspec
def gmmdyn_theories() -> Mapping[str, type[Theory]]:  # type: ignore[empty-body]
    """Return the theories that this plugin adds, by name."""
