"""Pages of the reference that are made from the code: the help of every command, and every setting."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import click

Schema = dict[str, Any]


def commands(command: click.Command, name: str, level: int = 2) -> Iterator[str]:
    """What ``--help`` of a command says, and of each command below it, each under its name."""
    context = click.Context(command, info_name=name, **command.context_settings)
    yield f"{'#' * level} {name}\n\n```text\n{command.get_help(context)}\n```\n"
    if isinstance(command, click.Group):
        for below in sorted(command.commands):
            yield from commands(command.commands[below], f"{name} {below}", min(level + 1, 4))


def settings(schema: Schema) -> Iterator[str]:
    """A table of the keys of each section of a configuration, in its order, the whole first.

    Args:
        schema: JSON schema of the configuration.
    """
    yield "## The run itself\n\n" + _table("", schema, schema)
    for name, field in schema["properties"].items():
        if (section := _section(field, schema)) and section.get("additionalProperties") is False:
            told = section.get("description", "").split("\n\n")[0]
            prefix = f"{name}[]." if field.get("type") == "array" else f"{name}."
            yield f"## {name}\n\n{told}\n\n" + _table(prefix, section, schema)


def _table(prefix: str, section: Schema, whole: Schema) -> str:
    rows = "".join(f"| {' | '.join(row)} |\n" for row in _rows(prefix, section, whole))
    return f"| key | takes | default | |\n|---|---|---|---|\n{rows}"


def _rows(prefix: str, section: Schema, whole: Schema) -> Iterator[tuple[str, str, str, str]]:
    """Of each key that holds a value; those of sections within, too."""
    kinds = {field.get("$ref") for field in section["properties"].values()}
    alike = len(kinds) == 1 and None not in kinds
    for key, field in section["properties"].items():
        below = _section(field, whole)
        if below and alike:  # all of one form, which is told once
            yield f"`{prefix}{key}`", "mapping, below", "of the profile", _cell(_told(field))
        elif below and prefix and "anyOf" not in field and field.get("type") != "array":
            yield from _rows(f"{prefix}{key}.", below, whole)
        elif not below or prefix:
            default = f"`{json.dumps(field['default'], ensure_ascii=False)}`" if "default" in field else ""
            yield f"`{prefix}{key}`", _takes(field, whole), _cell(default), _cell(_told(field))
    if alike:
        yield from _rows(f"{prefix}KIND.", _section(field, whole) or {}, whole)


def _section(field: Schema, whole: Schema) -> Schema | None:
    """The section that a key holds, is a list of, or may hold."""
    for part in (field, field.get("items", {}), *field.get("anyOf", ())):
        if "$ref" in part:
            found: Schema = whole["$defs"][part["$ref"].rsplit("/", 1)[1]]
            return found if "properties" in found else None
    return None


def _takes(field: Schema, whole: Schema) -> str:
    """What a value is, in words."""
    if choices := field.get("enum") or ([field["const"]] if "const" in field else None):
        return ", ".join(f"`{choice or json.dumps(choice)}`" for choice in choices)
    if "anyOf" in field:
        return " or ".join(dict.fromkeys(_takes(part, whole) for part in field["anyOf"]))
    if "$ref" in field:
        return _takes(whole["$defs"][field["$ref"].rsplit("/", 1)[1]], whole)
    if field.get("type") == "array":
        return f"list of {_takes(field.get('items', {}), whole)}"
    bounds = {"minimum": "from", "exclusiveMinimum": "above", "maximum": "to", "exclusiveMaximum": "below"}
    limits = [f"{word} {field[name]}" for name, word in bounds.items() if name in field]
    kinds = {"object": "mapping", "string": "text", "null": "null", "boolean": "true or false"}
    kind = str(field.get("type", "value"))
    return " ".join((kinds.get(kind, kind), *limits))


def _told(field: Schema) -> str:
    return " ".join(field.get("description", "").split())


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
