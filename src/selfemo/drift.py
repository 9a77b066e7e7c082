"""Where the two sides of a comparison lie: what a policy was judged on, and what it read since (docs/feedback.md)."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import TYPE_CHECKING

import numpy as np

from selfemo.annotate.belief import scores_of
from selfemo.data.dialogue import read_jsonl
from selfemo.data.feedback import Feedback
from selfemo.data.labels import LabelSpace
from selfemo.data.records import Scored, read_records
from selfemo.errors import UserError
from selfemo.method.drift import Read
from selfemo.method.evaluation import PREDICTIONS
from selfemo.method.rewards import marginals

if TYPE_CHECKING:
    from selfemo.context import Context
    from selfemo.policies import Policy

MOST = 2_000
"""Dialogues of what was served that are looked at, the newest: more would take long and say no more."""


def reference(context: Context, name: str, policy: Policy, corpus: str, space: LabelSpace) -> list[Read]:
    """The turns that a policy was judged on, as it read them then.

    Args:
        context: Of the command.
        name: As the policy was asked for.
        policy: What it stands for.
        corpus: Whose turns.
        space: Its labels.

    Raises:
        UserError: If no evaluation of the policy under these labels is known.
    """
    scores = scores_of(context, name, policy)
    fix = "name a version of the registry, or a policy of a run that evaluated it"
    if not scores:
        raise UserError("no evaluation of it is known", where=name, fix=fix)
    rows = [
        row
        for row in read_records(context.store.fetch(scores) / PREDICTIONS, Scored)
        if row.corpus == corpus and len(row.posterior) == len(space.answers)
    ]
    if not rows:
        raise UserError(f"its evaluation knows no turns under the labels of {corpus}", where=scores, fix=fix)
    manifest = context.store.manifest(scores)
    prepared = str(manifest.inputs.get("prepared", "")) if manifest else ""
    texts = {}
    if prepared:
        for dialogue in read_jsonl(context.store.fetch(prepared) / "held_out.jsonl"):
            texts.update({(dialogue.id, number): turn.text for number, turn in enumerate(dialogue.turns)})
    chances_Nm = marginals(np.array([row.posterior for row in rows]), space.answer_masks, len(space))
    return [
        Read(row.dialogue, dict(zip(space.labels, map(float, chances_m), strict=True)), texts.get(_place(row), ""))
        for row, chances_m in zip(rows, chances_Nm, strict=True)
    ]


def _place(row: Scored) -> tuple[str, int]:
    return row.dialogue, row.turn


def served(place: Feedback, corpus: str, digest: str, since: datetime) -> tuple[list[Read], int]:
    """What a policy read in the conversations that were collected, those of the newest days first.

    Args:
        place: Where they are.
        corpus: Whose labels.
        digest: Of the policy's weights; empty takes any.
        since: Earlier readings are left out.

    Returns:
        The turns, and how many readings were left out because other weights made them.
    """
    found: dict[tuple[str, int], Read] = {}
    dialogues: set[str] = set()
    others = 0
    for reading in place.readings():
        if reading.when < since or reading.dialogue.split("/")[0] != corpus:
            continue
        if digest and reading.digest != digest:
            others += 1
        elif reading.dialogue in dialogues or len(dialogues) < MOST:
            dialogues.add(reading.dialogue)
            found.setdefault((reading.dialogue, reading.turn), Read(reading.dialogue, reading.chances))
    return list(_with_texts(place, found, dialogues)), others


def _with_texts(place: Feedback, found: dict[tuple[str, int], Read], dialogues: set[str]) -> Iterator[Read]:
    texts = {}
    for dialogue in place.conversations():
        if dialogue.id in dialogues:
            texts.update({(dialogue.id, number): turn.text for number, turn in enumerate(dialogue.turns)})
    for key, read in found.items():
        yield Read(read.dialogue, read.chances, texts.get(key, ""))
