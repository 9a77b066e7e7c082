"""Compiled forms as text: thousands of lines of YAML, so by libyaml, which PyYAML's wheels bring: ten times as fast."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import yaml


def parse(text: str) -> list[Any]:
    """The documents of a YAML text: of a form, the pipeline spec and, if there is one, the platform spec.

    Raises:
        yaml.YAMLError: If it is none.
    """
    return list(yaml.load_all(text, yaml.CSafeLoader))


def dump(documents: Iterable[Any]) -> str:
    """The text of documents; the same from run to run."""
    return str(yaml.dump_all(documents, Dumper=yaml.CSafeDumper, width=1000))
