"""YAML as a person wrote it to plain data: the one place where whatever PyYAML falls over becomes one kind of error."""

from __future__ import annotations

from typing import Any

import yaml


class NotYaml(Exception):
    """What a person has to mend.

    Args:
        message: What is wrong.
        line: Where, from 1; None where the parser does not say.
    """

    def __init__(self, message: str, line: int | None = None) -> None:
        super().__init__(message)
        self.message, self.line = message, line


def parse(text: str) -> tuple[yaml.Node | None, Any]:
    """The document's nodes, which know their lines, and its data.

    PyYAML's constructors raise what Python raises: `0x_` and dates that there are none, numbers of thousands of
    digits, tags that do not fit, lists thousands deep, values that hold themselves.

    Raises:
        NotYaml: If it cannot be read.
    """
    try:
        node = yaml.compose(text, yaml.SafeLoader)
        _each_key_once(node, set())
        return node, _Whole(text).get_single_data()
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        raise NotYaml(str(getattr(error, "problem", None) or error), mark.line + 1 if mark else None) from None
    except RecursionError:
        raise NotYaml("lists or sections are nested too deeply") from None
    except (ValueError, OverflowError) as error:  # an escape beyond Unicode
        raise NotYaml(str(error)) from None


def _each_key_once(node: yaml.Node | None, seen: set[int]) -> None:
    """Refuse a key that is written twice: YAML forbids it, and PyYAML drops the first without a word."""
    if node is None or id(node) in seen:
        return
    seen.add(id(node))
    if isinstance(node, yaml.SequenceNode):
        for item in node.value:
            _each_key_once(item, seen)
    if isinstance(node, yaml.MappingNode):
        lines: dict[tuple[str, str], int] = {}
        for key, value in node.value:
            if isinstance(key, yaml.ScalarNode):
                line, name = key.start_mark.line + 1, (key.tag, key.value)
                if name in lines:
                    raise NotYaml(f"{key.value!r} is written twice, first on line {lines[name]}", line)
                lines[name] = line
            _each_key_once(value, seen)


class _Whole(yaml.SafeLoader):
    """A loader that says on which line a value stands that cannot be made."""

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        try:
            return super().construct_object(node, deep)
        except (ValueError, KeyError, IndexError, OverflowError, AttributeError, TypeError) as error:
            value = node.value[:40] if isinstance(node.value, str) else ""
            raise NotYaml(f"{value!r} is no {node.tag.rpartition(':')[2]}: {error}", node.start_mark.line + 1) from None
