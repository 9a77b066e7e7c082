"""The names of all settings: ``python -m selfemo.config.names`` writes them where the shell's completion reads them.

A file, since a shell waits for each answer, and the configuration takes longer to import than anybody waits.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin

from selfemo.config.run import Config
from selfemo.config.section import Section

FILE = Path(__file__).with_name("names.txt")


def names(section: type[Section] = Config, before: str = "") -> Iterator[tuple[str, tuple[str, ...]]]:
    """Settings as ``--set`` takes them, and the values of each that has few."""
    for name, field in section.model_fields.items():
        kinds = _kinds(field.annotation)
        inner = [kind for kind in kinds if isinstance(kind, type) and issubclass(kind, Section)]
        for kind in inner:
            yield from names(kind, f"{before}{name}.")
        if not inner:
            yield f"{before}{name}", tuple(value for kind in kinds for value in _values(kind))


def text() -> str:
    """What the file holds: a setting a line, its values after it."""
    return "".join(f"{' '.join((name, *values))}\n" for name, values in names())


def _kinds(annotation: Any) -> tuple[Any, ...]:
    return get_args(annotation) if get_origin(annotation) in (Union, UnionType) else (annotation,)


def _values(kind: Any) -> tuple[str, ...]:
    if get_origin(kind) is Literal:
        return tuple(str(value) for value in get_args(kind) if value != "")
    return ("true", "false") if kind is bool else ()


if __name__ == "__main__":
    sys.stdout.write(text())
