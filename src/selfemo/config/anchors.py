"""Paths of a configuration: what a file says is relative to the file, what ``--set`` says to whoever calls.

They are made absolute when the configuration is read, so that they mean the same in every process that it is handed
to. What begins with ``$`` or ``~`` is left for the machine that uses it, and so is the default ``workdir``, which lies
where the caller is.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from selfemo.errors import UserError

Loc = tuple[int | str, ...]

PATHS: tuple[Loc, ...] = (
    ("workdir",),
    ("corpora", "*", "path"),
    ("corpora", "*", "labels"),
    ("feedback", "path"),
    ("gitops", "repository"),
)
"""Settings that are a path, unless they are an address."""
NAMES: tuple[Loc, ...] = (("policy", "base"), ("policy", "start"), ("evaluation", "judge"))
"""Settings that may be a path: one that begins with a dot, or the directory that is there; else a name of a hub."""
DATABASE: Loc = ("mlflow", "tracking_uri")
_SQLITE = re.compile(r"(sqlite(?:\+\w+)?:///)(?!/)([^?]+)(.*)", re.DOTALL)
_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:|[^/]*@[^/]*:")
"""A scheme, or Git's ``user@host:path``."""
JUDGES = ("embedding", "tfidf", "characters")
"""Names of ``evaluation.judge`` that are no model: they are fitted on gold."""


def anchored(data: dict[str, Any], base: Callable[[Loc], Path], place: Callable[[Loc], str]) -> dict[str, Any]:
    """The same nested data with its relative paths made absolute.

    Args:
        data: Of a configuration, not yet validated; changed in place.
        base: The directory that a setting is relative to, by where it stands.
        place: Where it stands, for errors.

    Raises:
        UserError: If a name is a directory for the caller, and none beside the file that says it.
    """
    for pattern in PATHS:
        for section, key, loc in _found(data, pattern):
            section[key] = _joined(base(loc), section[key])
    for pattern in NAMES:
        for section, key, loc in _found(data, pattern):
            if section[key] not in JUDGES:
                section[key] = _named(base(loc), section[key], place(loc))
    for section, key, loc in _found(data, DATABASE):
        if match := _SQLITE.fullmatch(section[key]):
            section[key] = f"{match[1]}{base(loc) / match[2]}{match[3]}"
    return data


def _joined(base: Path, value: str) -> str:
    if not value or value[0] in "/~$" or _ADDRESS.match(value):
        return value
    return str(base / value)


def _named(base: Path, value: str, where: str) -> str:
    joined = _joined(base, value)
    if joined == value or value.split("/")[0] in (".", "..") or _is_dir(Path(joined)):
        return joined
    if _is_dir(Path(value)):
        raise UserError(
            f"{value!r} is a directory of where you are, and none beside the configuration that names it",
            where=where,
            fix="paths in a configuration are relative to its file: write it so, or absolute",
        )
    return value


def _is_dir(path: Path) -> bool:
    try:
        return path.is_dir()
    except (OSError, ValueError):  # too long for a name, or with a NUL
        return False


def _found(data: Any, pattern: Loc, loc: Loc = ()) -> Iterator[tuple[Any, Any, Loc]]:
    """Container, key and place of each text that a pattern names."""
    head, *rest = pattern
    keys: list[Any] = [head]
    if head == "*":
        keys = list(range(len(data))) if isinstance(data, list) else []
    elif not isinstance(data, dict) or head not in data:
        return
    for key in keys:
        if rest:
            yield from _found(data[key], tuple(rest), (*loc, key))
        elif isinstance(data[key], str):
            yield data, key, (*loc, key)
