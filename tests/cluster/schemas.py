"""Schemas of custom resources, kept beside the project; unknown fields are errors."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from manifests.schemas import closed as close

PLACE = Path(os.environ.get("SELFEMO_SCHEMAS", Path(__file__).parents[3] / "shared" / "schemas"))


def schema(name: str) -> dict[str, Any]:
    """A schema by its file's name; the test is skipped where there is none."""
    file = PLACE / f"{name}.json"
    if not file.exists():
        pytest.skip(f"no {file.name}: set SELFEMO_SCHEMAS to a directory of CRD schemas")
    found: dict[str, Any] = json.loads(file.read_text())
    return found


def closed(found: dict[str, Any]) -> Draft202012Validator:
    """Refuses fields that the schema does not name."""
    return Draft202012Validator(close(found))
