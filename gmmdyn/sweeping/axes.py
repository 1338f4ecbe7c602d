"""What a sweep varies: names of options and lists of values, also as words of a command line."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from gmmdyn import checks
from gmmdyn.errors import ConfigError, RangeError
from gmmdyn.experiment.configuration import Configuration
from gmmdyn.experiment.sections import COMPONENTS, SECTIONS, section_options
from gmmdyn.experiment.yaml_text import read_yaml

# The field's shorthand.
_SHORT: Mapping[str, str] = {"lr": "learning_rate"}
_SPACINGS = ("lin", "log")
# Not how figures are drawn.
_SWEPT = tuple(section for section in SECTIONS if section != "figures")


class Axis(NamedTuple):
    """One parameter and the values it takes.

    Attributes:
        name: an option, as `section.option` or by its own name.
        values: plain values, at least one.
    """

    name: str
    values: list[Any]


def read_axis(text: str) -> Axis:
    """Read `NAME=VALUES`.

    Args:
        text: the values are `FIRST:LAST:COUNT` (evenly spaced), `FIRST:LAST:log:COUNT`
            (evenly spaced logarithms), `FIRST:LAST:lin:COUNT`, or YAML values with commas between.

    Returns:
        The axis.

    Raises:
        ConfigError: if it is none of these.
        RangeError: if a number is out of range.
    """
    name, equals, values = text.partition("=")
    parts = values.split(":")
    # Two numbers are a range whose count was forgotten.
    if not (name and equals and values) or re.fullmatch(r"[-+.\deE]+:[-+.\deE]+", values):
        raise ConfigError(
            f"`{text}` is no axis; give NAME=FIRST:LAST:COUNT, NAME=FIRST:LAST:log:COUNT or "
            "NAME=VALUE,VALUE,…."
        )
    if len(parts) in (3, 4) and not values.startswith(("[", "{")):
        return Axis(name, _spaced(name, parts))
    listed = read_yaml(values if values.startswith("[") else f"[{values}]", f"`{text}`")
    if not isinstance(listed, list) or not listed:
        raise ConfigError(f"`{text}` lists no values.")
    return Axis(name, listed)


def _spaced(name: str, parts: list[str]) -> list[Any]:
    first, last = (checks.number(name, _number(part)) for part in parts[:2])
    spacing = parts[2] if len(parts) == 4 else "lin"
    checks.choice(f"spacing of {name}", spacing, _SPACINGS)
    wanted = parts[-1]
    count = checks.whole(
        f"count of {name}", int(wanted) if wanted.isdigit() else wanted, at_least=2
    )
    if spacing == "lin":
        values = np.linspace(first, last, count)
    elif first > 0 and last > 0:
        values = np.geomspace(first, last, count)
    else:
        raise RangeError(f"`{name}` from {first:g} to {last:g} has no logarithms; give `lin`.")
    return [_plain(value) for value in values.tolist()]


def _number(text: str) -> float | str:
    """Read a number; what is none stays as it is, to be refused by name."""
    try:
        return float(text)
    except ValueError:
        return text


def _plain(value: float) -> float | int:
    """Whole numbers as such (a number of units is one), others without the dust of rounding."""
    rounded = float(f"{value:.12g}")
    return int(rounded) if rounded.is_integer() and abs(rounded) < 1e15 else rounded


def full_name(name: str, configuration: Configuration) -> tuple[str, str]:
    """Find the option that a name means.

    Args:
        name: `section.option`, or the name of an option that one section has alone.
        configuration: where the options are.

    Returns:
        Section and option.

    Raises:
        ConfigError: if there is none, or more than one.
    """
    known = {section: _options(section, configuration) for section in _SWEPT}
    section, dot, option = name.partition(".")
    if dot:
        if section in known and option.split(".")[0] in known[section]:
            return section, option
        listed = [f"{s}.{key}" for s in _SWEPT for key in known[s]]
        raise ConfigError(f"there is no option `{name}`; {checks.suggestion(name, listed)}")
    wanted = _SHORT.get(name, name)
    homes = [section for section in _SWEPT if wanted in known[section]]
    if len(homes) == 1:
        return homes[0], wanted
    if homes:
        choices = " or ".join(f"`{home}.{wanted}`" for home in homes)
        raise ConfigError(f"`{name}` could be several options; say {choices}.")
    every = {key for options in known.values() for key in options}
    raise ConfigError(f"there is no option `{name}`; {checks.suggestion(name, every)}")


def with_value(base: Configuration, section: str, option: str, value: Any) -> Configuration:
    """Set an option that `full_name` found.

    Args:
        base: the configuration to change.
        section: of the option.
        option: its name, with a dot for an option of a component within.
        value: the new value.

    Returns:
        The new configuration; where it changes the `dim` of the data model, that of the network is
        changed too.
    """
    inner, _, rest = option.partition(".")
    if rest:  # an option of a component within
        present = dict(getattr(base, section) or {}).get(inner)
        nested = {"name": present} if isinstance(present, str) else dict(present or {})
        return base.updated(section, {inner: {**nested, rest: value}})
    new = base.updated(section, {option: value})
    if (section, option) == ("data_model", "dim") and "dim" in new.network:
        new = new.updated("network", {"dim": value})
    return new


def _options(section: str, configuration: Configuration) -> list[str]:
    values = getattr(configuration, section)
    if section not in COMPONENTS:
        return list(section_options(section))
    return [] if values is None else ["name", *section_options(section, values["name"])]
