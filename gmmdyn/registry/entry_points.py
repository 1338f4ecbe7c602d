"""Find plugins by their entry points, and take down what their hooks return.

Imports nothing heavy: the command line looks for commands here before anything else.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping
from functools import lru_cache
from importlib.metadata import Distribution, EntryPoint, distributions
from typing import Any, NamedTuple, TypeVar

import pluggy

from gmmdyn.errors import PluginError

GROUP = "gmmdyn"
Kind = TypeVar("Kind", bound=str)


class Registration(NamedTuple):
    """One registered class and where it came from.

    Attributes:
        kind: the kind of component, or `"command"`.
        name: the name to ask for, in kebab-case.
        cls: the class.
        plugin: the name of the entry point.
        distribution: the name of the installed distribution.
        version: its version.
    """

    kind: str
    name: str
    cls: type[Any]
    plugin: str
    distribution: str
    version: str


class Plugin(NamedTuple):
    """An entry point and the distribution that declares it."""

    entry_point: EntryPoint
    distribution: str
    version: str


def discover(installed: Iterable[Distribution], group: str = GROUP) -> list[Plugin]:
    """List the entry points of a group, one for each name.

    Args:
        installed: the distributions to look through.
        group: of entry points.

    Returns:
        The plugins, by name.

    Raises:
        PluginError: if two distributions declare the same name: plain pluggy would silently take
            one of them.
    """
    found: dict[str, Plugin] = {}
    for distribution in installed:
        for entry in distribution.entry_points:
            if entry.group != group:
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


def load(plugin: Plugin) -> Any:
    """Load what an entry point names.

    Args:
        plugin: the entry point.

    Returns:
        A module, or something in it.

    Raises:
        PluginError: if it cannot be loaded.
    """
    try:
        return plugin.entry_point.load()
    except Exception as error:  # whatever the import of foreign code may raise
        raise PluginError(
            f"the plugin `{plugin.entry_point.name}` of `{plugin.distribution}` cannot be loaded: "
            f"{type(error).__name__}: {error}"
        ) from error


def registered(
    plugins: Iterable[Plugin], specifications: Any, hooks: Mapping[Kind, tuple[str, type[Any]]]
) -> dict[tuple[Kind, str], Registration]:
    """Load plugins and take down what they register.

    Args:
        plugins: of one group of entry points.
        specifications: the module of their hooks.
        hooks: those hooks: by kind the name of the hook, and the interface of which
            all that it returns are subclasses.

    Returns:
        Registrations by kind and name.

    Raises:
        PluginError: if a plugin cannot be loaded, has a misspelt hook, or registers a duplicate
            name, an abstract class, or something that is no class of that kind. One broken
            plugin stops the look-up of all: a result must not depend on which plugins
            happened to load.
    """
    manager = pluggy.PluginManager(GROUP)
    manager.add_hookspecs(specifications)
    by_name = {plugin.entry_point.name: plugin for plugin in plugins}
    for name, plugin in by_name.items():
        manager.register(load(plugin), name=name)
    try:
        manager.check_pending()
    except pluggy.PluginValidationError as error:
        known = ", ".join(hook for hook, _ in hooks.values())
        raise PluginError(
            f"a plugin implements a hook that does not exist ({error}); there are: {known}."
        ) from None
    found: dict[tuple[Kind, str], Registration] = {}
    for kind, (hook_name, interface) in hooks.items():
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
    return found


@lru_cache
def extensions(group: str) -> Mapping[str, Plugin]:
    """List the functions that plugins add to a package of gmmdyn, without loading them.

    Args:
        group: of entry points, each of which names a function: `"gmmdyn.functions"` (names of
            `gmmdyn`) or `"gmmdyn.plot"`.

    Returns:
        The entry points by name.

    Raises:
        PluginError: as `discover`.
    """
    return {plugin.entry_point.name: plugin for plugin in discover(distributions(), group)}


def extension(group: str, name: str) -> Any:
    """Return a function that a plugin adds to a package of gmmdyn.

    Args:
        group: as of `extensions`.
        name: of the function.

    Returns:
        The function, or None if there is none.

    Raises:
        PluginError: if it cannot be loaded.
    """
    found = extensions(group).get(name)
    return None if found is None else load(found)
