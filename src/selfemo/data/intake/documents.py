"""The objects of a JSON document: a list of them, under one key, or by their ids."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from selfemo.data.intake.files import split_named


def objects(data: Any) -> Iterator[tuple[Any, Any]] | None:
    """The rows of a document, in order: each as it stands there, and as a row; None if it has none.

    A chat that is a bare list of messages is a row with ``messages``. What is no object at all is handed on as it is.

    Args:
        data: What was parsed.
    """
    if isinstance(data, dict) and data and all(split_named(k) and isinstance(v, list) for k, v in data.items()):
        return ((item, _row(item, split=split)) for split, items in data.items() for item in items)
    if isinstance(data, dict):
        lists = [value for value in data.values() if isinstance(value, list) and value and isinstance(value[0], dict)]
        if len(lists) == 1 and not any(isinstance(v, dict) for v in data.values()):
            one_chat = _is_turns(lists[0]) and len(data) > 1
            return _listed([data] if one_chat else lists[0])
        if data and all(isinstance(value, dict | list) for value in data.values()):
            return ((v, v | {"id": v.get("id", k)} if isinstance(v, dict) else _row(v, id=k)) for k, v in data.items())
        return _listed([data])
    return _listed(data) if isinstance(data, list) else None


def _listed(items: list[Any]) -> Iterator[tuple[Any, Any]]:
    return ((item, _row(item)) for item in items)


def _row(item: Any, **more: Any) -> Any:
    if isinstance(item, list):
        return {"messages": item} | more
    return item | more if isinstance(item, dict) and more else item


def _is_turns(items: list[Any]) -> bool:
    return all(isinstance(item, dict) and {"content", "text", "message"} & {k.lower() for k in item} for item in items)
