"""Which turns a person is asked about, and why: the policy is unsure, its voices disagree, or nobody spoke like that.

Each reason ranks the turns by itself, and they are asked in turn, the first of each reason first: entropies, distances
and shares of words are not measured in one unit. Defined here; uncertainty sampling and disagreement are the usual two
(Settles 2009).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest

from selfemo.data.corrections import Correction, Reading
from selfemo.data.dialogue import Dialogue, Utterance
from selfemo.data.labels import LabelSpace, Spaces
from selfemo.data.records import Sample
from selfemo.data.scripts import words

SHOWN = 6
"""Turns before the one in question that a person is shown."""
FEWEST_WORDS = 4
"""Of a turn that can be called unlike what was seen before."""
UNSURE, APART, NEW = 0.7, 0.3, 0.5
"""A turn is asked about if its likeliest label is less likely than the first, its roles at least as far apart as the
second, or as many of its words new as the third."""


@dataclass(frozen=True)
class Asked:
    """A turn that a person is asked about.

    Attributes:
        dialogue: Id of its dialogue.
        turn: Which, counted from 0.
        space: Its labels.
        history: Turns before it, the last :data:`SHOWN`.
        said: The turn.
        chances: How likely the policy holds each label, likeliest first; empty if it has not read the turn.
        why: Reasons, in words.
    """

    dialogue: str
    turn: int
    space: LabelSpace
    history: tuple[Utterance, ...]
    said: Utterance
    chances: Mapping[str, float]
    why: tuple[str, ...]

    @property
    def key(self) -> tuple[str, int]:
        """Names the turn."""
        return self.dialogue, self.turn


def asked(
    dialogues: Iterable[Dialogue],
    readings: Iterable[Reading],
    corrections: Iterable[Correction],
    spaces: Spaces,
    *,
    samples: Iterable[Sample] = (),
    seen: Iterable[Dialogue] = (),
    limit: int = 100,
) -> list[Asked]:
    """The turns to ask about, the most worthwhile first.

    Args:
        dialogues: Whole; those of label spaces that are not in ``spaces`` are left out, and so are turns with gold.
        readings: What the policy read in them; of a turn the first one counts, which is the newest.
        corrections: Their turns are not asked about again.
        spaces: Labels by corpus.
        samples: What a filter kept, for what the voices said.
        seen: Dialogues that the policy was taught; without any, no turn is called unlike them.
        limit: Most turns.
    """
    done = {(row.dialogue, row.turn) for row in corrections}
    read: dict[tuple[str, int], Reading] = {}
    for reading in readings:
        read.setdefault((reading.dialogue, reading.turn), reading)
    apart = _apart(samples)
    known = {word for dialogue in seen for turn in dialogue.turns for word in words(turn.text)}
    found: dict[tuple[str, int], Asked] = {}
    worth: tuple[dict[tuple[str, int], float], ...] = ({}, {}, {})
    for dialogue in dialogues:
        space = spaces.get(dialogue.corpus)
        for number, turn in enumerate(dialogue.turns if space else ()):
            key = (dialogue.id, number)
            if turn.gold or key in done or not turn.text.strip():
                continue
            assert space is not None
            chances = _chances(read.get(key), space)
            why = []
            label, chance = next(iter(chances.items()), ("", 1.0))
            if chance < UNSURE:
                worth[0][key] = -sum(p * math.log(p) for p in chances.values() if p > 0) / math.log(len(space))
                why.append(f"unsure: {label} {chance:.0%}")
            if apart.get(key, 0.0) >= APART:
                worth[1][key] = apart[key]
                why.append(f"the voices disagree: {apart[key]:.0%} apart")
            if known and (new := _new(turn.text, known)) >= NEW:
                worth[2][key] = new
                why.append(f"unlike what was seen: {new:.0%} of its words are new")
            if why:
                history = dialogue.turns[max(0, number - SHOWN) : number]
                found[key] = Asked(dialogue.id, number, space, history, turn, chances, tuple(why))
    return [found[key] for key in _in_turn(worth)[:limit]]


def _in_turn(worth: Sequence[Mapping[tuple[str, int], float]]) -> list[tuple[str, int]]:
    ranked = [sorted(one, key=lambda key: (-one[key], key)) for one in worth]
    return list(dict.fromkeys(key for keys in zip_longest(*ranked) for key in keys if key is not None))


def _chances(reading: Reading | None, space: LabelSpace) -> dict[str, float]:
    """Labels of the space, likeliest first, as shares of one."""
    given = {label: p for label, p in (reading.chances if reading else {}).items() if label in space.index and p >= 0}
    total = sum(given.values())
    ordered = sorted(given, key=lambda label: (-given[label], space.index[label]))
    return {label: given[label] / total for label in ordered} if total > 0 else {}


def _apart(samples: Iterable[Sample]) -> dict[tuple[str, int], float]:
    """How far the voices' posteriors of a turn are apart.

    Total variation between their pool and the responder's; the recogniser's, if the responder was not asked.
    """
    found = {}
    for sample in samples:
        number = sample.id.removeprefix(f"r{sample.round}/understanding/{sample.dialogue}/").removesuffix(
            "#understanding"
        )
        if number.isdecimal() and len(sample.consensus) == len(sample.posterior) > 0:  # a turn that was really said
            distance = sum(abs(p - q) for p, q in zip(sample.consensus, sample.posterior, strict=True)) / 2
            found[sample.dialogue, int(number)] = distance
    return found


def _new(text: str, known: set[str]) -> float:
    """Share of a text's words that were never seen; 0 of one that is short."""
    said = words(text)
    return sum(word not in known for word in said) / len(said) if len(said) >= FEWEST_WORDS else 0.0
