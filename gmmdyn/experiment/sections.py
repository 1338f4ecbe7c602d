"""The sections of a configuration: which options each has, and the components they name."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from gmmdyn import registry
from gmmdyn.algorithm import OnlineSGD
from gmmdyn.errors import ConfigError
from gmmdyn.interfaces import Component, GaussianMixture
from gmmdyn.trajectory.time_units import Figures

Function = TypeVar("Function", bound=Callable[..., Any])

SECTIONS = ("data_model", "network", "algorithm", "simulation", "theory", "figures")
COMPONENTS: tuple[registry.Kind, ...] = ("data_model", "network", "theory")
# What takes the options of the other sections; `simulation` comes with `Experiment.simulate`.
PLAIN_SECTIONS: dict[str, Callable[..., Any]] = {"algorithm": OnlineSGD, "figures": Figures}
# Where an option of this name is a mapping with a `name`, a component of this kind is meant.
_NESTED: Mapping[str, registry.Kind] = {
    **{kind: kind for kind in registry.KINDS},
    "mixture": "data_model",
}


def takes_section(section: str) -> Callable[[Function], Function]:
    """Return a decorator for the function that takes the options of a section.

    Args:
        section: one of `SECTIONS`.

    Returns:
        The decorator, which leaves the function as it is.
    """

    def take(function: Function) -> Function:
        PLAIN_SECTIONS[section] = function
        return function

    return take


def component_class(section: str, name: str) -> type[Component]:
    """Return the class of the component that a section names.

    Args:
        section: one of `COMPONENTS`.
        name: of the component.

    Returns:
        The registered class.

    Raises:
        UnknownComponentError: if there is no such component.
    """
    kind = next(kind for kind in COMPONENTS if kind == section)
    return registry.get(kind, name)


def section_options(section: str, name: str | None = None) -> dict[str, inspect.Parameter]:
    """List the options of a section.

    Args:
        section: one of `SECTIONS`.
        name: of the component, where the section is one.

    Returns:
        The keywords it takes, without `name`.

    Raises:
        UnknownComponentError: if there is no such component.
    """
    if section in COMPONENTS:
        return registry.options_of(component_class(section, str(name)))
    parameters = dict(inspect.signature(PLAIN_SECTIONS[section]).parameters)
    return {key: p for key, p in parameters.items() if key not in ("self", "progress")}


def component(kind: registry.Kind, values: Mapping[str, Any]) -> Any:
    """Build a component and those among its options.

    Args:
        kind: of the component.
        values: its `name` and options.

    Returns:
        The component.

    Raises:
        GmmdynError: if a name or option is unknown, or a value out of range.
    """
    options = {key: value for key, value in values.items() if key != "name"}
    for key, value in options.items():
        if key in _NESTED and isinstance(value, Mapping):
            if not isinstance(value.get("name"), str):
                raise ConfigError(f"`{key}` needs the `name` of a component.")
            options[key] = component(_NESTED[key], value)
    if kind == "data_model" and isinstance(options.get("means"), Mapping):
        options = _with_means_of(options)
    return registry.build(kind, values["name"], options)


def _with_means_of(options: dict[str, Any]) -> dict[str, Any]:
    if not isinstance(options["means"].get("name"), str):
        raise ConfigError("`means` needs numbers, or the `name` of a mixture that has them.")
    geometry = component("data_model", options["means"])
    if not isinstance(geometry, GaussianMixture):
        raise ConfigError(f"`means` names `{options['means']['name']}`, which is no mixture.")
    own = {"priors": geometry.priors}
    if "classes" not in options:
        own["labels"] = geometry.labels
    return {**own, **options, "means": geometry.means}
