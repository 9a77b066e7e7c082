"""Compiled forms as text: thousands of lines of YAML, so by libyaml, ten times as fast; PyYAML's wheels have it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import yaml

if not yaml.__with_libyaml__:  # PyYAML alone would also fold long lines elsewhere, which looks like another form
    raise ImportError("PyYAML was built without libyaml: install its wheel, pip install --force-reinstall PyYAML")


def parse(text: str) -> list[Any]:
    """The documents of a YAML text: of a form, the pipeline spec and, if there is one, the platform spec.

    Raises:
        yaml.YAMLError: If it is none.
    """
    return list(yaml.load_all(text, yaml.CSafeLoader))


def dump(documents: Iterable[Any]) -> str:
    """The text of documents; the same from run to run."""
    return str(yaml.dump_all(documents, Dumper=yaml.CSafeDumper, width=1000))
