"""Where a setting stands: ``section.key=value`` put into nested mappings, and the line of a key in a YAML file."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import yaml

from selfemo.config.parsing import NotYaml, parse
from selfemo.errors import UserError


def apply(data: dict[str, Any], override: str) -> tuple[str, ...]:
    """Put one ``a.b=value`` into nested dictionaries; returns its path."""
    name, equals, value = override.partition("=")
    keys = tuple(name.strip().split("."))
    if not equals or not all(keys):
        raise UserError("not an override", where=f"--set {override}", fix="write it as loop.rounds=3")
    try:
        parsed = parse(value)[1]
    except NotYaml as error:
        raise UserError(f"the value is not YAML: {error}", where=f"--set {override}", fix="quote it") from None
    try:
        put(data, name.strip(), parsed)
    except KeyError as error:
        raise UserError(f"{error.args[0]} is not a section", where=f"--set {override}") from None
    return keys


def put(data: dict[str, Any], name: str, value: Any) -> None:
    """Set ``a.b`` in nested dictionaries.

    Raises:
        KeyError: With the part of the name that holds a plain value.
    """
    *sections, last = name.split(".")
    for key in sections:
        data = data.setdefault(key, {})
        if not isinstance(data, dict):
            raise KeyError(key)
    data[last] = value


def line_of(node: yaml.Node | None, loc: Sequence[int | str]) -> int:
    """The 1-based line of the deepest part of ``loc`` that the YAML document has."""
    line = 1
    for part in loc:
        if isinstance(node, yaml.MappingNode):
            for key, value in node.value:
                if key.value == part:
                    line, node = key.start_mark.line + 1, value
                    break
            else:
                break
        elif isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
            node = node.value[part]
            line = node.start_mark.line + 1
        else:
            break
    return line


def flat(data: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings by their ``section.key`` names; lists and empty sections as JSON."""
    found: dict[str, Any] = {}
    for key, value in data.items():
        if isinstance(value, dict) and value:
            found |= flat(value, f"{prefix}{key}.")
        else:
            found[f"{prefix}{key}"] = value if not isinstance(value, (dict, list)) else json.dumps(value)
    return found
