"""The settings that were probably meant by a name which is none."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from difflib import SequenceMatcher
from typing import Any, get_args

from selfemo.config.names import names
from selfemo.config.run import Config
from selfemo.config.section import Section

ALIKE, ELSEWHERE = 0.7, 0.85
"""Least likeness of two names of one section, and of two, from 0 to 1, as difflib measures it: of `rouns` and `rounds`
it is 0.91, of `bounds` and `rounds` 0.83."""
MOST = 3
"""Settings of other sections that are named: of more, none was meant."""


def nearest(at: Sequence[str | int]) -> list[str]:
    """Sections or settings whose names are most like that of a place in the configuration; of the same section first.

    Args:
        at: Names of the sections and of what is no setting; numbers in lists.
    """
    *before, last = at
    found = {name: [".".join(map(str, [*before, name]))] for name in _fields(before)}
    own = set(found)
    elsewhere = defaultdict(list)
    for name, _ in names():
        elsewhere[name.rpartition(".")[2]].append(name)
    for word, meant in elsewhere.items():
        if len(meant) <= MOST:
            found.setdefault(word, meant)
    likeness = {word: SequenceMatcher(None, str(last), word).ratio() for word in found}
    close = [word for word, like in likeness.items() if like >= (ALIKE if word in own else ELSEWHERE)]
    return found[max(close, key=likeness.__getitem__)] if close else []


def _fields(before: Sequence[str | int]) -> list[str]:
    """What is called by a name in a section, or in an item of a list of sections."""
    sections: list[type[Section]] = [Config]
    for key in before:
        if isinstance(key, str):
            fields = [section.model_fields[key] for section in sections if key in section.model_fields]
            sections = [inner for field in fields for inner in _sections(field.annotation)]
    return [name for section in sections for name in section.model_fields]


def _sections(annotation: Any) -> Iterator[type[Section]]:
    """The sections in a field's type, as of ``Canary | None`` and ``tuple[Corpus, ...]``."""
    if isinstance(annotation, type) and issubclass(annotation, Section):
        yield annotation
    for inner in get_args(annotation):
        yield from _sections(inner)
