"""A label space as data: names, aliases, bit masks and, optionally, how close two emotions are. It names no label.

Where spaces come from: :mod:`selfemo.data.label_file`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from selfemo.data.scripts import fold
from selfemo.data.spelling import pattern
from selfemo.data.text import lines, nfc
from selfemo.errors import UserError
from selfemo.shown import JOINERS

MAX_LABELS = 64
"""A set of emotions is a ``uint64``: method.md, Tasks."""
MAX_LENGTH = 60
"""Characters of a label or an alias."""
_PARTING = ',;:|=~"[]{}<>，、；：｜\\`'
"""What separates labels, their answers, or their pairs: no label has it."""

Mask = int
"""A set of emotions: bit ``i`` stands for ``LabelSpace.labels[i]``. 0 is "no parseable set"."""

Place = tuple[str | int, ...]
"""Where in a label file something stands: ``("labels", "joy", "aliases", 0)``."""


class BadLabels(UserError):
    """No label space.

    Args:
        place: What is wrong with it, as a place in its file.
        message: And why.
        name: Of the space.
    """

    def __init__(self, place: Place, message: str, name: str) -> None:
        super().__init__(message, where=": ".join(filter(None, (name, ".".join(map(str, place))))))
        self.place = place


@dataclass(frozen=True)
class LabelSpace:
    """The label space ``L`` of a corpus (method.md, Tasks).

    Args:
        name: Its name; a corpus of that name uses it.
        labels: Names in any script, as prompts show them; their order is the bit order. Two that differ in case or
            width alone (:func:`selfemo.data.scripts.fold`) are one.
        aliases: Other spellings, to a name in ``labels``. Inflections a model is likely to write belong here; case,
            width and the English plural are handled by :meth:`lookup`.
        neutral: The label that stands for "no emotion", if there is one.
        sets: Sets of more than one label that occur in the corpus, primary label first.
        affinity: How close two labels are, such as ``{"a~b": 0.5}``; pairs that are not named are apart.
        descriptions: What a label means; prompts for understanding say it.

    Raises:
        BadLabels: If there are none or more than 64 labels, or one of them, an alias, a set, an affinity or the
            neutral label is none.
    """

    name: str
    labels: tuple[str, ...]
    aliases: Mapping[str, str] = field(default_factory=dict)
    neutral: str | None = None
    sets: tuple[tuple[str, ...], ...] = ()
    affinity: Mapping[str, float] = field(default_factory=dict)
    descriptions: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if found := next(_problems(self), None):
            raise BadLabels(*found, self.name)

    def __len__(self) -> int:
        return len(self.labels)

    @cached_property
    def index(self) -> dict[str, int]:
        """Name to bit position."""
        return {label: i for i, label in enumerate(self.labels)}

    @cached_property
    def answers(self) -> tuple[tuple[str, ...], ...]:
        """What an understanding prompt may be answered by: every single label, then :attr:`sets`; ``A`` in all."""
        return (*((label,) for label in self.labels), *self.sets)

    @cached_property
    def answer_masks(self) -> NDArray[np.uint64]:
        """``(A,)`` bit masks of :attr:`answers`."""
        return np.array([self.mask(answer) for answer in self.answers], dtype=np.uint64)

    @cached_property
    def own(self) -> dict[str, str]:
        """The labels by their folded spelling."""
        return {fold(label): label for label in self.labels}

    @cached_property
    def words(self) -> dict[str, str]:
        """Every spelling that means a label, folded, to the label."""
        return {**{fold(alias): label for alias, label in self.aliases.items()}, **self.own}

    @cached_property
    def word_pattern(self) -> Any:
        """Finds spellings in a folded line (:mod:`selfemo.data.spelling`)."""
        return pattern(self.words)

    @cached_property
    def own_pattern(self) -> Any:
        """Finds the labels themselves in a folded line, without their aliases."""
        return pattern(self.own)

    def found(self, text: str) -> Iterator[tuple[str, str]]:
        """Labels that a text names, in order, each with the folded text before it on its line."""
        for line in map(fold, lines(text)):
            for match in self.word_pattern.finditer(line):
                yield self.words[match.group("found")], line[: match.start()]

    def lookup(self, word: str) -> str | None:
        """The label a word means, whatever its case or number, or None."""
        match = self.word_pattern.fullmatch(fold(word))
        return self.words[match.group("found")] if match else None

    def mask(self, names: Iterable[str]) -> Mask:
        """Names to a bit mask.

        Raises:
            UserError: If a name is not a label of this space.
        """
        bits = 0
        for name in names:
            if name not in self.index:
                raise UserError(f"{name!r} is not a label of {self.name}", fix=f"use one of {', '.join(self.labels)}")
            bits |= 1 << self.index[name]
        return bits

    def names(self, mask: Mask) -> tuple[str, ...]:
        """A bit mask to names, in bit order."""
        return tuple(label for i, label in enumerate(self.labels) if mask >> i & 1)

    def affinity_matrix(self, more: Mapping[str, float]) -> NDArray[np.float64] | None:
        """The label affinity ``S`` of method.md, or None when no pair is named.

        Args:
            more: Pairs beside :attr:`affinity`, such as ``"a~b": 0.5``; they win. Every other off-diagonal entry is 0.

        Returns:
            ``(m, m)``, symmetric, ones on the diagonal.

        Raises:
            UserError: If a pair is malformed, names no label, or lies outside [0, 1].
        """
        if not (pairs := {**self.affinity, **more}):
            return None
        matrix = np.eye(len(self))
        for pair, value in pairs.items():
            if problem := _pair(pair, value, self.labels):
                raise UserError(problem, where=f"rewards.affinity[{pair!r}]", fix="write it as one~other: 0.5")
            first, _, second = pair.partition("~")
            i, j = self.index[first], self.index[second]
            matrix[i, j] = matrix[j, i] = value
        return matrix


Spaces = Mapping[str, LabelSpace]
"""Label spaces by corpus, the gate corpus first: read once, and handed on."""


def _pair(pair: str, value: float, labels: Iterable[str]) -> str:
    """What is wrong with an affinity; empty if nothing is."""
    first, _, second = pair.partition("~")
    known = set(labels)
    if first not in known or second not in known or first == second:
        return f"{pair!r} is not a pair of labels"
    return "" if 0.0 <= value <= 1.0 else f"{value} is outside 0..1"


def _problems(space: LabelSpace) -> Iterator[tuple[Place, str]]:
    """What is wrong with a label space, and where."""
    if not 1 <= len(space.labels) <= MAX_LABELS:
        yield ("labels",), f"{len(space.labels)} labels; a label space has 1 to {MAX_LABELS}"
    known: dict[str, str] = {}
    for label in space.labels:
        if problem := _unwritable(label):
            yield ("labels", label), f"{label[:MAX_LENGTH]!r} {problem}"
        elif (other := known.setdefault(fold(label), label)) != label or space.labels.count(label) > 1:
            yield ("labels", label), f"{label!r} is named twice" + (f": as {other!r}" if other != label else "")
    meant: dict[str, str] = {}
    for alias, label in space.aliases.items():
        place = ("labels", label, "aliases", alias)
        if label not in space.labels:
            yield ("labels",), f"aliases of no label: {alias!r} stands for {label!r}"
        elif problem := _unwritable(alias):
            yield place, f"{alias[:MAX_LENGTH]!r} {problem}"
        elif known.get(fold(alias), label) != label:
            yield place, f"{alias!r} is an alias of {label!r}, and a label itself"
        elif (other := meant.setdefault(fold(alias), label)) != label:
            yield place, f"{alias!r} is an alias of {other!r} and of {label!r}"
    if space.neutral is not None and space.neutral not in space.labels:
        yield ("neutral",), f"{space.neutral!r} is not one of its labels"
    for number, one in enumerate(space.sets):
        if len(set(one)) != len(one) or len(one) < 2 or not set(one) <= set(space.labels):
            yield ("sets", number), f"{', '.join(one)}: sets has one that is no set of two labels or more"
        if space.sets.index(one) != number:
            yield ("sets", number), f"{', '.join(one)} is named twice"
    for pair, value in space.affinity.items():
        if problem := _pair(pair, value, space.labels):
            yield ("affinity", pair), problem


def _unwritable(name: str) -> str:
    """Why a label cannot be asked for and read back; empty if it can."""
    if not fold(name):
        return "is empty"
    if name != " ".join(nfc(name).split()):
        return "has spaces at an end or in a row, or is not in Unicode's normal form (NFC)"
    if len(name) > MAX_LENGTH:
        return f"is longer than {MAX_LENGTH} characters"
    if bad := next((c for c in name if c in _PARTING or not (c.isprintable() or c in JOINERS)), None):
        return f"has {bad!r}, which parts labels" if bad.isprintable() else f"has the character U+{ord(bad):04X}"
    return "" if any(c.isalnum() or not c.isascii() for c in name) else "has no letter"
