"""How commands report: for people, or with ``--json`` one JSON object on stdout and all else on stderr (docs/cli.md).

A command that reports is decorated with :func:`reports`, which names the keys of its object, and returns a
:class:`Report`. No key is taken away or changes its meaning; new ones may come.
"""

from __future__ import annotations

import functools
import json
import math
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext, redirect_stdout, suppress
from dataclasses import asdict, dataclass, field, is_dataclass
from enum import Enum
from pathlib import Path
from typing import Any, TypeVar

import click

from selfemo.errors import Exit
from selfemo.shown import redacted

F = TypeVar("F", bound=Callable[..., Any])

KEYS = "__selfemo_keys__"
"""Attribute of a command's function: the keys of its object."""


@dataclass(frozen=True)
class Report:
    """What a command found.

    Attributes:
        values: By the keys that :func:`reports` names: whatever JSON has a form for, dataclasses, paths and dates.
        text: The same for people: lines, or what prints them. A command that takes long prints them as it goes on
            instead; with ``--json`` they are on stderr.
        exit: What the command ends with.
    """

    values: Mapping[str, Any]
    text: str | Callable[[], None] = field(default="", repr=False)
    exit: Exit = Exit.DONE


def reports(*keys: str) -> Callable[[F], F]:
    """Give a command ``--json``; it returns a :class:`Report`, or None where another process of it reports.

    Args:
        keys: Of its object, all of them, in their order.
    """

    def decorate(command: F) -> F:
        @click.option("--json", "as_json", is_flag=True, help="Print one JSON object (docs/cli.md), and nothing else.")
        @functools.wraps(command)
        def wrapped(*given: Any, as_json: bool, **rest: Any) -> None:
            with _elsewhere() if as_json else nullcontext():
                found: Report | None = command(*given, **rest)
            if found is None:
                return
            if set(found.values) != set(keys):
                raise TypeError(f"a report of {sorted(found.values)} is not of the keys {sorted(keys)}")
            if as_json:
                click.echo(to_json({key: found.values[key] for key in keys}))
            elif callable(found.text):
                found.text()
            elif found.text:
                click.echo(found.text)
            if found.exit is not Exit.DONE:
                sys.exit(found.exit)

        setattr(wrapped, KEYS, keys)
        return wrapped  # type: ignore[return-value]  # functools.wraps keeps the signature

    return decorate


def to_json(value: Any) -> str:
    """JSON that any parser takes and any terminal may show: no NaN, no credentials, nothing that controls either."""
    text = json.dumps(_plain(value), ensure_ascii=False, indent=2, allow_nan=False)
    return "".join(c if c.isprintable() or c == "\n" else json.dumps(c)[1:-1] for c in text)


def _plain(value: Any) -> Any:
    if is_dataclass(value) and not isinstance(value, type):
        value = asdict(value)
    if isinstance(value, Enum):
        value = value.value
    if isinstance(value, Mapping):
        return {str(key): _plain(one) for key, one in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [_plain(one) for one in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, (bool, int)):
        return value
    if hasattr(value, "tolist"):  # numpy's
        return _plain(value.tolist())
    if hasattr(value, "isoformat"):
        return value.isoformat()
    return redacted(str(value) if isinstance(value, Path) else value)


@contextmanager
def _elsewhere() -> Iterator[None]:
    """What a command, its libraries and its processes print on stdout goes to stderr."""
    sys.stdout.flush()
    kept: int | None = None
    with suppress(OSError, ValueError):  # a stdout that is no file
        if sys.stdout.fileno() == 1:
            kept = os.dup(1)
            os.dup2(2, 1)
    try:
        with redirect_stdout(sys.stderr):
            yield
    finally:
        if kept is not None:
            os.dup2(kept, 1)
            os.close(kept)
