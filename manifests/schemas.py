"""Objects against the schemas of core kinds and of custom resources, with unknown fields refused."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from manifests.objects import Json, name_of


def closed(schema: Json) -> Json:
    """A schema that refuses fields it does not know, as a server that prunes them would silently drop them."""
    made = copy.deepcopy(schema)
    _close(made, root=True)
    return made


def _close(node: Any, root: bool = False) -> None:
    if isinstance(node, list):
        for item in node:
            _close(item)
        return
    if not isinstance(node, dict):
        return
    if "properties" in node and not node.get("x-kubernetes-preserve-unknown-fields"):
        node.setdefault("additionalProperties", False)
    for key, value in node.items():
        if key == "properties":
            for name, inner in value.items():
                if not (root and name == "metadata"):
                    _close(inner)
        elif key in ("items", "additionalProperties", "allOf", "anyOf", "oneOf"):
            _close(value)


def against_schemas(objects: list[Json], schemas: Path) -> Iterator[str]:
    """What core schemas and those of custom resources find."""
    for one in objects:
        group, _, version = one["apiVersion"].rpartition("/")
        file = schemas / _file(one)
        if not group or "." not in group or (group.endswith(".k8s.io") and not file.is_file()):
            yield from _against_core(json.dumps(one))
        elif not file.is_file():
            yield f"{name_of(one)}: no schema of {group}/{version} {one['kind']}"
        else:
            for found in _validator(file).iter_errors(one):
                yield f"{name_of(one)}: {'.'.join(map(str, found.path))}: {found.message[:300]}"


@cache  # overlays share most of their objects, and each asks for a file of some megabytes
def _against_core(text: str) -> tuple[str, ...]:
    import kubernetes_validate

    one = json.loads(text)
    try:
        kubernetes_validate.validate(one, kubernetes_validate.latest_version(), strict=True)
    except kubernetes_validate.ValidationError as error:
        return (f"{name_of(one)}: {'.'.join(map(str, error.path))}: {error.message}",)
    except kubernetes_validate.SchemaNotFoundError:
        return (f"{name_of(one)}: no schema of {one['apiVersion']} {one['kind']}",)
    return ()


@cache
def _validator(file: Path) -> Any:
    import jsonschema

    return jsonschema.Draft202012Validator(closed(json.loads(file.read_text())))


def _file(one: Json) -> str:
    group, _, version = one["apiVersion"].rpartition("/")
    return f"{group}_{version}_{one['kind']}.json"
