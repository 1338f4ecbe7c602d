"""YAML as people mean it: 1e-3 is a number, and a key given twice is a mistake."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import yaml

from gmmdyn.errors import ConfigError


class _Loader(yaml.SafeLoader):
    """PyYAML's safe loader, which builds plain values only."""


# YAML 1.1, which PyYAML reads, wants a point and a signed exponent, so that 1e-3 would be a word.
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+$"),
    list("-+.0123456789"),
)


def _number(loader: _Loader, node: yaml.ScalarNode) -> Any:
    """Read a number; YAML 1.1 would read 1:30 as minutes and seconds, that is 90."""
    if ":" in node.value:
        return node.value
    if node.tag.endswith(":int"):
        return loader.construct_yaml_int(node)
    return loader.construct_yaml_float(node)


_Loader.add_constructor("tag:yaml.org,2002:int", _number)
_Loader.add_constructor("tag:yaml.org,2002:float", _number)


def _mapping(loader: _Loader, node: yaml.MappingNode) -> dict[Any, Any]:
    keys = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
    for key in keys:
        if key != "<<" and keys.count(key) > 1:
            raise yaml.MarkedYAMLError(
                problem=f"the key `{key}` is given twice", problem_mark=node.start_mark
            )
    loader.flatten_mapping(node)
    return loader.construct_mapping(node, deep=True)


_Loader.add_constructor("tag:yaml.org,2002:map", _mapping)


def read_yaml(text: str, where: str) -> Any:
    """Read one YAML document.

    Args:
        text: the document.
        where: what to call it in a message.

    Returns:
        Plain values: mappings, lists, strings, numbers, truth values, None.

    Raises:
        ConfigError: if it is not valid YAML; the message has the line.
    """
    try:
        # The loader is a SafeLoader with one more resolver and one more check.
        return yaml.load(text, Loader=_Loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = "" if mark is None else f" (line {mark.line + 1})"
        raise ConfigError(f"{where} is not valid YAML: {error.problem}{line}.") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        # A ValueError is a date that does not exist.
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ConfigError(f"{where} is not valid YAML: {reason}.") from None


def write_yaml(values: Mapping[str, Any]) -> str:
    """Write plain values as YAML.

    Args:
        values: mappings, lists, strings, numbers, truth values, None.

    Returns:
        The document, keys in the order given, innermost lists on one line.
    """
    text: str = yaml.safe_dump(
        dict(values), sort_keys=False, default_flow_style=None, allow_unicode=True, width=100
    )
    return text
