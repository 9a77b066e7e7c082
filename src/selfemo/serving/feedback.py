"""``POST /v1/feedback``: what a client says that a turn of a collected conversation expresses."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from datetime import UTC, datetime
from urllib.parse import unquote

from fastapi import FastAPI, Request
from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException

from selfemo.data.feedback import Correction, Feedback, collected_id, is_collected
from selfemo.data.labels import Spaces
from selfemo.errors import UserError
from selfemo.serving.labels import Unknown, space_named
from selfemo.serving.record import record_of

PATH = "/v1/feedback"
REMEMBERED = 10_000
"""Corrections that are known, when a client does not know whether it was heard and says the same again."""


class FeedbackRequest(BaseModel):
    """``POST /v1/feedback``."""

    model_config = ConfigDict(extra="forbid")

    dialogue: str = Field(min_length=1, max_length=200)
    """As the answer's header names it; or the id of a chat's answer."""
    turn: int = Field(ge=0, lt=2_000)
    """Counted from 0, the conversation's first turn; a system's message is none."""
    labels: list[str] = Field(max_length=64)
    """Primary label first; none takes an earlier correction back."""
    who: str = Field("", max_length=100)
    """Says so; without, what stands for the key."""


class FeedbackResponse(BaseModel):
    """The correction as it is kept."""

    dialogue: str
    turn: int
    labels: list[str]
    who: str
    when: datetime


class Corrections:
    """Takes corrections.

    Args:
        place: Where they go.
        spaces: Label spaces by name.
        labels: Name of that which a chat's conversation has; its answer's id is then one of a conversation. Empty where
            answers have ids that are not ours.
    """

    def __init__(self, place: Feedback, spaces: Spaces, labels: str = "") -> None:
        self.place, self.spaces, self.labels = place, spaces, labels
        self._last: OrderedDict[tuple[str, int], Correction] = OrderedDict()

    async def take(self, asked: FeedbackRequest, space: str) -> Correction:
        """Publish a correction; the same again is the one that is there.

        Args:
            asked: What the client says.
            space: Stands for its key.

        Raises:
            HTTPException: 503 if it could not be written; nothing is kept then.
            Unknown: If it names no label, or no conversation that could be there.
        """
        row = self._checked(asked, space)
        at = (row.dialogue, row.turn)
        if (known := self._last.get(at)) and (known.labels, known.who) == (row.labels, row.who):
            return known
        try:
            await asyncio.to_thread(self.place.add_corrections, [row])
        except (UserError, OSError):
            raise HTTPException(503, "the correction could not be written", {"retry-after": "5"}) from None
        self._last[at] = row
        self._last.move_to_end(at)
        while len(self._last) > REMEMBERED:
            self._last.popitem(last=False)
        return row

    def _checked(self, asked: FeedbackRequest, space: str) -> Correction:
        given = unquote(asked.dialogue)  # headers have it quoted
        dialogue = given if "/" in given or not self.labels else collected_id(self.labels, given)
        if not is_collected(dialogue):
            raise Unknown(
                "dialogue: not the id of a conversation that was collected here, as x-selfemo-dialogue had it"
            )
        labels = space_named(dialogue.split("/")[0], self.spaces)
        found = [labels.lookup(label) for label in asked.labels]
        if None in found:
            raise Unknown(f"labels: not all are labels of {labels.name}: {', '.join(labels.labels)}")
        return Correction(
            dialogue=dialogue,
            turn=asked.turn,
            labels=tuple(dict.fromkeys(label for label in found if label)),
            who=asked.who or (f"key {space[:8]}" if space else "nobody by name"),
            when=datetime.now(UTC),
            source="feedback",
        )


def add_route(made: FastAPI, corrections: Corrections) -> None:
    """Give an application the route."""

    @made.post(PATH)
    async def feedback(asked: FeedbackRequest, request: Request) -> FeedbackResponse:
        """What a turn of a conversation that was collected expresses, as a person says."""
        row = await corrections.take(asked, record_of(request.scope).space)
        return FeedbackResponse(**row.model_dump(include={"dialogue", "turn", "who", "when"}), labels=list(row.labels))
