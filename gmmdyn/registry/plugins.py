"""Find the components that installed plugins provide.

Entry points of the group `gmmdyn` are the only road, for the plugins shipped with the package as
for any other. They are read on the first call, not on import. Commands have a group of their own
(`gmmdyn.cli.registered`), as the command line lists them before anything heavy is imported.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping
from functools import lru_cache
from importlib.metadata import distributions
from typing import Any, Literal

from gmmdyn import checks, interfaces
from gmmdyn.algorithm import Loss
from gmmdyn.errors import ArgumentError, PluginError, UnknownComponentError
from gmmdyn.registry import hookspecs
from gmmdyn.registry.entry_points import GROUP as GROUP
from gmmdyn.registry.entry_points import Plugin as Plugin
from gmmdyn.registry.entry_points import Registration as Registration
from gmmdyn.registry.entry_points import discover as discover
from gmmdyn.registry.entry_points import registered

Kind = Literal["activation", "data_model", "network", "integrator", "theory", "loss", "engine"]

_HOOKS: Mapping[Kind, tuple[str, type[interfaces.Component]]] = {
    "activation": ("gmmdyn_activations", interfaces.Activation),
    "data_model": ("gmmdyn_data_models", interfaces.DataModel),
    "network": ("gmmdyn_networks", interfaces.Network),
    "integrator": ("gmmdyn_integrators", interfaces.Integrator),
    "theory": ("gmmdyn_theories", interfaces.Theory),
    "loss": ("gmmdyn_losses", Loss),
    "engine": ("gmmdyn_engines", interfaces.Engine),
}
KINDS: tuple[Kind, ...] = tuple(_HOOKS)


def collect(plugins: Iterable[Plugin]) -> dict[tuple[Kind, str], Registration]:
    """Load plugins and take down the components that they register.

    Args:
        plugins: what `discover` returned.

    Returns:
        Registrations by kind and name.

    Raises:
        PluginError: as `gmmdyn.registry.entry_points.registered`, and if there is no component.
    """
    found = registered(plugins, hookspecs, _HOOKS)
    if not found:
        raise PluginError(
            "no plugin is installed, not even the built-in ones: gmmdyn runs from a folder that "
            "is not installed; type `pip install -e .` in it."
        )
    return found


@lru_cache(maxsize=1)
def _installed() -> Mapping[tuple[Kind, str], Registration]:
    return collect(discover(distributions()))


def available(kind: Kind) -> tuple[str, ...]:
    """List the names registered for one kind.

    Args:
        kind: the kind of component.

    Returns:
        The names, sorted.

    Raises:
        PluginError: as `collect`.
    """
    return tuple(sorted(name for k, name in _installed() if k == kind))


def get(kind: Kind, name: str) -> type[Any]:
    """Fetch one registered class.

    Args:
        kind: the kind of component.
        name: a name from `available(kind)`.

    Returns:
        The class, to be called with its own keywords.

    Raises:
        UnknownComponentError: if there is none; the message lists the names and the nearest one.
        PluginError: as `collect`.
    """
    found = _installed().get((kind, name)) if isinstance(name, str) else None
    if found is None:
        word = kind.replace("_", " ")
        raise UnknownComponentError(
            f"no {word} is called `{name}`; {checks.suggestion(str(name), available(kind))}"
        )
    return found.cls


def registrations() -> tuple[Registration, ...]:
    """List everything registered, with its origin.

    Returns:
        The registrations, by kind, then by name.

    Raises:
        PluginError: as `collect`.
    """
    return tuple(_installed()[key] for key in sorted(_installed()))


def options_of(cls: type[Any]) -> dict[str, inspect.Parameter]:
    """List the keywords that a component class takes.

    Args:
        cls: the class.

    Returns:
        Its named constructor parameters; the `*args, **kwargs` of a class without a constructor of
        its own (they are `torch.nn.Module`'s) are none.
    """
    variadic = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    parameters = inspect.signature(cls).parameters
    return {name: p for name, p in parameters.items() if p.kind not in variadic}


def build(kind: Kind, name: str, options: Mapping[str, Any]) -> Any:
    """Construct a registered component and note how it was built.

    Args:
        kind: the kind of component.
        name: a name from `available(kind)`.
        options: keywords of the class.

    Returns:
        The component, with its `spec`.

    Raises:
        UnknownComponentError: if there is no such name.
        ArgumentError: if a keyword is unknown or missing.
    """
    cls = get(kind, name)
    parameters = options_of(cls)
    for option in options:
        if option not in parameters:
            raise ArgumentError(
                f"`{name}` takes no keyword `{option}`; {checks.suggestion(option, parameters)}"
            )
    missing = [
        key
        for key, parameter in parameters.items()
        if parameter.default is parameter.empty and key not in options
    ]
    if missing:
        listed = ", ".join(f"`{key}`" for key in missing)
        raise ArgumentError(f"`{name}` needs a value for {listed}.")
    component = cls(**options)
    component.spec = interfaces.Spec(name, dict(options))
    return component
