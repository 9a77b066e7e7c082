"""YAML that a person wrote: what it says, and the line of each part of it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from selfemo.errors import UserError

MOST_NODES = 100_000
"""Of a document: what people write is far below, and anchors can make more of a few lines than fits into memory."""

_NUMBERS = ("tag:yaml.org,2002:int", "tag:yaml.org,2002:float")
_OTHERWISE = re.compile(r"[-+]?(?:0[0-9_]+|[0-9_]+(?::[0-5]?[0-9])+(?:\.[0-9_]*)?)")
"""Octal numbers of YAML 1.1, and those of base 60."""


class NotYaml(Exception):
    """What a person has to mend.

    Args:
        message: What is wrong.
        line: Where, from 1; None where the parser does not say.
    """

    def __init__(self, message: str, line: int | None = None) -> None:
        super().__init__(message)
        self.message, self.line = message, line


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
            root, data = parse(text)
        except NotYaml as error:
            where = f"{name}:{error.line}" if error.line else name
            raise UserError(f"not YAML: {error.message}", where=where, fix="quote it, or mend it") from None
        return cls(data, root, name)

    def where(self, at: Sequence[int | str]) -> str:
        """File and line of a part."""
        return f"{self.name}:{line_of(self.root, at)}"


def parse(text: str) -> tuple[yaml.Node | None, Any]:
    """The document's nodes, which know their lines, and its data: the one place that knows what PyYAML falls over.

    PyYAML's constructors raise what Python raises: `0x_` and dates that there are none, numbers of thousands of
    digits, tags that do not fit, lists thousands deep, values that hold themselves, escapes beyond Unicode.

    Raises:
        NotYaml: If it cannot be read.
    """
    try:
        root = yaml.compose(text, yaml.SafeLoader)
        if root is not None:
            if _large(root):
                raise NotYaml("more parts than a document may have")
            _each_key_once(root)
        return root, _Whole(text).get_single_data()
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        raise NotYaml(str(getattr(error, "problem", None) or error), mark.line + 1 if mark else None) from None
    except RecursionError:
        raise NotYaml("lists or sections are nested too deeply") from None
    except (ValueError, OverflowError) as error:
        raise NotYaml(str(error)) from None


class _Whole(yaml.SafeLoader):
    """A loader that says on which line a value stands that cannot be made, or that YAML's versions read differently.

    Of those, ``010`` is 8 in one and 10 in the other, ``1:30`` 90 and text: nobody who writes them thinks of it.
    """

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        if isinstance(node, yaml.ScalarNode) and node.tag in _NUMBERS and _OTHERWISE.fullmatch(node.value):
            words = f"{node.value[:40]!r} is one number to some readers of YAML, and another or text to others"
            raise NotYaml(words, node.start_mark.line + 1)
        try:
            return super().construct_object(node, deep)
        except (ValueError, KeyError, IndexError, OverflowError, AttributeError, TypeError) as error:
            value = node.value[:40] if isinstance(node.value, str) else ""
            raise NotYaml(f"{value!r} is no {node.tag.rpartition(':')[2]}: {error}", node.start_mark.line + 1) from None


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


def _large(root: yaml.Node) -> bool:
    """Whether it has more parts than a document may have, those counted as often as they stand there."""
    return sum(1 for _ in zip(_nodes(root), range(MOST_NODES + 1))) > MOST_NODES


def _nodes(root: yaml.Node) -> Iterator[yaml.Node]:
    """All nodes, from the top; one that an alias repeats, each time."""
    waiting = [root]
    while waiting:
        node = waiting.pop()
        yield node
        if isinstance(node, yaml.SequenceNode):
            waiting += node.value
        elif isinstance(node, yaml.MappingNode):
            waiting += [value for _, value in node.value]


def _each_key_once(root: yaml.Node) -> None:
    """Refuse a key that is written twice: YAML forbids it, and PyYAML drops the first without a word."""
    for node in _nodes(root):
        lines: dict[tuple[str, str], int] = {}
        for key in (k for k, _ in node.value) if isinstance(node, yaml.MappingNode) else ():
            if isinstance(key, yaml.ScalarNode):
                line, name = key.start_mark.line + 1, (key.tag, key.value)
                if name in lines:
                    raise NotYaml(f"{key.value!r} is written twice, first on line {lines[name]}", line)
                lines[name] = line


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
