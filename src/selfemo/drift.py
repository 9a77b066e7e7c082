"""Where the two sides of a comparison lie: what a policy was judged on, and what it read since (docs/feedback.md)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING

import numpy as np

from selfemo.annotate.belief import evaluation_of
from selfemo.data.dialogue import Dialogue
from selfemo.data.feedback import Feedback
from selfemo.data.labels import LabelSpace
from selfemo.errors import UserError
from selfemo.method.drift import Read
from selfemo.method.evaluation import predictions
from selfemo.method.rewards import marginals
from selfemo.steps.evaluate import scored_on

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
    evaluation_uri = evaluation_of(context, name, policy)
    fix = "name a version of the registry, or a policy of a run that evaluated it"
    if not evaluation_uri:
        raise UserError("no evaluation of it is known", where=name, fix=fix)
    rows = [
        row
        for row in predictions(context.store, evaluation_uri)
        if row.corpus == corpus and len(row.posterior) == len(space.answers)
    ]
    if not rows:
        raise UserError(f"its evaluation knows no turns under the labels of {corpus}", where=evaluation_uri, fix=fix)
    texts = _texts(scored_on(context.store, evaluation_uri))
    chances_Nm = marginals(np.array([row.posterior for row in rows]), space.answer_masks, len(space))
    return [
        Read(
            row.dialogue,
            dict(zip(space.labels, map(float, chances_m), strict=True)),
            texts.get((row.dialogue, row.turn), ""),
        )
        for row, chances_m in zip(rows, chances_Nm, strict=True)
    ]


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
    texts = _texts(row for row in place.conversations() if row.id in dialogues)
    return [replace(read, text=texts.get(key, "")) for key, read in found.items()], others


def _texts(dialogues: Iterable[Dialogue]) -> dict[tuple[str, int], str]:
    """What was said, by dialogue and turn."""
    return {(row.id, number): turn.text for row in dialogues for number, turn in enumerate(row.turns)}
