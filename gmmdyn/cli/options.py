"""Command-line options from the signature and docstring of a constructor."""

from __future__ import annotations

import dataclasses
import inspect
import re
import types
import unicodedata
from argparse import SUPPRESS
from collections.abc import Callable, Mapping
from pathlib import PurePath
from typing import Any, Literal, NamedTuple, Union, get_args, get_origin, get_type_hints

from docstring_parser import parse
from jsonargparse import ArgumentParser

from gmmdyn.registry import KINDS

_PLAIN = (bool, int, float, str, types.NoneType)
# A list type of its own would bring options to append to it.
_LIST = tuple[Any, ...]
_GREEK = re.compile(r"\\([A-Za-z]+)")


class Option(NamedTuple):
    """One option of a component.

    Attributes:
        name: the keyword.
        type: what jsonargparse converts to.
        help: its sentence in the docstring, and its default.
    """

    name: str
    type: Any
    help: str


def options_of(
    target: Callable[..., Any],
    parameters: Mapping[str, inspect.Parameter],
    chosen: Mapping[str, Any],
) -> list[Option]:
    """Describe the options of a class or function.

    Args:
        target: the class or function, whose docstring describes the parameters.
        parameters: those to make options of.
        chosen: values of a configuration, shown as defaults.

    Returns:
        One option for each parameter.
    """
    described = {
        entry.arg_name: " ".join((entry.description or "").split())
        for entry in parse(inspect.getdoc(target) or "").params
    }
    constructor = target.__init__ if inspect.isclass(target) else target
    try:
        hints = get_type_hints(constructor)
    except NameError:  # imported for type checkers only: any value will do, the class checks it
        hints = {}
    options = []
    for name, parameter in parameters.items():
        default = chosen.get(name, parameter.default)
        note = "" if default in (None, parameter.empty) else f" (default: {_shown(default)})"
        text = _readable(described.get(name, "")) + note
        options.append(Option(name, _converted(name, hints.get(name, Any)), text))
    return options


def add_options(parser: ArgumentParser, section: str, title: str, options: list[Option]) -> None:
    """Add a group of options; those that are not given do not appear in the result.

    Args:
        parser: the parser.
        section: what comes before the dot.
        title: of the group.
        options: the options.
    """
    group = parser.add_argument_group(title)
    for option in options:
        group.add_argument(
            f"--{section}.{option.name}",
            type=option.type,
            default=SUPPRESS,
            help=option.help.replace("%", "%%"),
        )


def wanted(kind: Any) -> str:
    """Say what a type accepts.

    Args:
        kind: the type of an option.

    Returns:
        Words to end "give ..." with.
    """
    words = {
        bool: "true or false",
        int: "a whole number",
        float: "a number",
        str: "a word",
        types.NoneType: "null",
        dict: "a mapping",
        tuple: "a list",
    }
    union = get_origin(kind) in (Union, types.UnionType)
    found = []
    for part in get_args(kind) if union else (kind,):
        if get_origin(part) is Literal:
            found += [f"`{word}`" for word in get_args(part)]
        else:
            found.append(words[get_origin(part) or part])
    return " or ".join(found)


def _converted(name: str, hint: Any) -> Any:
    """Return what can be typed of a type: arrays become lists, components names or mappings."""
    if name in KINDS:
        return dict[str, Any] | str
    union = get_origin(hint) in (Union, types.UnionType)
    kinds: list[Any] = []
    for part in get_args(hint) if union else (hint,):
        kinds += [kind for kind in _typed(part) if kind not in kinds]
    # What is tried first wins: "[1, 2]" is a list where there may be one, and a word otherwise.
    kinds.sort(key=lambda kind: kind is str)
    return Union[tuple(kinds)]  # noqa: UP007 - built at run time


def _typed(part: Any) -> list[Any]:
    origin = get_origin(part) or part
    if part in _PLAIN or origin is Literal:
        return [part]
    if origin is Any:
        return [dict[str, Any], _LIST, str]
    if isinstance(origin, type) and issubclass(origin, PurePath):
        return [str]
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return [dict[str, Any]]
    if dataclasses.is_dataclass(origin):
        return [dict[str, Any]]
    return [_LIST]


def _shown(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _readable(text: str) -> str:
    """Turn the mathematics of a docstring into plain text: Greek letters, no dollar signs."""

    def letter(match: re.Match[str]) -> str:
        word = match[1]
        size = "CAPITAL" if word[0].isupper() else "SMALL"
        # Unicode spells one of them without its b.
        name = "LAMDA" if word.lower() == "lambda" else word.upper()
        try:
            return unicodedata.lookup(f"GREEK {size} LETTER {name}")
        except KeyError:
            return {"pm": "±"}.get(word, word)

    return _GREEK.sub(letter, text).replace("$", "").replace("`", "").replace("^2", "²")
