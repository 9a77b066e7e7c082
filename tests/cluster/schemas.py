"""Schemas of custom resources, kept beside the project; unknown fields are errors."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

PLACE = Path(os.environ.get("SELFEMO_SCHEMAS", Path(__file__).parents[3] / "shared" / "schemas"))


def schema(name: str) -> dict[str, Any]:
    """A schema by its file's name; the test is skipped where there is none."""
    file = PLACE / f"{name}.json"
    if not file.exists():
        pytest.skip(f"no {file.name}: set SELFEMO_SCHEMAS to a directory of CRD schemas")
    found: dict[str, Any] = json.loads(file.read_text())
    return found


def closed(found: dict[str, Any]) -> Draft202012Validator:
    """Refuses fields that the schema does not name, as a server that prunes them would silently drop them."""
    _close(found, root=True)
    return Draft202012Validator(found)


def _close(node: Any, root: bool = False) -> None:
    if isinstance(node, list):
        for item in node:
            _close(item)
        return
    if not isinstance(node, dict):
        return
    if node.get("type") == "object" and "properties" in node and not node.get("x-kubernetes-preserve-unknown-fields"):
        node.setdefault("additionalProperties", False)
    for key, value in node.items():
        if key == "properties":
            for name, inner in value.items():
                if not (root and name == "metadata"):
                    _close(inner)
        elif key in ("items", "additionalProperties", "allOf", "anyOf", "oneOf"):
            _close(value)
