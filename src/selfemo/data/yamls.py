"""YAML that a person wrote: what it says, and the line of each part of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from selfemo.errors import UserError

MOST_NODES = 100_000
"""Of a document: what people write is far below, and anchors can make more of a few lines than fits into memory."""


@dataclass(frozen=True)
class Yaml:
    """A YAML document.

    Attributes:
        data: What it says.
        root: Its nodes, or None where it is empty.
        name: Of its file.
    """

    data: Any
    root: yaml.Node | None
    name: str

    @classmethod
    def of(cls, text: str, name: str) -> Yaml:
        """Read a document.

        Args:
            text: YAML, or JSON, which is YAML.
            name: What it is called in errors.

        Raises:
            UserError: If it is no YAML, or names a key twice.
        """
        try:
            root = yaml.compose(text, yaml.SafeLoader)
            twice = _twice(root) if root is not None else None
            data = yaml.safe_load(text)
        except (yaml.YAMLError, ValueError, RecursionError) as error:
            mark = getattr(error, "problem_mark", None)
            where = f"{name}:{mark.line + 1}" if mark else name
            raise UserError(f"not YAML: {getattr(error, 'problem', None) or error}", where=where) from None
        if twice is not None:
            raise UserError(
                f"{twice.value!r} is named twice", where=f"{name}:{twice.start_mark.line + 1}", fix="keep one of them"
            )
        return cls(data, root, name)

    def where(self, at: Sequence[int | str]) -> str:
        """File and line of a part."""
        return f"{self.name}:{line_of(self.root, at)}"


def read_yaml(path: Path) -> Yaml:
    """A YAML file.

    Raises:
        UserError: If there is none, it cannot be read, or it is no YAML.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise UserError("no such file", where=str(path)) from None
    except UnicodeDecodeError as error:
        raise UserError(f"not UTF-8 (byte {error.start + 1})", where=str(path), fix="save it as UTF-8") from None
    except OSError as error:
        raise UserError(error.strerror or str(error), where=str(path)) from None
    return Yaml.of(text, str(path))


def _twice(root: yaml.Node) -> Any | None:
    """A key that a mapping has twice: of two, YAML keeps the last without a word."""
    waiting, met = [root], 0
    while waiting:
        node = waiting.pop()
        met += 1
        if met > MOST_NODES:
            raise yaml.YAMLError("more parts than a document may have")
        if isinstance(node, yaml.SequenceNode):
            waiting += node.value
        elif isinstance(node, yaml.MappingNode):
            keys: set[str] = set()
            for key, value in node.value:
                if isinstance(key, yaml.ScalarNode):
                    if key.value in keys and key.value != "<<":
                        return key
                    keys.add(key.value)
                waiting.append(value)
    return None


def line_of(node: yaml.Node | None, loc: Sequence[int | str]) -> int:
    """The 1-based line of the deepest part of ``loc`` that the YAML document has.

    A name also finds its item in a list: a scalar of that text, or a mapping with that key.
    """
    line = 1
    for part in loc:
        found = _below(node, part)
        if found is None:
            break
        line, node = found
    return line


def _below(node: yaml.Node | None, part: int | str) -> tuple[int, yaml.Node] | None:
    if isinstance(node, yaml.MappingNode):
        return next(((k.start_mark.line + 1, v) for k, v in node.value if k.value == part), None)
    if not isinstance(node, yaml.SequenceNode):
        return None
    if isinstance(part, int):
        return (node.value[part].start_mark.line + 1, node.value[part]) if part < len(node.value) else None
    for item in node.value:
        if isinstance(item, yaml.ScalarNode) and item.value == part:
            return item.start_mark.line + 1, item
        if isinstance(item, yaml.MappingNode) and (found := _below(item, part)):
            return found
    return None
