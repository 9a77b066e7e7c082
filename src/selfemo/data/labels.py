"""A corpus's emotions: names, aliases, bit masks and, optionally, how close two emotions are."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from selfemo.errors import UserError

MAX_LABELS = 16
"""A set of emotions is a ``uint16``: method.md, Notation."""

Mask = int
"""A set of emotions: bit ``i`` stands for ``LabelSpace.labels[i]``. 0 is "no parseable set"."""


@dataclass(frozen=True)
class LabelSpace:
    """The label space ``L`` of a corpus (method.md, Notation).

    Args:
        name: The corpus whose space this is.
        labels: Lower-case names; their order is the bit order.
        aliases: Other spellings, lower case, to a name in ``labels``. Inflections a model is likely to
            write ("angry", "happiness") belong here; plurals and case are handled by :meth:`lookup`.
        neutral: The label that stands for "no emotion", if there is one.
        sets: Sets of more than one label that occur in the corpus, primary label first.

    Raises:
        UserError: If there are more than 16 labels, duplicates, or an alias or a set of no label.
    """

    name: str
    labels: tuple[str, ...]
    aliases: Mapping[str, str] = field(default_factory=dict)
    neutral: str | None = "neutral"
    sets: tuple[tuple[str, ...], ...] = ()

    def __post_init__(self) -> None:
        if not 1 <= len(self.labels) <= MAX_LABELS:
            raise UserError(f"{len(self.labels)} labels; a set of emotions has 1 to {MAX_LABELS}", where=self.name)
        if len(set(self.labels)) != len(self.labels):
            raise UserError("a label is named twice", where=self.name)
        if unknown := {a for a, label in self.aliases.items() if label not in self.labels}:
            raise UserError(f"aliases of no label: {sorted(unknown)}", where=self.name)
        if any(len(set(s)) < 2 or not set(s) <= set(self.labels) for s in self.sets):
            raise UserError("sets has one that is no set of two labels or more", where=self.name)

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
    def answer_masks(self) -> NDArray[np.uint16]:
        """``(A,)`` bit masks of :attr:`answers`."""
        return np.array([self.mask(answer) for answer in self.answers], dtype=np.uint16)

    @cached_property
    def words(self) -> dict[str, str]:
        """Every spelling that means a label, to the label."""
        return {**self.aliases, **{label: label for label in self.labels}}

    @cached_property
    def word_pattern(self) -> re.Pattern[str]:
        """Matches any spelling, optionally in the plural, as a whole word."""
        spellings = "|".join(sorted(map(re.escape, self.words), key=len, reverse=True))
        return re.compile(rf"(?<![\w])({spellings})(?:e?s)?(?![\w])", re.IGNORECASE)

    def lookup(self, word: str) -> str | None:
        """The label a word means, whatever its case or number, or None."""
        match = self.word_pattern.fullmatch(word.strip())
        return self.words[match.group(1).lower()] if match else None

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

    def affinity(self, pairs: Mapping[str, float]) -> NDArray[np.float64] | None:
        """The label affinity ``S`` of method.md, or None when no pair is named.

        Args:
            pairs: ``"anger~disgust": 0.5`` and so on; every other off-diagonal entry is 0.

        Returns:
            ``(m, m)``, symmetric, ones on the diagonal.

        Raises:
            UserError: If a pair is malformed, names no label, or lies outside [0, 1].
        """
        if not pairs:
            return None
        matrix = np.eye(len(self))
        for pair, value in pairs.items():
            first, _, second = pair.partition("~")
            where = f"rewards.affinity[{pair!r}]"
            if first not in self.index or second not in self.index or first == second:
                raise UserError("not a pair of labels", where=where, fix="write it as anger~disgust: 0.5")
            if not 0.0 <= value <= 1.0:
                raise UserError(f"{value} is outside 0..1", where=where)
            i, j = self.index[first], self.index[second]
            matrix[i, j] = matrix[j, i] = value
        return matrix


_COMMON = {
    "happy": "joy",
    "happiness": "joy",
    "joyful": "joy",
    "joyous": "joy",
    "excited": "joy",
    "excitement": "joy",
    "surprised": "surprise",
    "surprising": "surprise",
    "shock": "surprise",
    "shocked": "surprise",
    "angry": "anger",
    "mad": "anger",
    "annoyed": "anger",
    "annoyance": "anger",
    "frustrated": "anger",
    "sad": "sadness",
    "unhappy": "sadness",
    "sorrow": "sadness",
    "disgusted": "disgust",
    "disgusting": "disgust",
    "afraid": "fear",
    "fearful": "fear",
    "scared": "fear",
    "anxious": "fear",
    "anxiety": "fear",
    "worried": "fear",
    "no emotion": "neutral",
    "none": "neutral",
    "calm": "neutral",
}

MELD = LabelSpace("meld", ("neutral", "joy", "surprise", "anger", "sadness", "disgust", "fear"), _COMMON)
SAMPLE = replace(MELD, name="sample", sets=(("joy", "surprise"),))
EMORYNLP = LabelSpace(
    "emorynlp",
    ("neutral", "joyful", "scared", "mad", "peaceful", "powerful", "sad"),
    {
        "joy": "joyful",
        "happy": "joyful",
        "afraid": "scared",
        "fear": "scared",
        "fearful": "scared",
        "angry": "mad",
        "anger": "mad",
        "peace": "peaceful",
        "calm": "peaceful",
        "power": "powerful",
        "sadness": "sad",
        "no emotion": "neutral",
        "none": "neutral",
    },
)
IEMOCAP6 = LabelSpace(
    "iemocap6",
    ("neutral", "happy", "sad", "angry", "excited", "frustrated"),
    {
        "happiness": "happy",
        "joy": "happy",
        "joyful": "happy",
        "sadness": "sad",
        "anger": "angry",
        "mad": "angry",
        "excitement": "excited",
        "frustration": "frustrated",
        "annoyed": "frustrated",
        "no emotion": "neutral",
    },
)
IEMOCAP4 = LabelSpace(
    "iemocap4",
    ("neutral", "happy", "sad", "angry"),
    {
        "happiness": "happy",
        "joy": "happy",
        "joyful": "happy",
        "excited": "happy",
        "excitement": "happy",
        "sadness": "sad",
        "anger": "angry",
        "mad": "angry",
        "no emotion": "neutral",
    },
)
DAILYDIALOG = LabelSpace(
    "dailydialog",
    ("neutral", "anger", "disgust", "fear", "happiness", "sadness", "surprise"),
    {
        **{a: label for a, label in _COMMON.items() if label != "joy"},
        "happy": "happiness",
        "joy": "happiness",
        "joyful": "happiness",
    },
)
