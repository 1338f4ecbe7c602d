"""A configuration with what the command line changes in it."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import Any

from jsonargparse import ArgumentParser

from gmmdyn.cli.arguments import Arguments
from gmmdyn.cli.commands import COMMANDS, command_parser
from gmmdyn.cli.console import say
from gmmdyn.cli.options import Option, add_options, options_of, wanted
from gmmdyn.errors import ArgumentError, ConfigError
from gmmdyn.experiment.configuration import Configuration
from gmmdyn.experiment.sections import (
    COMPONENTS,
    PLAIN_SECTIONS,
    SECTIONS,
    component_class,
    section_options,
)


def configured(command: str, arguments: Arguments) -> Configuration | None:
    """Load a configuration and apply the options of the command line.

    The names of components come first, as they decide which options there are.

    Args:
        command: the command.
        arguments: the words after it.

    Returns:
        The configuration, or None if help was asked for, and printed.

    Raises:
        GmmdynError: if there is no such configuration, name or option, or a value is of the wrong
            type.
    """
    configuration = Configuration.load(arguments.positional[0])
    if command == "fixed-point":
        configuration = configuration.updated("theory", {"name": "state-evolution"})
    for kind in COMPONENTS:
        name = arguments.last(f"--{kind}.name")
        if name is not None:
            configuration = configuration.updated(kind, {"name": name})
    parser = command_parser(command)
    types: dict[str, Any] = dict.fromkeys(COMMANDS[command].options, str)
    # A sweep draws no curve in time.
    for section in SECTIONS if command != "sweep" else SECTIONS[:-1]:
        options = _options(section, configuration)
        values = getattr(configuration, section) or {}
        title = f"{section}: {values['name']}" if "name" in values else section
        add_options(parser, section, title, options)
        types |= {f"--{section}.{option.name}": option.type for option in options}
    if "--help" in arguments.flags or "-h" in arguments.flags:
        say(parser.format_help().rstrip())
        return None
    arguments.check_known(list(types))
    given = _parsed(parser, arguments, types)
    for section in SECTIONS:
        if given.get(section):
            configuration = configuration.updated(section, given[section])
    if given.get("data") is not None:
        configuration = _with_folder(configuration, given["data"])
    if given.get("time_unit") is not None:
        configuration = configuration.updated("figures", {"time_unit": given["time_unit"]})
    return configuration


def _options(section: str, configuration: Configuration) -> list[Option]:
    values = getattr(configuration, section)
    if section not in COMPONENTS:
        return options_of(PLAIN_SECTIONS[section], section_options(section), values)
    name = Option("name", str, "the registered name of the component")
    if values is None:
        return []
    cls = component_class(section, values["name"])
    return [name, *options_of(cls, section_options(section, values["name"]), values)]


def _parsed(
    parser: ArgumentParser, arguments: Arguments, types: Mapping[str, Any]
) -> dict[str, Any]:
    source = arguments.positional[0]
    # One option at a time, so that a message names the one that is wrong.
    for name, value in arguments.values:
        try:
            parser.parse_args([source, f"{name}={value}"])
        except argparse.ArgumentError:
            raise ArgumentError(f"`{name}` is `{value}`; give {wanted(types[name])}.") from None
    values: dict[str, Any] = parser.parse_args(arguments.words()).as_dict()
    return values


def _with_folder(configuration: Configuration, folder: str) -> Configuration:
    name = configuration.data_model["name"]
    if "folder" not in section_options("data_model", name):
        raise ConfigError(f"`--data` is for data sets in files, and `{name}` reads none.")
    return configuration.updated("data_model", {"folder": folder})
