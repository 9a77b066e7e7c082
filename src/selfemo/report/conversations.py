"""The conversations of a run for the page's browser: dialogues as they were read, and self-play with all its replies.

They are packed: JSON, compressed, as text, since there can be thousands. Where they would be too much for one page,
some are left out evenly, and the page says how many.
"""

from __future__ import annotations

import base64
import gzip
import json
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from selfemo.data.labels import LabelSpace
from selfemo.data.records import Candidate, Outcome, Posterior, Rollout, Sample
from selfemo.report.evidence import FilterEvidence, Round

MOST = 12_000_000
"""Characters of the packed conversations: a page of 20 MB has room for the rest."""
SURE = 3
"""Answers of a reading that are shown, the likeliest."""

Item = dict[str, Any]
"""A conversation as the page's script reads it."""


@dataclass(frozen=True)
class Packed:
    """What the page embeds.

    Attributes:
        text: JSON of the conversations, gzip, base64.
        shown: How many there are in it.
        total: How many the run has.
    """

    text: str
    shown: int
    total: int


def packed(items: Sequence[Item], most: int = MOST) -> Packed:
    """Pack conversations; where they are too many for ``most`` characters, an even share of them.

    Args:
        items: Of :func:`conversations`.
        most: Characters.
    """
    chosen = list(items)
    text = _text(chosen)
    while len(text) > most and len(chosen) > 1:
        count = max(1, int(len(chosen) * 0.95 * most / len(text)))
        chosen = [items[i * len(items) // count] for i in range(count)]
        text = _text(chosen)
    return Packed(text, len(chosen), len(items))


def _text(items: Sequence[Item]) -> str:
    data = json.dumps(items, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")
    return base64.b64encode(gzip.compress(data, 6, mtime=0)).decode()


def conversations(rounds: Iterable[Round]) -> list[Item]:
    """All conversations of the rounds: self-play first, then what was read in corpus dialogues."""
    return [item for r in rounds if r.kept for item in _of_round(r, r.kept)]


def _of_round(round: Round, kept: FilterEvidence) -> list[Item]:
    samples: dict[str, list[Sample]] = defaultdict(list)
    for sample in kept.samples:
        samples[sample.parents[0]].append(sample)
    played: dict[str, list[Rollout]] = defaultdict(list)
    read: dict[str, list[Rollout]] = defaultdict(list)
    for rollout in kept.rollouts:
        (played[rollout.episode] if rollout.episode else read[rollout.dialogue]).append(rollout)
    items = []
    for kind, groups in (("self-play", played), ("corpus", read)):
        for name, group in groups.items():
            space = round.after.spaces.get(group[0].corpus)
            turns = []
            for rollout in group:
                outcome = kept.outcomes.get(rollout.id)
                turn = _played(rollout, outcome, space) if rollout.episode else _read(rollout, outcome, space)
                if rollout.id in samples:
                    turn["samples"] = [_kept(sample) for sample in samples[rollout.id]]
                turns.append(turn)
            first = group[0]
            seed = [[u.speaker, u.text] for u in first.history] if kind == "self-play" else []
            items.append(
                {
                    "kind": kind,
                    "round": round.number,
                    "corpus": first.corpus,
                    "dialogue": first.dialogue,
                    "name": name,
                    "seed": seed,
                    "turns": turns,
                }
            )
    return items


def _played(rollout: Rollout, outcome: Outcome | None, space: LabelSpace | None) -> Item:
    """A generated turn: each reply as its responder declared it, and as it was read."""
    reasons = outcome.reasons if outcome else ("",) * len(rollout.candidates)
    replies = [_reply(c, reason, space) for c, reason in zip(rollout.candidates, reasons, strict=True)]
    return {"speaker": rollout.role, "chosen": rollout.chosen, "replies": replies}


def _reply(candidate: Candidate, reason: str, space: LabelSpace | None) -> Item:
    return {
        "text": candidate.reply if candidate.reply else candidate.text,
        "declared": list(candidate.labels or ()),
        "read": _surest(candidate.reading, space),
        "reward": round(candidate.score, 3),
        "sure": round(candidate.confidence, 3),
        "why": reason,
    }


def _read(rollout: Rollout, outcome: Outcome | None, space: LabelSpace | None) -> Item:
    """A corpus turn: what each voice reads in it, and what the filter made of that."""
    last = rollout.history[-1]
    turn: Item = {
        "speaker": last.speaker,
        "text": last.text,
        "voices": {_voice(name): _surest(p, space) for name, p in rollout.posteriors.items()},
    }
    if rollout.gold:
        turn["gold"] = list(rollout.gold)
    if outcome:
        turn |= {
            "target": list(outcome.target),
            "reward": round(outcome.scores[0], 3),
            "sure": round(outcome.confidences[0], 3),
            "why": outcome.reasons[0],
        }
    return turn


def _voice(name: str) -> str:
    """A voice's name: the recogniser's views are named by how many turns they show."""
    return f"recogniser, {name} turn{'' if name == '1' else 's'}" if name.isdecimal() else name


def _surest(chances_A: Posterior, space: LabelSpace | None) -> list[list[Any]]:
    """The likeliest answers with their probabilities, in hundredths."""
    if not chances_A or space is None:
        return []
    chances = np.array(chances_A)
    best = np.argsort(-chances, kind="stable")[:SURE]
    return [[" + ".join(space.answers[i]), round(100 * float(chances[i]))] for i in best if chances[i] >= 0.005]


def _kept(sample: Sample) -> Item:
    return {
        "id": sample.id,
        "task": sample.task,
        "target": list(sample.target),
        "gold": sample.gold,
        "sure": round(sample.confidence, 3),
    }
