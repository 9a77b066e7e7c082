"""What a person reads of a corpus before a model learns from it: the report of ``selfemo data check``.

Languages are told by py3langid: its model of 97 languages lies in the package (nothing is fetched), it needs numpy
alone and some 20 µs a dialogue. lingua is better at a few words, and 96 MB; so whole dialogues are looked at here.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Any

from selfemo.data.corpora import leakage
from selfemo.data.corpora.own import SPLITS
from selfemo.data.dialogue import Dialogue
from selfemo.data.needs import needed
from selfemo.data.scripts import length
from selfemo.method.flywheel.duplicates import SHORT, NearDuplicates
from selfemo.method.flywheel.texts import shingles, words_alone
from selfemo.report import suspicious

NEAR = 0.8
"""Jaccard similarity of word 3-shingles from which on turns are near-duplicates: the default of a run's filter."""
MOST_COMPARED = 30_000
"""Turns that are compared with one another; more take memory that grows with them."""
LEAST_LETTERS = 20
"""Of a dialogue whose language is told."""


def report(dialogues: Sequence[Dialogue], refused: Sequence[dict[str, str]], terms: str = "") -> dict[str, Any]:
    """All figures, as ``--json`` prints them.

    Args:
        dialogues: Of all splits.
        refused: Rows that a run refuses, such as gold outside the labels: ``where`` and ``problem`` of each.
        terms: What the corpus's authors state of its use.
    """
    drawn: dict[str, list[Dialogue]] = defaultdict(list)
    for dialogue in dialogues:
        drawn[dialogue.split].append(dialogue)
    by_split = {split: drawn[split] for split in dict.fromkeys((*SPLITS, *drawn)) if split in drawn}
    found = suspicious.look(dialogues)
    return {
        "splits": {split: _counts(some) for split, some in by_split.items()},
        "labels": _labels(by_split),
        "lengths": {
            "turns of a dialogue": _spread([len(d.turns) for d in dialogues]),
            "words of a turn": _spread([length(t.text) for d in dialogues for t in d.turns]),
        },
        "duplicates": _duplicates(dialogues),
        "leakage": _leakage(by_split),
        "languages": _languages(dialogues),
        "suspicious": {
            kind: {"count": found.counts[kind], "meaning": meaning, "examples": found.examples[kind]}
            for kind, meaning in suspicious.MEANINGS.items()
            if found.counts[kind]
        },
        "personal data": {"turns looked at": found.looked_at, "kinds": dict(found.kinds)},
        "refused": {"count": len(refused), "examples": [f"{r['where']}: {r['problem']}" for r in refused[:5]]},
        "terms": terms,
    }


def _counts(dialogues: Sequence[Dialogue]) -> dict[str, int]:
    turns = [turn for dialogue in dialogues for turn in dialogue.turns]
    return {
        "dialogues": len(dialogues),
        "turns": len(turns),
        "labelled": sum(turn.gold is not None for turn in turns),
        "with several labels": sum(len(turn.gold or ()) > 1 for turn in turns),
        "with votes": sum(turn.votes is not None for turn in turns),
        "speakers": len({turn.speaker for turn in turns}),
    }


def _labels(by_split: dict[str, list[Dialogue]]) -> dict[str, dict[str, int]]:
    """How often each label is gold, by split, the most frequent first."""
    counts = {
        split: Counter(label for d in some for t in d.turns for label in t.gold or ())
        for split, some in by_split.items()
    }
    whole: Counter[str] = sum(counts.values(), Counter())
    return {label: {split: counts[split][label] for split in counts} for label, _ in whole.most_common()}


def _spread(values: list[int]) -> dict[str, int]:
    if not values:
        return {}
    ordered = sorted(values)
    at = {"least": 0.0, "median": 0.5, "95 %": 0.95, "most": 1.0}
    return {name: ordered[round(share * (len(ordered) - 1))] for name, share in at.items()}


def _duplicates(dialogues: Sequence[Dialogue]) -> dict[str, int]:
    whole = Counter(tuple(words_alone(t.text) for t in d.turns) for d in dialogues)
    turns = [t.text for d in dialogues for t in d.turns if length(t.text) >= SHORT]
    same = Counter(map(words_alone, turns))
    index, near, compared = NearDuplicates(NEAR), 0, list(same)[:MOST_COMPARED]
    for text in compared:
        found = shingles(text)
        near += index.near(found)
        index.add(found)
    return {
        "dialogues that are another again": sum(count - 1 for count in whole.values()),
        f"turns of {SHORT} words or more that are another again": sum(count - 1 for count in same.values()),
        "turns that are nearly another": near,
        "turns compared for that": len(compared),
    }


def _leakage(by_split: dict[str, list[Dialogue]]) -> dict[str, int]:
    held_out = [d for split, some in by_split.items() if split != "train" for d in some]
    training = by_split.get("train", [])
    _, turns = leakage.remove(training, held_out)
    known = {tuple(words_alone(t.text) for t in d.turns) for d in held_out}
    speakers = {t.speaker for d in training for t in d.turns} & {t.speaker for d in held_out for t in d.turns}
    return {
        "training turns that stand in a held-out split": turns,
        "training dialogues that are a held-out one": sum(
            tuple(words_alone(t.text) for t in d.turns) in known for d in training
        ),
        "speakers on both sides": len(speakers),
    }


def _languages(dialogues: Sequence[Dialogue]) -> dict[str, Any]:
    langid = needed("py3langid")
    counts: Counter[str] = Counter()
    examples: dict[str, list[str]] = defaultdict(list)
    for dialogue in dialogues:
        text = " ".join(turn.text for turn in dialogue.turns)[:2000]
        if sum(c.isalpha() for c in text) >= LEAST_LETTERS:
            language = langid.classify(text)[0]
            counts[language] += 1
            if len(examples[language]) < suspicious.EXAMPLES:
                examples[language].append(dialogue.id)
    rare = {language: examples[language] for language, _ in counts.most_common()[1:]}
    return {"dialogues": dict(counts.most_common()), "examples of the others": rare}
