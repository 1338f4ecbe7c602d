"""Find the components that installed plugins provide.

Entry points of the group `gmmdyn` are the only road, for the plugins shipped with the package as
for any other. They are read on the first call, not on import.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping
from functools import lru_cache
from importlib.metadata import Distribution, EntryPoint, distributions
from typing import Any, Literal, NamedTuple

import pluggy

from gmmdyn import checks, interfaces
from gmmdyn.errors import ArgumentError, PluginError, UnknownComponentError
from gmmdyn.registry import hookspecs

GROUP = "gmmdyn"
Kind = Literal["activation", "data_model", "network", "integrator", "theory"]

_HOOKS: Mapping[Kind, tuple[str, type[interfaces.Component]]] = {
    "activation": ("gmmdyn_activations", interfaces.Activation),
    "data_model": ("gmmdyn_data_models", interfaces.DataModel),
    "network": ("gmmdyn_networks", interfaces.Network),
    "integrator": ("gmmdyn_integrators", interfaces.Integrator),
    "theory": ("gmmdyn_theories", interfaces.Theory),
}
KINDS: tuple[Kind, ...] = tuple(_HOOKS)


class Registration(NamedTuple):
    """One registered class and where it came from.

    Attributes:
        kind: the kind of component.
        name: the name to ask for, in kebab-case.
        cls: the class.
        plugin: the name of the entry point.
        distribution: the name of the installed distribution.
        version: its version.
    """

    kind: Kind
    name: str
    cls: type[interfaces.Component]
    plugin: str
    distribution: str
    version: str


class Plugin(NamedTuple):
    """An entry point and the distribution that declares it."""

    entry_point: EntryPoint
    distribution: str
    version: str


def discover(installed: Iterable[Distribution]) -> list[Plugin]:
    """List the entry points of the group, one for each name.

    Args:
        installed: the distributions to look through.

    Returns:
        The plugins, by name.

    Raises:
        PluginError: if two distributions declare the same name: plain pluggy would silently take
            one of them.
    """
    found: dict[str, Plugin] = {}
    for distribution in installed:
        for entry in distribution.entry_points:
            if entry.group != GROUP:
                continue
            plugin = Plugin(entry, distribution.metadata["Name"], distribution.version)
            earlier = found.get(entry.name)
            # The same distribution is listed twice when its folder is twice on sys.path.
            if earlier is not None and earlier != plugin:
                raise PluginError(
                    f"the plugin name `{entry.name}` is declared by both "
                    f"`{earlier.distribution}` and `{plugin.distribution}`; uninstall one of them."
                )
            found[entry.name] = plugin
    return [found[name] for name in sorted(found)]


def collect(plugins: Iterable[Plugin]) -> dict[tuple[Kind, str], Registration]:
    """Load plugins and take down what they register.

    Args:
        plugins: what `discover` returned.

    Returns:
        Registrations by kind and name.

    Raises:
        PluginError: if a plugin cannot be loaded, has a misspelt hook, or registers a duplicate
            name, an abstract class, or something that is no class of that kind. One broken
            plugin stops the look-up of all: a result must not depend on which plugins
            happened to load.
    """
    manager = pluggy.PluginManager(GROUP)
    manager.add_hookspecs(hookspecs)
    by_name = {plugin.entry_point.name: plugin for plugin in plugins}
    for name, plugin in by_name.items():
        try:
            manager.register(plugin.entry_point.load(), name=name)
        except Exception as error:  # whatever the import of foreign code may raise
            raise PluginError(
                f"the plugin `{name}` of `{plugin.distribution}` cannot be loaded: "
                f"{type(error).__name__}: {error}"
            ) from error
    try:
        manager.check_pending()
    except pluggy.PluginValidationError as error:
        raise PluginError(
            f"a plugin implements a hook that does not exist ({error}); "
            f"there are: {', '.join(hook for hook, _ in _HOOKS.values())}."
        ) from None
    found: dict[tuple[Kind, str], Registration] = {}
    for kind, (hook_name, interface) in _HOOKS.items():
        for implementation in getattr(manager.hook, hook_name).get_hookimpls():
            plugin = by_name[implementation.plugin_name]
            try:
                classes = dict(implementation.function())
            except Exception as error:  # foreign code again
                raise PluginError(
                    f"the hook `{hook_name}` of `{plugin.distribution}` failed: "
                    f"{type(error).__name__}: {error}"
                ) from error
            for name, cls in classes.items():
                whose = f"`{plugin.distribution}` registers the {kind} `{name}`"
                if not (isinstance(cls, type) and issubclass(cls, interface)):
                    raise PluginError(f"{whose}, which is no subclass of {interface.__name__}.")
                if inspect.isabstract(cls):
                    missing = ", ".join(sorted(getattr(cls, "__abstractmethods__", ())))
                    raise PluginError(f"{whose}, whose class is abstract; it lacks: {missing}.")
                if (kind, name) in found:
                    other = found[kind, name].distribution
                    raise PluginError(f"{whose}, which `{other}` has registered already.")
                found[kind, name] = Registration(
                    kind, name, cls, implementation.plugin_name, plugin.distribution, plugin.version
                )
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
    found = _installed().get((kind, name))
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
