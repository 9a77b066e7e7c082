"""Settings by name: ``section.key=value`` put into nested mappings, and nested mappings as such names."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import yaml

from selfemo.errors import UserError


def apply(data: dict[str, Any], override: str) -> tuple[str, ...]:
    """Put one ``a.b=value`` into nested dictionaries; returns its path."""
    name, equals, value = override.partition("=")
    keys = tuple(name.strip().split("."))
    if not equals or not all(keys):
        raise UserError("not an override", where=f"--set {override}", fix="write it as loop.rounds=3")
    try:
        parsed = yaml.safe_load(value)
    except yaml.YAMLError:
        raise UserError("the value is not YAML", where=f"--set {override}", fix="quote it") from None
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


def flat(data: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings by their ``section.key`` names; lists and empty sections as JSON."""
    found: dict[str, Any] = {}
    for key, value in data.items():
        if isinstance(value, dict) and value:
            found |= flat(value, f"{prefix}{key}.")
        else:
            found[f"{prefix}{key}"] = value if not isinstance(value, (dict, list)) else json.dumps(value)
    return found
